"""Row by row in machine code: the horizontal stack, readout and draw of a Gated PixelCNN.

A pixel of a single image is so little work that most of the time is overhead between operations.
With numba (`pip install 'pixelar[fast]'`) one call draws a row; the vertical stack stays in torch.
"""

import warnings
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from pixelar.caches.gated_pixelcnn import GatedPixelCNNCache
from pixelar.errors import Advice
from pixelar.heads import Bernoulli, Categorical
from pixelar.kernels import numba_is_there
from pixelar.model import PixelModel
from pixelar.nets import GatedPixelCNN
from pixelar.sampling.canvas import Canvas
from pixelar.sampling.draw import Draw
from pixelar.sampling.schedules.base import MANY_SITES, Schedule

__all__ = ["COMPILED", "can_compile", "compiled_rows"]

LARGEST_BATCH = 64  # for which it is quicker, see docs/performance.md

MISSING = (
    "numba is not installed, so small batches are drawn several times slower than they could be: "
    "pip install 'pixelar[fast]'"
)


def can_compile(model: PixelModel, options: tuple[float, int | None, float | None]) -> bool:
    """Returns whether a kernel supports a model and drawing options, with or without numba."""
    return (
        isinstance(model.net, GatedPixelCNN)
        and isinstance(model.head, Bernoulli | Categorical)
        and model.scan.shape[0] == 1
        and options == (1.0, None, None)
        and model.device.type == "cpu"
        and next(model.parameters()).dtype in (torch.float32, torch.float64)
    )


def _obstacle(canvas: Canvas) -> str:
    """Returns why machine code cannot draw a canvas, or ""."""
    if not can_compile(canvas.model, canvas.options):
        return (
            "is for a GatedPixelCNN of grey images or tokens on the CPU, with a Bernoulli or "
            "Categorical head, at temperature 1 without top-k and top-p; use sequential"
        )
    return "" if numba_is_there() else "needs numba: pip install 'pixelar[fast]'"


def _is_quick(canvas: Canvas) -> bool:
    """Returns whether it is quickest; warns (Python shows it once) where only numba is missing."""
    quick = len(canvas) <= LARGEST_BATCH and can_compile(canvas.model, canvas.options)
    if quick and not numba_is_there() and canvas.model.scan.sites >= MANY_SITES:
        warnings.warn(MISSING, Advice, stacklevel=1)
    return quick


@torch.no_grad()
def compiled_rows(
    model: PixelModel, x: Tensor, draw: Draw, labels: Tensor | None = None, *, start: int = 0
) -> Iterator[int]:
    """Draws a canvas as `unroll` does, a row at a time.

    Arguments:
        model: A model that `can_compile`.
        x: The canvas of symbols with shape (B, 1, H, W), written in place. Sites before `start`
            are given.
        draw: Chooses symbols.
        labels: Classes with shape (B,).
        start: The first site to visit.

    Yields:
        After each row, how many sites are drawn.
    """
    from pixelar.kernels.gated_row import gated_row

    net = model.net
    assert isinstance(net, GatedPixelCNN)
    _, height, width = model.scan.shape
    cache = GatedPixelCNNCache(net, x, labels)
    depth, features = len(net.layers), net.width
    like = net.horizontal_stem.weight
    links = like.new_zeros(depth, width, len(x), 2 * features)  # where the kernel reads them
    cache.links = [link.transpose(0, 1) for link in links]
    cache.prefill(x, start)
    weights = _weights(cache)
    maps = np.zeros((depth + 1, width, len(x), features), weights[0].dtype)
    for k, left in enumerate(cache.left[1:]):  # the beginning of a row may be known
        maps[k] = left.row().transpose(0, 1).numpy()
    dilations = np.array([layer.horizontal.dilation[1] for layer in net.layers])
    noise, keep, given = (
        values[:, 0].unflatten(0, (height, width)).numpy()
        for values in (draw.noise, draw.keep, draw.given)
    )
    first, begin = divmod(start, width)
    for i in range(first, height):
        if begin == 0:
            cache.begin_row(x, i)
        row = x[:, 0, i].numpy()
        gated_row(
            row,
            begin,
            noise[i],
            keep[i],
            given[i],
            net.embed.zero,
            maps,
            links.numpy(),
            dilations,
            *weights,
        )
        begin = 0
        yield (i + 1) * width


def _weights(cache: GatedPixelCNNCache) -> tuple[np.ndarray, ...]:
    """Returns the matrices of a pass as the kernel takes them: (outputs, inputs)."""
    matrices, readout = cache.matrices, cache.matrices.readout
    stem = matrices.horizontal_stem.joined()
    out = torch.stack(matrices.out).mT  # its last column is the bias
    hidden = [matrix.mT for matrix, _ in readout.hidden]
    shapes = torch.tensor([matrix.shape for matrix in hidden], dtype=torch.long).view(-1, 2)
    last, last_bias = readout.last[0]
    none = last.new_zeros(0)
    found = (
        stem[:-1].mT,
        stem[-1],
        torch.stack(matrices.horizontal).mT,
        out[..., :-1],
        out[..., -1],
        torch.cat([none, *(matrix.flatten() for matrix in hidden)]),
        torch.cat([none, *(bias for _, bias in readout.hidden)]),
        shapes,
        last.mT,
        last_bias,
    )
    return tuple(np.ascontiguousarray(t.detach().numpy()) for t in found)


COMPILED = Schedule(
    summary="row by row in machine code, with numba, for a Gated PixelCNN of grey images or tokens",
    step="{} compiled rows",
    run=lambda c: compiled_rows(c.model, c.symbols, c.draw, c.labels, start=c.start),
    applies=_obstacle,
    quick_for=_is_quick,
)
