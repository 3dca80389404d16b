"""The chain rule as a walk: the only loop over sites in the package.

Sampling, completing, scoring and coding all visit the sites in scan order and differ in how the
next symbol is chosen.
"""

from collections.abc import Callable, Iterator
from typing import TypeAlias

from torch import Tensor

from pixelar.model import PixelModel

__all__ = ["Choose", "unroll"]

Choose: TypeAlias = Callable[[Tensor, int, int], Tensor]


def unroll(
    model: PixelModel, x: Tensor, choose: Choose, labels: Tensor | None = None, *, start: int = 0
) -> Iterator[int]:
    """Visits the sites of a canvas in scan order and lets `choose` write each symbol.

    Arguments:
        model: The model.
        x: The canvas of symbols with shape (B, C, H, W), written in place. Sites before `start` are
            given.
        choose: Takes log-probabilities with shape (B, V), the site t and the symbol s; returns
            symbols (B,).
        labels: Classes with shape (B,).
        start: The first site to visit; the net jumps over those before it in one parallel pass.

    Yields:
        Each site t, after its symbols were written.
    """
    net, flat = model.net, x.view(len(x), -1)
    order: list[list[int]] = model.scan.index.tolist()
    cache = net.init_cache(x, model.check_labels(labels, len(x)))
    if start:
        net.prefill(x, start, cache)
    for t in range(start, model.scan.sites):
        params = net.step(x, t, cache)  # (B, P)
        for s, position in enumerate(order[t]):
            log_pmf = model.head.log_pmf(params, flat[:, order[t][:s]])  # (B, V)
            flat[:, position] = choose(log_pmf, t, s)
        yield t
