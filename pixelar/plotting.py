"""Pictures for people: grids of images, surprise maps, training curves."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pixelar.common.files import replacing
from pixelar.errors import DataError, extras

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["as_pictures", "grid", "save_curves", "save_picture", "save_surprise", "show_unknown"]

MOST_SURPRISES = 8
PADDING = 4  # white pixels around each image of a grid


def grid(images: Tensor, *, columns: int | None = None, side: int = 64) -> Tensor:
    """Arranges images in a grid, enlarged by whole factors so that single pixels can be seen.

    Arguments:
        images: uint8 images with shape (N, C, H, W).
        columns: The number of columns; about as many as rows if not given.
        side: The least side of an enlarged image.

    Returns:
        One uint8 image with shape (3, H', W').
    """
    if not len(images) or images.shape[1] not in (1, 3):
        raise DataError(
            f"a picture is made of at least one image with 1 or 3 channels; got {len(images)} with "
            f"{images.shape[1]}"
        )
    columns = min(columns or math.ceil(math.sqrt(len(images))), len(images))
    factor = max(1, math.ceil(side / min(images.shape[2:])))
    large = images.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    if len(images) == 1:
        return large[0].expand(3, -1, -1)
    rows = math.ceil(len(images) / columns)
    height, width = large.shape[2] + PADDING, large.shape[3] + PADDING
    canvas = large.new_full((3, rows * height + PADDING, columns * width + PADDING), 255)
    for k, image in enumerate(large.expand(-1, 3, -1, -1)):
        top, left = PADDING + k // columns * height, PADDING + k % columns * width
        canvas[:, top : top + large.shape[2], left : left + large.shape[3]] = image
    return canvas


def as_pictures(images: Tensor, values: tuple[int, int]) -> Tensor:
    """Returns images of any integers as 8-bit pictures, (N, 1 or 3, H, W'); those are kept.

    Arguments:
        images: With shape (N, C, H, W). Of other than 1 or 3 channels, each becomes a grey picture
            next to the one before it, W' = C W.
        values: What becomes black and what becomes white, unless they are 0 and 255.
    """
    if values != (0, 255):
        least, most = values
        images = ((images.double() - least) * (255 / (most - least))).round().clamp(0, 255)
    if images.shape[1] not in (1, 3):
        images = images.movedim(1, 2).flatten(2, 3)[:, None]
    return images.to(torch.uint8)


def show_unknown(images: Tensor, known: Tensor) -> Tensor:
    """Returns images (B, C, H, W) in RGB, with unknown pixels in a colour of their own."""
    colour = torch.tensor([214, 224, 240], dtype=torch.uint8)[:, None, None]
    rgb = images.expand(-1, 3, -1, -1)
    return torch.where(known.expand(len(images), 1, *images.shape[2:]), rgb, colour)


def save_picture(image: Tensor, path: Path) -> None:
    """Writes a uint8 image with shape (3, H, W) as a PNG file."""
    with replacing(path) as temporary:
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(temporary, format="PNG")


def save_curves(
    curves: Sequence[tuple[str, list[float], list[float]]], path: Path, label: str
) -> None:
    """Draws curves over training steps into a PNG file.

    Arguments:
        curves: The name, the steps and the values of each curve.
        path: The file.
        label: The label of the values.
    """
    with extras("a plot"):
        from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), dpi=110, layout="constrained")
    axes = figure.subplots()
    for name, steps, values in curves:
        axes.plot(steps, values, label=name, marker="o" if len(steps) < 40 else None, markersize=3)
    tail = [v for _, _, values in curves for v in values[len(values) // 10 :] if math.isfinite(v)]
    if tail:  # the first steps are off the scale of everything that follows
        axes.set_ylim(min(tail) * 0.97, float(np.quantile(tail, 0.99)) * 1.05)
    axes.set(xlabel="step", ylabel=label)
    axes.grid(alpha=0.3)
    if curves:
        axes.legend(frameon=False)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def save_surprise(images: Tensor, bits: Tensor, path: Path, unit: str = "bits per pixel") -> None:
    """Draws images above their surprise maps, on one scale, into a PNG file.

    Arguments:
        images: uint8 images with shape (B, C, H, W), 8 at most.
        bits: The bits that each pixel costs with shape (B, H, W), as from `surprise_map`.
        path: The file.
        unit: The label of the color scale, as from `surprise_unit`: bits/token of a palette.
    """
    figure = surprise_figure(images, bits, unit)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def surprise_figure(images: Tensor, bits: Tensor, unit: str = "bits per pixel") -> "Figure":
    """Returns the figure that `save_surprise` writes."""
    with extras("a plot"):
        from matplotlib.figure import Figure

    if not 1 <= len(images) <= MOST_SURPRISES:
        raise DataError(
            f"a picture of surprise has from 1 to {MOST_SURPRISES} images; got {len(images)}"
        )
    figure = Figure(figsize=(1.4 * len(images) + 1.2, 3.2), dpi=110, layout="constrained")
    rows = figure.subplots(2, len(images), squeeze=False)
    scale = {"vmin": 0, "vmax": float(bits.max()), "cmap": "inferno"}
    for image, values, above, below in zip(images, bits, *rows, strict=True):
        above.imshow(image.expand(3, -1, -1).permute(1, 2, 0).numpy(), interpolation="nearest")
        drawn = below.imshow(values.numpy(), interpolation="nearest", **scale)
    for axes in rows.flat:
        axes.set_axis_off()
    figure.colorbar(drawn, ax=rows[1].tolist(), label=unit)
    return figure
