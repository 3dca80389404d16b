"""Converts a canvas to a model's input: strokes of ink become part of the picture, strokes of the
marker become the region to redraw.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from PIL import Image
from torch import Tensor

from pixelar.demo.inputs.pictures import painted, read_picture
from pixelar.errors import ConfigError
from pixelar.model import PixelModel
from pixelar.sampling.masks import check_shape

__all__ = [
    "CANVAS",
    "COLOURS",
    "INKS",
    "MARKER",
    "Canvas",
    "read_canvas",
    "settle",
    "without_marks",
]

CANVAS = 448  # pixels: whole blocks for models of 8, 14, 16, 28, 32, 56 or 64 pixels
COLOURS = {
    "#ff2e93": "Pink: redraw this",
    "#ffffff": "White ink",
    "#000000": "Black ink",
    "#facc15": "Yellow ink",
    "#ef4444": "Red ink",
    "#22c55e": "Green ink",
    "#3b82f6": "Blue ink",
}
MARKER, *INKS = COLOURS

Canvas: TypeAlias = Mapping[str, Any] | None


def read_canvas(canvas: Canvas, model: PixelModel) -> tuple[Tensor, Tensor]:
    """Returns the model's input from an image editor's value, and what was marked in it.

    Returns:
        The picture, uint8 with shape (1, C, H, W), and a bool mask with shape (1, H, W).
    """
    picture, marks = _separated(canvas)
    # a canvas is transparent around a picture that is not square
    box = picture.getchannel("A").getbbox() or (0, 0, *picture.size)
    picture, marks = picture.crop(box), [layer.crop(box) for layer in marks]
    return settle(picture, model), painted({"background": picture, "layers": marks}, model)


def without_marks(canvas: Canvas) -> Image.Image:
    """Returns the picture on a canvas with the strokes of ink, without those of the marker."""
    return _separated(canvas)[0]


def settle(picture: Image.Image, model: PixelModel) -> Tensor:
    """Returns a picture as the model takes it, uint8 with shape (1, C, H, W).

    Where whole blocks of the picture become pixels, each becomes the mean of its block, so that an
    enlarged picture of the model's own size is restored exactly.
    """
    _, height, width = model.image_shape
    if picture.width % width == 0 and picture.height % height == 0:
        backed = picture.convert("RGBA")
        white = Image.new("RGBA", backed.size, "white")
        white.alpha_composite(backed)
        picture = white.convert("RGB").resize((width, height), Image.Resampling.BOX)
    return read_picture(picture, model)


def _separated(canvas: Canvas) -> tuple[Image.Image, list[Image.Image]]:
    """Returns the picture of a canvas with its strokes of ink, and the layers of its marks."""
    picture, layers = _parts(canvas)
    marks = []
    for layer in layers:
        marker = _is_marker(layer)
        picture.alpha_composite(_keep(layer, ~marker))
        marks.append(_keep(layer, marker))
    return picture, marks


def _parts(canvas: Canvas) -> tuple[Image.Image, list[Image.Image]]:
    """Returns the background and the layers of a canvas, RGBA and of one size."""
    value = canvas or {}
    layers = [layer.convert("RGBA") for layer in value.get("layers") or () if layer is not None]
    background = value.get("background")
    if background is None and not layers:
        raise ConfigError("there is no picture yet: upload one, paste one, draw or take an example")
    if background is None:
        return Image.new("RGBA", layers[0].size, "white"), layers
    for layer in layers:
        check_shape(layer.size, background.size, ("the strokes have", "the picture"))
    return background.convert("RGBA"), layers


def _is_marker(layer: Image.Image) -> np.ndarray:
    """Returns which pixels of a layer have the marker's colour rather than an ink's, (H, W)."""
    colours = np.asarray(layer, np.int32)[..., :3]
    distances = [np.square(colours - _rgb(code)).sum(-1) for code in (MARKER, *INKS)]
    return np.argmin(distances, 0) == 0


def _rgb(code: str) -> np.ndarray:
    return np.frombuffer(bytes.fromhex(code[1:]), np.uint8).astype(np.int32)


def _keep(layer: Image.Image, where: np.ndarray) -> Image.Image:
    """Returns a copy of a layer that is transparent outside `where`."""
    pixels = np.array(layer)
    pixels[~where] = 0
    return Image.fromarray(pixels)
