"""The chain rule as a walk: the only loop over sites in the package.

Sampling, completing, scoring and coding all visit the sites in scan order and differ in how the
next symbol is chosen.
"""

from collections.abc import Callable, Generator
from typing import TypeAlias

import torch
from torch import Tensor

from pixelar.model import PixelModel

__all__ = ["Choose", "unroll"]

Choose: TypeAlias = Callable[[Tensor, int, int], Tensor]


def unroll(
    model: PixelModel,
    x: Tensor,
    choose: Choose,
    labels: Tensor | None = None,
    *,
    start: int = 0,
    copies: int = 1,
) -> Generator[int, Tensor | None, None]:
    """Visits the sites of a canvas in scan order and lets `choose` write each symbol.

    After a site, rows of the batch can be sent: the walk goes on with these rows of the canvas, of
    which any may be repeated or left out.

    Arguments:
        model: The model.
        x: The canvas of symbols with shape (B, C, H, W), written in place. Sites before `start` are
            given.
        choose: Takes log-probabilities with shape (B, V), the site t and the symbol s; returns
            symbols (B,).
        labels: Classes with shape (B,).
        start: The first site to visit; the net jumps over those before it in one parallel pass.
        copies: How many neighbouring rows have the same label and the same sites before `start`, so
            that one pass does for all of them.

    Yields:
        Each site t, after its symbols were written.
    """
    net, flat = model.net, x.view(len(x), -1)
    order: list[list[int]] = model.scan.index.tolist()
    labels = model.check_labels(labels, len(x))
    cache = net.init_cache(x[::copies], None if labels is None else labels[::copies])
    if start:
        net.prefill(x[::copies], start, cache)
    if copies > 1:
        cache = net.select(cache, torch.arange(len(x), device=x.device) // copies)
    for t in range(start, model.scan.sites):
        params = net.step(x, t, cache)  # (B, P)
        for s, position in enumerate(order[t]):
            log_pmf = model.head.log_pmf(params, flat[:, order[t][:s]])  # (B, V)
            flat[:, position] = choose(log_pmf, t, s)
        rows = yield t
        if rows is not None:
            x.copy_(x[rows])
            cache = net.select(cache, rows)
