"""Image files of any kind as 8-bit tensors; one that cannot be read completely is rejected.

path ─ open_image ─► L, RGB or RGBA ─ fit or squash ─► size (H, W) ─ to_tensor ─► uint8 (C, H, W)

The first of several frames or pages is read, and `notice` is called with a sentence that says so.
"""

import io
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO, Literal, TypeAlias

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from pixelar.data.formats import FORMATS, claimed, loaded, several, to_eight_bits
from pixelar.errors import Advice, DataError
from pixelar.names import Shape

__all__ = [
    "MAX_PIXELS",
    "WHITE",
    "Colour",
    "Resize",
    "decode_image",
    "eight_bit",
    "fit",
    "open_image",
    "read_image",
    "squash",
    "to_tensor",
]

Colour = tuple[int, int, int]

# whether images of another size are cropped by `fit`, or squashed as an image processor does
Resize: TypeAlias = bool | Literal["processor"]

MAX_PIXELS = 64_000_000
WHITE: Colour = (255, 255, 255)


def advise(message: str) -> None:
    """Warns with advice on what could be better."""
    warnings.warn(message, Advice, stacklevel=2)


def open_image(path: Path, *, notice: Callable[[str], None] = advise) -> Image.Image:
    """Decodes an image file.

    The first frame of an animation is taken; an image rotated by its EXIF data is turned upright.

    Arguments:
        path: The file.
        notice: Takes a sentence about what was left out of it.

    Returns:
        An image in mode L, RGB or RGBA.

    Raises:
        PixelarError: If it is damaged, too large, or not of a kind known to be read correctly.
    """
    return decode_image(path, str(path), notice=notice)


def decode_image(
    file: Path | io.BytesIO,
    name: str,
    *,
    most: int = MAX_PIXELS,
    formats: tuple[str, ...] = FORMATS,
    notice: Callable[[str], None] = advise,
) -> Image.Image:
    """Decodes an image file, or its content.

    Arguments:
        file: The file, or its content.
        name: What messages call it.
        most: The number of pixels above which it is rejected, before memory is allocated for them.
        formats: The formats, by Pillow's names, that its content may have.
        notice: Takes a sentence about what was left out of it.

    Returns:
        An image in mode L, RGB or RGBA, as from `open_image`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with _opened(file) as content, Image.open(content, formats=formats) as image:
                if image.width * image.height > most:
                    raise Image.DecompressionBombError
                more = several(image)
                pixels = loaded(image, lambda: Image.open(content, formats=formats))
                upright = eight_bit(ImageOps.exif_transpose(pixels))
    except Exception as error:  # a damaged file makes Pillow raise errors of any type
        raise DataError(f"{name} cannot be read: {_reason(file, error, most)}") from error
    if more:
        notice(f"{name} holds more than one picture (frames or pages); the first is read")
    return upright


def _opened(file: Path | io.BytesIO) -> AbstractContextManager[IO[bytes]]:
    """Opens a file, or its content, to be read.

    Pillow maps an uncompressed TIFF file into memory where it is given the path, and misreads
    such a file if it has to be rotated by 90 degrees.
    """
    return file.open("rb") if isinstance(file, Path) else nullcontext(file)


def _reason(file: Path | io.BytesIO, error: Exception, most: int) -> str:
    """Returns in a few words why Pillow could not read a file."""
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"it has more than {most:,} pixels"
    if isinstance(error, UnidentifiedImageError):
        with _opened(file) as content:
            content.seek(0)
            prefix = content.read(16)
        if name := claimed(prefix):
            return f"it is damaged, or a {name} file of a kind that is not read"
        return "it is not an image" if prefix else "it is empty"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return " ".join(str(error).split()) or type(error).__name__


def eight_bit(image: Image.Image) -> Image.Image:
    """Returns an image of any mode in mode L, RGB or, where some of it may be transparent, RGBA."""
    if image.mode.startswith("I;16"):
        values = np.asarray(image)
        grey = Image.fromarray(to_eight_bits(values))
        if "transparency" in image.info:
            opaque = values != image.info["transparency"]
            grey.putalpha(Image.fromarray(opaque.astype(np.uint8) * 255))
        return eight_bit(grey)
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


def squash(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resizes an image to size (H, W) whatever its aspect, without cropping.

    The filter, bilinear and antialiasing, is that of ImageGPT's image processor in `transformers`.
    """
    return image.resize((size[1], size[0]), Image.Resampling.BILINEAR)


def to_tensor(image: Image.Image, channels: int, background: Colour = WHITE) -> Tensor:
    """Returns an image in mode L, RGB or RGBA as 8-bit values with shape (C, H, W).

    Arguments:
        image: What `open_image` returns.
        channels: C, 1 for grey or 3 for RGB; colours become grey by their luma.
        background: The colour behind what is transparent.
    """
    if channels not in (1, 3):
        raise DataError(f"image files are read with 1 or 3 channels; got {channels}")
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, (*background, 255)), image)
    pixels = np.array(image.convert("L" if channels == 1 else "RGB"))
    by_pixel = torch.from_numpy(pixels).view(image.height, image.width, channels)  # (H, W, C)
    return by_pixel.permute(2, 0, 1).contiguous()


def read_image(
    path: Path,
    shape: Shape,
    *,
    resize: Resize,
    background: Colour = WHITE,
    notice: Callable[[str], None] = advise,
) -> Tensor:
    """Reads an image file as 8-bit values with shape (C, H, W).

    Arguments:
        path: The file.
        shape: The shape (C, H, W) of the result.
        resize: Whether an image of another size is resized and cropped, by `fit`, or refused;
            "processor" resizes it by `squash`.
        background: The colour behind what is transparent.
        notice: Takes a sentence about what was left out of the file.
    """
    channels, height, width = shape
    image = open_image(path, notice=notice)
    if image.size != (width, height):
        if not resize:
            raise DataError(
                f"{path} is {image.width}×{image.height}, not {width}×{height}: "
                "pass resize: true (or --fit) to resize and crop it"
            )
        image = (squash if resize == "processor" else fit)(image, (height, width))
    return to_tensor(image, channels, background)
