"""What people bring, as a model sees it: pictures of any size and kind, and painted regions.

picture ── upright, 8 bits ──► cropped to the model's aspect ──► resized ──► nearest levels
paint ─────────────────────► the same crop ──► a pixel is painted if any of its part is

A picture becomes what `pixelar complete --fit` makes of the same file, so that the command line
gives the results of the demo: white lies behind what is transparent, colours become grey by their
luma, and the filter, Lanczos, antialiases.
"""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from pixelar.data.images import decode_image, eight_bit, fit, to_tensor
from pixelar.errors import PixelarError
from pixelar.model import PixelModel

__all__ = ["FORMATS", "LIMITS", "MOST_PIXELS", "open_picture", "painted", "read_picture"]

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")  # by content, whatever the file is called
MOST_PIXELS = 16_000_000
LIMITS = "PNG, JPEG, WebP, GIF or BMP, at most 5 MB and 16 megapixels"


def open_picture(file: Path | bytes) -> Image.Image:
    """Decodes a picture that someone brought; it takes memory only within the limits.

    Arguments:
        file: An image file, or its content.

    Returns:
        The picture, upright, in mode L, RGB or RGBA; of an animation, its first frame.

    Raises:
        PixelarError: If it is none of `FORMATS`, damaged, or of more than `MOST_PIXELS`. The
            message does not name the file, which lies where others need not know.
    """
    if isinstance(file, Path):
        try:
            file = file.read_bytes()
        except OSError as error:
            raise PixelarError(f"the picture cannot be read: {error.strerror}") from error
    try:
        return decode_image(io.BytesIO(file), "the picture", most=MOST_PIXELS, formats=FORMATS)
    except PixelarError as error:
        raise PixelarError(f"{error} (pictures are {LIMITS})") from error


def read_picture(picture: Image.Image | str | Path, model: PixelModel) -> Tensor:
    """Returns a picture as the model takes it: uint8 with shape (1, C, H, W).

    Arguments:
        picture: An image, or the path of an image file.
        model: The model, of grey or RGB images.
    """
    channels, height, width = model.image_shape
    image = _upright(picture) if isinstance(picture, Image.Image) else open_picture(Path(picture))
    _check_size(image.size)
    if image.size != (width, height):
        image = fit(image, (height, width))
    return model.quantizer.nearest(to_tensor(image, channels)[None])


def painted(value: Mapping[str, Any] | None, model: PixelModel) -> Tensor:
    """Returns which of the model's pixels were painted on, with shape (1, H, W).

    A pixel counts as painted where any part of it is, however small the model's picture: a stroke
    never gets lost. The crop is that of `read_picture`.

    Arguments:
        value: What an image editor holds: a background, and layers that are transparent but for
            the paint.
        model: The model.
    """
    _, height, width = model.image_shape
    region = np.zeros((height, width), bool)
    layers = [layer for layer in (value or {}).get("layers") or () if layer is not None]
    picture = (value or {}).get("background")
    size = (picture if picture is not None else layers[0]).size if layers else (1, 1)
    for layer in layers:
        _check_size(layer.size)
        _check_match(layer.size, size)
        alpha = np.asarray(layer.convert("RGBA"))[..., 3] > 0
        rows, columns = _crop(layer.size, (width, height))
        by_row = np.stack([alpha[part].any(0) for part in _parts(*rows, height)])
        region |= np.stack([by_row[:, part].any(1) for part in _parts(*columns, width)], 1)
    return torch.from_numpy(region)[None]


def _upright(picture: Image.Image) -> Image.Image:
    try:
        return eight_bit(ImageOps.exif_transpose(picture))
    except ValueError as error:
        raise PixelarError(f"the picture cannot be read: {error}") from error


def _check_size(size: tuple[int, int]) -> None:
    if not 0 < size[0] * size[1] <= MOST_PIXELS:
        raise PixelarError(
            f"the picture has {size[0]}×{size[1]} pixels; it must have at least one, and no more "
            f"than {MOST_PIXELS:,}"
        )


def _check_match(layer: tuple[int, int], picture: tuple[int, int]) -> None:
    """Raises PixelarError unless a layer has the picture's aspect, but for rounding."""
    difference = abs(layer[0] * picture[1] - layer[1] * picture[0])
    if difference > max(*layer, *picture):
        raise PixelarError(
            f"the paint has {layer[0]}×{layer[1]} pixels and the picture {picture[0]}×"
            f"{picture[1]}: they must have the same shape, so that one lies on the other"
        )


def _crop(
    size: tuple[int, int], wanted: tuple[int, int]
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Returns the first and last row and column of the largest part, in the middle of a picture of
    a size (W, H), that has the wanted aspect.
    """
    scale = min(size[0] / wanted[0], size[1] / wanted[1])  # of the picture's pixels to the model's
    left, top = (size[0] - scale * wanted[0]) / 2, (size[1] - scale * wanted[1]) / 2
    return (top, size[1] - top), (left, size[0] - left)


def _parts(start: float, stop: float, count: int) -> list[slice]:
    """Returns which whole pixels each of `count` equal parts of a range touches."""
    edges = np.linspace(start, stop, count + 1)
    slack = 1e-6  # what rounding adds to an edge is no pixel
    first = np.floor(edges[:-1] + slack).astype(int)
    last = np.maximum(first + 1, np.ceil(edges[1:] - slack).astype(int))
    return [slice(a, b) for a, b in zip(first, last, strict=True)]
