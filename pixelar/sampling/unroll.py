"""The chain rule as a pass over the sites: the only loop over sites in the package.

Sampling, completing, scoring and coding all visit the sites in scan order and differ in how the
next symbol is chosen.
"""

from collections.abc import Callable, Generator
from typing import TypeAlias

import torch
from torch import Tensor

from pixelar.caches import new_cache
from pixelar.model import PixelModel
from pixelar.sampling.draw import Sites

__all__ = ["Choose", "unroll", "write_sites"]

Choose: TypeAlias = Callable[[Tensor, Sites, int], Tensor]


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

    After a site, indices of rows can be sent: the pass continues with these rows of the canvas,
    some of which may be repeated or left out.

    Arguments:
        model: The model.
        x: The canvas of symbols with shape (B, C, H, W), written in place. Sites before `start` are
            given.
        choose: Takes log-probabilities with shape (B, V), the site t and the symbol s; returns
            symbols (B,).
        labels: Classes with shape (B,).
        start: The first site to visit; one parallel pass prefills the cache with earlier sites.
        copies: How many consecutive rows share a label and all sites before `start`, so that one
            prefill serves all of them.

    Yields:
        Each site t, after its symbols were written.
    """
    flat = x.view(len(x), model.scan.dims)
    order: list[list[int]] = model.scan.index.tolist()
    cache = new_cache(model.net, x[::copies], None if labels is None else labels[::copies])
    if start:
        cache.prefill(x[::copies], start)
    if copies > 1:
        cache.select(torch.arange(len(x), device=x.device) // copies)
    for t in range(start, model.scan.sites):
        params, chosen = cache.step(x, t), flat[:, :0]
        for s, position in enumerate(order[t]):
            symbol = choose(model.head.log_pmf(params, chosen), t, s)
            flat[:, position] = symbol
            if s + 1 < len(order[t]):
                chosen = torch.cat((chosen, symbol[:, None]), 1)
        rows = yield t
        if rows is not None:
            x.copy_(x[rows])
            cache.select(rows)


def write_sites(
    model: PixelModel, x: Tensor, params: Tensor, choose: Choose, sites: Tensor
) -> None:
    """Lets `choose` write several sites of a canvas at once.

    Arguments:
        model: The model.
        x: The canvas of symbols with shape (B, C, H, W), written in place.
        params: The parameters of the sites, with shape (B, n, P).
        choose: Takes log-probabilities with shape (B, n, V), the sites and the symbol s; returns
            symbols (B, n).
        sites: The indices of the sites, with shape (n,).
    """
    flat, at = x.view(len(x), model.scan.dims), model.scan.index[sites]  # at: (n, S)
    for s in range(model.scan.symbols):
        log_pmf = model.head.log_pmf(params, flat[:, at[:, :s]])
        flat[:, at[:, s]] = choose(log_pmf, sites, s)
