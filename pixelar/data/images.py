"""Image files of any kind as 8-bit tensors; one that cannot be read as a whole is refused.

path ── open_image ──► L, RGB or RGBA ── fit ──► size (H, W) ── to_tensor ──► uint8 (C, H, W)
"""

import io
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from pixelar.data.base import Shape
from pixelar.errors import PixelarError

__all__ = [
    "EXTENSIONS",
    "MAX_PIXELS",
    "WHITE",
    "Colour",
    "decode_image",
    "eight_bit",
    "find_images",
    "fit",
    "open_image",
    "read_image",
    "to_tensor",
]

Colour = tuple[int, int, int]

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
MAX_PIXELS = 64_000_000
WHITE: Colour = (255, 255, 255)


def find_images(folder: Path) -> list[Path]:
    """Returns the image files in and below a folder, sorted by name, without what is hidden."""
    if not folder.is_dir():
        raise PixelarError(f"{folder} is not a folder")
    files = [
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in EXTENSIONS
        and not path.is_dir()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    if not files:
        raise PixelarError(f"{folder} holds no images ({', '.join(EXTENSIONS)})")
    return sorted(files, key=lambda path: path.relative_to(folder).as_posix())


def open_image(path: Path) -> Image.Image:
    """Decodes an image file.

    Of an animation the first frame is taken; what EXIF data says is rotated is turned upright.

    Returns:
        An image in mode L, RGB or RGBA.
    """
    return decode_image(path, str(path))


def decode_image(
    file: Path | io.BytesIO,
    name: str,
    *,
    most: int = MAX_PIXELS,
    formats: tuple[str, ...] | None = None,
) -> Image.Image:
    """Decodes an image file, or its content.

    Arguments:
        file: The file, or its content.
        name: What messages call it.
        most: The number of pixels above which it is refused, before memory is taken for them.
        formats: The formats, by Pillow's names, that its content may have; by default all.

    Returns:
        An image in mode L, RGB or RGBA, as of `open_image`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=formats) as image:
                if image.width * image.height > most:
                    raise Image.DecompressionBombError
                image.load()
                if image.format == "PPM" and image.mode == "I":
                    return eight_bit(image.convert("I;16"))  # Pillow widened 16 bits to 32
                return eight_bit(ImageOps.exif_transpose(image))
    except Exception as error:  # a damaged file makes Pillow raise errors of any type
        raise PixelarError(f"{name} cannot be read: {_reason(file, error, most)}") from error


def _reason(file: Path | io.BytesIO, error: Exception, most: int) -> str:
    """Returns in a few words why Pillow could not read a file."""
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"it has more than {most:,} pixels"
    if isinstance(error, UnidentifiedImageError):
        size = file.stat().st_size if isinstance(file, Path) else file.getbuffer().nbytes
        return "it is not an image" if size else "it is empty"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return " ".join(str(error).split()) or type(error).__name__


def eight_bit(image: Image.Image) -> Image.Image:
    """Returns an image of any mode in mode L, RGB or, where some of it may be transparent, RGBA."""
    if image.mode.startswith("I;16"):
        wide = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((wide * 255 + 32767) // 65535).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError("it has 32 bits per value and no known range; save it with 8 or 16 bits")
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def fit(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resizes an image to cover size (H, W) and crops it at its centre.

    The filter, Lanczos, antialiases; an image of that size already keeps its pixels.
    """
    return ImageOps.fit(image, (size[1], size[0]), method=Image.Resampling.LANCZOS)


def to_tensor(image: Image.Image, channels: int, background: Colour = WHITE) -> Tensor:
    """Returns an image in mode L, RGB or RGBA as 8-bit values with shape (C, H, W).

    Arguments:
        image: What `open_image` returns.
        channels: C, 1 for grey or 3 for RGB; colours become grey by their luma.
        background: The colour behind what is transparent.
    """
    if channels not in (1, 3):
        raise PixelarError(f"image files are read with 1 or 3 channels; got {channels}")
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, (*background, 255)), image)
    pixels = np.array(image.convert("L" if channels == 1 else "RGB"))
    by_pixel = torch.from_numpy(pixels).view(image.height, image.width, channels)  # (H, W, C)
    return by_pixel.permute(2, 0, 1).contiguous()


def read_image(path: Path, shape: Shape, *, resize: bool, background: Colour = WHITE) -> Tensor:
    """Reads an image file as 8-bit values with shape (C, H, W).

    Arguments:
        path: The file.
        shape: The shape (C, H, W) of the result.
        resize: Whether an image of another size is resized and cropped, or refused.
        background: The colour behind what is transparent.
    """
    channels, height, width = shape
    image = open_image(path)
    if image.size != (width, height):
        if not resize:
            raise PixelarError(
                f"{path} is {image.width}×{image.height}, not {width}×{height}: "
                "pass resize: true (or --fit) to resize and crop it"
            )
        image = fit(image, (height, width))
    return to_tensor(image, channels, background)
