"""Pictures for people: grids of images, surprise maps, training curves."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.utils import make_grid

from pixelar.files import replacing

__all__ = ["grid", "heat", "save_curves", "save_picture", "show_unknown"]


def grid(images: Tensor, *, columns: int | None = None, side: int = 64) -> Tensor:
    """Arranges images in a grid, enlarged by whole factors so that single pixels can be seen.

    Arguments:
        images: uint8 images with shape (N, C, H, W).
        columns: The number of columns; about as many as rows if not given.
        side: The least side of an enlarged image.

    Returns:
        One uint8 image with shape (3, H', W').
    """
    columns = columns or math.ceil(math.sqrt(len(images)))
    factor = max(1, math.ceil(side / min(images.shape[2:])))
    large = images.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    return make_grid(large.expand(-1, 3, -1, -1), columns, padding=4, pad_value=255)


def show_unknown(images: Tensor, known: Tensor) -> Tensor:
    """Returns images (B, C, H, W) in RGB with pixels that are not known in a colour of their own."""
    colour = torch.tensor([214, 224, 240], dtype=torch.uint8)[:, None, None]
    rgb = images.expand(-1, 3, -1, -1)
    return torch.where(known.expand(len(images), 1, *images.shape[2:]), rgb, colour)


def heat(values: Tensor) -> Tensor:
    """Returns maps of numbers (B, H, W), from 0 to their common maximum, as uint8 images (B, 3, H, W)."""
    from matplotlib import colormaps

    scaled = (values / values.max().clamp_min(1e-12)).clamp(0, 1).numpy()
    rgb = (colormaps["inferno"](scaled)[..., :3] * 255).astype(np.uint8)
    return torch.from_numpy(rgb).movedim(-1, 1)


def save_picture(image: Tensor, path: Path) -> None:
    """Writes a uint8 image with shape (3, H, W) as a PNG file."""
    with replacing(path) as temporary:
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(temporary, format="PNG")


def save_curves(
    curves: Sequence[tuple[str, list[float], list[float]]], path: Path, label: str
) -> None:
    """Draws curves, each a name with steps and values, over training steps into a PNG file.

    Arguments:
        curves: The curves.
        path: The file.
        label: What the values are.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), dpi=110, layout="constrained")
    axes = figure.subplots()
    for name, steps, values in curves:
        axes.plot(steps, values, label=name, marker="o" if len(steps) < 40 else None, markersize=3)
    tail = [v for _, _, values in curves for v in values[len(values) // 10 :]]
    if tail:  # the first steps are off the scale of everything that follows
        axes.set_ylim(min(tail) * 0.97, float(np.quantile(tail, 0.99)) * 1.05)
    axes.set(xlabel="step", ylabel=label)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")
