"""Image formats, and the depths of PNG and TIFF files that Pillow alone would misread.

file ── Image.open ──► loaded ──► 8 bits per value, or the 16 of a grey image, transparency kept

Pillow has no mode for colors of 16 bits and keeps their upper bytes: the lower bytes are read by
decoding the same file in the other byte order. A value v of b bits becomes v · 255 / (2^b - 1),
rounded.

References:
    *Portable Network Graphics, third edition* (W3C, 2025), https://www.w3.org/TR/png-3/
    *TIFF, revision 6.0* (Adobe, 1992)
"""

import sys
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFile

__all__ = ["FORMATS", "claimed", "loaded", "several", "to_eight_bits"]

FORMATS = (  # by Pillow's names; without documents, videos, and data that are not pictures
    *("AVIF", "BLP", "BMP", "CUR", "DCX", "DDS", "DIB", "FLI", "FTEX", "GBR", "GIF", "ICNS", "ICO"),
    *("IM", "JPEG", "JPEG2000", "MSP", "PCD", "PCX", "PIXAR", "PNG", "PPM", "PSD", "QOI", "SGI"),
    *("SUN", "TGA", "TIFF", "WEBP", "XBM", "XPM"),
)
ADVICE = "save it as a PNG file of 8 or 16 bits"

COLORS = ("RGB", "RGBA", "CMYK")  # modes of which Pillow keeps 8 bits

# tags of TIFF files, and those of their values that matter here
BITS, PHOTOMETRIC, PLANAR, SAMPLE_FORMAT = 258, 262, 284, 339
MIN_IS_WHITE, YCBCR, SEPARATE, SIGNED = 0, 6, 2, 2


def several(image: Image.Image) -> bool:
    """Returns whether an opened file holds pictures besides the first: frames or pages."""
    # the others of a Photoshop file are the layers that the first is made of
    return image.format != "PSD" and getattr(image, "is_animated", False)


def claimed(prefix: bytes) -> str:
    """Returns the name of the format that the first 16 bytes of a file indicate, or ""."""
    accepts = {name: Image.OPEN[name][1] for name in FORMATS if name in Image.OPEN}
    found = (name for name, accept in accepts.items() if accept and accept(prefix) is True)
    return next(found, "") if len(prefix) == 16 else ""


