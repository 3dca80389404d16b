"""Masks: which pixels of a picture are known, as saved by image editors.

mask ── upright ──► known or not, by alpha or by grey ──► the picture's own crop
                                 ──► a pixel is to be drawn if any pixel that it covers is

Where a mask has an alpha channel that is not opaque everywhere, transparent (erased) pixels are to
be drawn. Otherwise white is known and black is to be drawn; 1 and 0 are read as white and black.
The threshold is half of the scale in both cases.
"""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pixelar.errors import DataError

__all__ = ["check_partial", "check_shape", "covered", "known_pixels", "read_mask"]

HALF = 128
COLOURED = 32  # the largest difference between a grey pixel's channels; JPEG makes smaller ones
GREYS = (64, 192)  # levels that are neither dark nor light
MOST_GREYS = 1 / 3  # the largest share of such pixels, at blurred edges
MEANING = (
    "a mask is white (255, or 1 of 0 and 1) where the picture is known and black (0) where it is "
    "to be drawn, or else transparent where it is to be drawn"
)


def read_mask(
    mask: Image.Image, size: tuple[int, int], name: str, *, squashed: bool = False
) -> Tensor:
    """Returns which of a model's pixels are known, bool with shape (1, H, W).

    Arguments:
        mask: The mask, upright, in mode L, RGB or RGBA, as `pixelar.data.images.open_image`
            returns it, at the picture's own size.
        size: H and W of the model's images; a mask of another size is cropped as the picture is.
        name: What messages call the mask.
        squashed: Whether the picture is resized by `pixelar.data.images.squash`, not cropped.

    Raises:
        PixelarError: If it is not clear what the mask means, or if it leaves nothing to draw, or
            nothing known.
    """
    hidden = covered(~known_pixels(mask, name), size, squashed=squashed)
    known = torch.from_numpy(~hidden)[None]
    check_partial(known, name, f"; {MEANING}")
    return known


def known_pixels(mask: Image.Image, name: str) -> np.ndarray:
    """Returns which pixels of a mask mean that the picture is known, bool with shape (H, W).

    Arguments:
        mask: The mask in mode L, RGB or RGBA.
        name: What messages call it.

    Raises:
        PixelarError: If the mask has colours, has the grey levels of a photograph, or is dark
            or light throughout without being constant.
    """
    if mask.mode == "RGBA":
        alpha = np.asarray(mask.getchannel("A"))
        if alpha.min(initial=255) < 255:
            return alpha >= HALF
        mask = mask.convert("RGB")
    if mask.mode == "RGB" and np.ptp(np.asarray(mask), axis=-1).max(initial=0) > COLOURED:
        raise DataError(f"{name} has colours: {MEANING}")
    grey = np.asarray(mask.convert("L"))
    levels = np.unique(grey)
    if levels.tolist() == [0, 1]:
        return grey == 1
    known = grey >= HALF
    if len(levels) > 1 and known.all() == known.any():
        side = "light" if known.all() else "dark"
        raise DataError(
            f"{name} is {side} throughout, with values from {levels[0]} to {levels[-1]}: {MEANING}"
        )
    between = (grey >= GREYS[0]) & (grey < GREYS[1])
    if len(levels) > 2 and between.mean() > MOST_GREYS:
        raise DataError(f"{between.mean():.0%} of {name} is grey, as in a photograph: {MEANING}")
    return known


def covered(marked: np.ndarray, size: tuple[int, int], *, squashed: bool = False) -> np.ndarray:
    """Returns which pixels of a smaller picture cover a marked one, bool with shape size (H, W).

    No mark is lost, however small the picture becomes. The crop is the centred one of
    `pixelar.data.images.fit`, so that the result is aligned with the fitted picture; a squashed
    picture is not cropped.

    Arguments:
        marked: Which pixels are marked, bool with the picture's shape.
        size: H and W of the result.
        squashed: Whether the picture is squashed to that size instead of cropped.

    Example:
        >>> scratch = np.array([[False, False, True, False, False, False]])
        >>> covered(scratch, (1, 2))
        array([[ True, False]])
    """
    rows, columns = _crop(marked.shape, marked.shape if squashed else size)
    by_row = np.stack([marked[part].any(0) for part in _parts(*rows, size[0])])
    return np.stack([by_row[:, part].any(1) for part in _parts(*columns, size[1])], 1)


def check_shape(mask: tuple[int, int], picture: tuple[int, int], names: tuple[str, str]) -> None:
    """Raises PixelarError unless a mask has the picture's size (W, H).

    Arguments:
        mask: The mask's width and height as shown upright.
        picture: Those of the picture.
        names: The words before each size, as ("the mask has", "the picture").
    """
    if mask != picture:
        raise DataError(
            f"{names[0]} {mask[0]}×{mask[1]} pixels and {names[1]} {picture[0]}×{picture[1]}: "
            "they must have the same size, so that one lies on the other"
        )


def check_partial(known: Tensor, name: str, hint: str = "") -> None:
    """Raises PixelarError where all pixels of a model's image are known, or none are.

    Arguments:
        known: Which pixels are known, bool with shape (1, H, W).
        name: What the message calls the mask or region.
        hint: What the message ends with.
    """
    if bool(known.all()):
        raise DataError(
            f"{name} leaves nothing to draw: every pixel of the model's image is known{hint}"
        )
    if not bool(known.any()):
        raise DataError(
            f"{name} leaves nothing known: every pixel of the model's image is to be drawn; to "
            f"draw images from nothing, use pixelar sample{hint}"
        )


def _crop(
    shape: tuple[int, ...], wanted: tuple[int, int]
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Returns the first and last row, and the first and last column, of the largest centred crop of
    a picture with shape (H, W) that has the wanted aspect ratio.
    """
    scale = min(shape[0] / wanted[0], shape[1] / wanted[1])  # picture pixels per model pixel
    top, left = (shape[0] - scale * wanted[0]) / 2, (shape[1] - scale * wanted[1]) / 2
    return (top, shape[0] - top), (left, shape[1] - left)


def _parts(start: float, stop: float, count: int) -> list[slice]:
    """Returns which whole pixels each of `count` equal parts of a range touches."""
    edges = np.linspace(start, stop, count + 1)
    slack = 1e-6  # so that rounding at an edge adds no pixel
    first = np.floor(edges[:-1] + slack).astype(int)
    last = np.maximum(first + 1, np.ceil(edges[1:] - slack).astype(int))
    return [slice(a, b) for a, b in zip(first, last, strict=True)]
