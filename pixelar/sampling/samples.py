"""Sampling: completing images of which nothing is known."""

from typing import Unpack

import torch
from torch import Tensor

from pixelar.common.arrays import Array, whole_number
from pixelar.model import PixelModel
from pixelar.model.boundary import for_models
from pixelar.names import ScheduleName
from pixelar.sampling.canvas import Canvas
from pixelar.sampling.completion import Drawn, draw
from pixelar.sampling.draw import Drawing

__all__ = ["draw_images", "sample"]


def sample(
    model: PixelModel,
    n: int,
    labels: Array | None = None,
    *,
    schedule: ScheduleName = "auto",
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
    progress: bool = False,
) -> Tensor:
    """Draws images from the model.

    `temperature`, `top_k` and `top_p` act symbol by symbol: see `pixelar.sampling.draw.Drawing`.

    Arguments:
        model: The model.
        n: The number of images.
        labels: Classes with shape (n,), for a model that is conditioned on them.
        schedule: "sequential": site by site, with the net's cache; "compiled": the same in machine
            code, with numba; "wavefront": many pixels at once, for nets whose dependence allows
            it; "fixed_point": all sites at once, or with the net's cache as many ahead as pays off,
            repeated until nothing changes; "auto": the quickest. All draw the same images, except
            where float32 rounding tips the choice between two nearly tied levels.
        temperature: Divides the log-probabilities of a symbol; 0 takes the most probable level.
        top_k: Keeps the k most probable levels of a symbol.
        top_p: Keeps the most probable levels of a symbol that together reach this probability.
        seed: The same seed gives the same images again; None draws new ones.
        progress: Whether to show a progress bar.

    Returns:
        Images with shape (n, C, H, W), of the model's `image_dtype`: uint8 for pictures of 8 bits.
    """
    options = Drawing(
        temperature=temperature, top_k=top_k, top_p=top_p, seed=seed, progress=progress
    )
    return draw_images(model, n, labels, schedule=schedule, **options).images


@for_models
def draw_images(
    model: PixelModel,
    n: int,
    labels: Array | None = None,
    *,
    schedule: ScheduleName = "auto",
    **options: Unpack[Drawing],
) -> Drawn:
    """Draws images as `sample` does, and reports how: by which schedule, in how many steps."""
    count = whole_number(n, "n, the number of images,", 0)
    nothing = torch.zeros(1, 1, 1, dtype=torch.bool)
    progress = options.pop("progress", False)
    canvas = Canvas.prepare(model, model.blank(count), nothing, labels, method="clamp", **options)
    return draw(canvas, schedule, progress=progress)