def to_eight_bits(values: np.ndarray, top: int = 65535) -> np.ndarray:
    """Scales unsigned values of 0 … `top` to uint8, rounded, in the same shape."""
    return ((values.astype(np.uint32) * 255 + top // 2) // top).astype(np.uint8)


def loaded(image: ImageFile.ImageFile, reopen: Callable[[], ImageFile.ImageFile]) -> Image.Image:
    """Decodes the first picture of an opened file.

    Arguments:
        image: The file as Pillow opened it.
        reopen: Opens the same file again, after it has been decoded once.

    Returns:
        The image in a mode of 8 bits, or in a mode I;16. Where `info` has a transparent color, it
        is in the units of the values.

    Raises:
        ValueError: If it is not known which values are black or white, or they cannot be
            decoded.
    """
    raw = _raw_mode(image)
    if image.format == "TIFF":
        return _loaded_tiff(image, raw, reopen)
    if image.format == "PNG":
        return _loaded_png(image, raw, reopen)
    image.load()
    if image.format == "PPM" and image.mode == "I":
        return image.convert("I;16")  # Pillow widened 16 bits to 32
    return image


def _loaded_png(
    image: ImageFile.ImageFile, raw: str, reopen: Callable[[], ImageFile.ImageFile]
) -> Image.Image:
    if raw == "LA;16B":  # 4 bytes a pixel, which are decoded as RGBA
        image.tile = [tile._replace(args="RGBA") for tile in image.tile]
        both = to_eight_bits(np.asarray(image).view(">u2"))  # (H, W, 2)
        return _like(image, Image.fromarray(both, "LA"))
    transparent = image.info.get("transparency")
    if raw.endswith(";16B") and image.mode in COLORS:
        values = _sixteen_bits(image, raw, reopen)
        pixels = to_eight_bits(values)
        if transparent is not None:
            alpha = np.where((values == transparent).all(-1), 0, 255).astype(np.uint8)
            pixels = np.dstack([pixels, alpha])
        found = _like(image, Image.fromarray(pixels))
        found.info.pop("transparency", None)
        return found
    image.load()
    if image.mode == "L" and transparent is not None:  # in the file's depth
        bits = {"L;2": 2, "L;4": 4}.get(raw, 8)
        top = 2**bits - 1
        image.info["transparency"] = (transparent & top) * 255 // top
    elif image.mode == "RGB" and transparent is not None:
        image.info["transparency"] = tuple(value & 255 for value in transparent)
    return image


def _loaded_tiff(
    image: ImageFile.ImageFile, raw: str, reopen: Callable[[], ImageFile.ImageFile]
) -> Image.Image:
    tags = image.tag_v2  # type: ignore[attr-defined]
    if SIGNED in np.atleast_1d(tags.get(SAMPLE_FORMAT, 1)):
        raise ValueError("its values are signed, so that none is known to be black; " + ADVICE)
    photometric, bits = tags.get(PHOTOMETRIC), set(tags.get(BITS, (1,)))
    compressed = image.info.get("compression") != "raw"
    if photometric == YCBCR and not compressed:
        raise ValueError(f"it is YCbCr without compression; {ADVICE}")
    if tags.get(PLANAR) == SEPARATE:
        plain = image.mode in ("L", "P", "RGB", "RGBA", "CMYK") and not raw.startswith("RGBa")
        if not plain or not (compressed or (bits == {8} and photometric != MIN_IS_WHITE)):
            raise ValueError(f"its channels lie in planes of their own; {ADVICE}")
    if bits == {16} and image.mode in COLORS:
        values = _sixteen_bits(image, raw, reopen)
        if raw.startswith("RGBa"):  # colors are multiplied by alpha
            alpha = np.maximum(values[..., 3:].astype(np.uint32), 1)
            colors = np.minimum(values[..., :3] * np.uint32(65535) // alpha, 65535)
            values = np.concatenate([colors.astype(np.uint16), values[..., 3:]], -1)
        return _like(image, Image.fromarray(to_eight_bits(values), image.mode))
    image.load()
    if not image.mode.startswith("I;16"):
        return image
    top = 4095 if raw == "I;12" else 65535
    values = np.asarray(image)
    values = top - values if photometric == MIN_IS_WHITE else values
    return _like(image, Image.fromarray(to_eight_bits(values, top)))


def _raw_mode(image: ImageFile.ImageFile) -> str:
    """Returns Pillow's name for the layout of values in the file, before they are loaded."""
    args = image.tile[0].args if image.tile else ""
    return str(args[0] if isinstance(args, tuple) and args else args)


def _sixteen_bits(
    image: ImageFile.ImageFile, raw: str, reopen: Callable[[], ImageFile.ImageFile]
) -> np.ndarray:
    """Decodes colors of 16 bits as uint16 with shape (H, W, C)."""
    upper, lower = {
        "B": ("B", "L"),
        "L": ("L", "B"),
        "N": ("N", "B" if sys.byteorder == "little" else "L"),
    }[raw[-1]]
    kind = raw[:-1].replace("RGBa", "RGBA")  # as they are, not divided by alpha
    high = _decoded_as(image, kind + upper)
    low = _decoded_as(reopen(), kind + lower)
    return high.astype(np.uint16) << 8 | low


def _decoded_as(image: ImageFile.ImageFile, raw: str) -> np.ndarray:
    """Decodes an opened file as if its values had another layout."""
    image.tile = [
        tile._replace(args=(raw, *tile.args[1:]) if isinstance(tile.args, tuple) else raw)
        for tile in image.tile
    ]
    return np.asarray(image)


def _like(image: Image.Image, pixels: Image.Image) -> Image.Image:
    """Returns new pixels with the metadata of an image, including its orientation."""
    pixels.info = dict(image.info)
    pixels.getexif().update(image.getexif())
    return pixels
