"""Converts users' pictures of any size and kind, and painted regions, to a model's input.

picture ── upright, 8 bits ──► cropped to the model's aspect ──► resized ──► nearest levels
paint ─────────────────────► the same crop ──► a pixel is painted if any of its part is

A picture becomes what `pixelar complete --fit` makes of the same file, so that the command line
reproduces the results of the demo: transparent parts are composited on white, colours become grey
by their luma, and the filter, Lanczos, antialiases.
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
from pixelar.errors import DataError, PixelarError
from pixelar.model import PixelModel
from pixelar.sampling.masks import check_shape, covered

__all__ = ["FORMATS", "LIMITS", "MOST_PIXELS", "open_picture", "painted", "read_picture"]

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")  # by content, whatever the file is called
MOST_PIXELS = 16_000_000
LIMITS = "PNG, JPEG, WebP, GIF or BMP, at most 5 MB and 16 megapixels"


def open_picture(file: Path | bytes) -> Image.Image:
    """Decodes a user's picture, using memory only within the limits.

    Arguments:
        file: An image file, or its content.

    Returns:
        The picture, upright, in mode L, RGB or RGBA; of an animation, its first frame.

    Raises:
        PixelarError: If it is none of `FORMATS`, damaged, or of more than `MOST_PIXELS`. The
            message does not name the file, since its location is private.
    """
    if isinstance(file, Path):
        try:
            file = file.read_bytes()
        except OSError as error:
            raise DataError(f"the picture cannot be read: {error.strerror}") from error
    try:
        return decode_image(io.BytesIO(file), "the picture", most=MOST_PIXELS, formats=FORMATS)
    except PixelarError as error:
        raise DataError(f"{error} (pictures are {LIMITS})") from error


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

    A pixel counts as painted where any part of it is, so no stroke is lost, however small the
    model's picture. The crop is that of `read_picture`.

    Arguments:
        value: What an image editor holds: a background, and layers that are transparent
            except for the paint.
        model: The model.
    """
    _, height, width = model.image_shape
    region = np.zeros((height, width), bool)
    layers = [layer for layer in (value or {}).get("layers") or () if layer is not None]
    picture = (value or {}).get("background")
    for layer in layers:
        _check_size(layer.size)
        over = layers[0] if picture is None else picture
        check_shape(layer.size, over.size, ("the paint has", "the picture"))
        region |= covered(np.asarray(layer.convert("RGBA"))[..., 3] > 0, (height, width))
    return torch.from_numpy(region)[None]


def _upright(picture: Image.Image) -> Image.Image:
    try:
        return eight_bit(ImageOps.exif_transpose(picture))
    except ValueError as error:
        raise DataError(f"the picture cannot be read: {error}") from error


def _check_size(size: tuple[int, int]) -> None:
    if not 0 < size[0] * size[1] <= MOST_PIXELS:
        raise DataError(
            f"the picture has {size[0]}×{size[1]} pixels; it must have at least one, and no more "
            f"than {MOST_PIXELS:,}"
        )
