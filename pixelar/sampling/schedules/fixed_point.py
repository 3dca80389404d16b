"""All sites at once, or some ahead, again and again until nothing changes.

All sites are drawn again from one parallel forward, with the same uniform numbers, until no symbol
changes. Site t is correct once all earlier sites are, so the first forward makes site 0 correct,
and the k-th at least k sites, usually many more. With a cache that computes several sites in one
step, a pass looks only some sites ahead of those that are final: about as many as were correct the
last time.

References:
    Accelerating Feedforward Computation via Parallel Nonlinear Equation Solving (Song et al.,
    2021), https://arxiv.org/abs/2002.03629
    Predictive Sampling with Forecasting Autoregressive Models (Wiggers and Hoogeboom, 2020),
    https://arxiv.org/abs/2002.09928
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from pixelar.caches import StepsCache, cache_class, new_cache
from pixelar.model import PixelModel
from pixelar.nets import Net
from pixelar.sampling.canvas import Canvas
from pixelar.sampling.schedules.base import MANY_SITES, Schedule
from pixelar.sampling.unroll import Choose, write_sites

__all__ = ["FIXED_POINT", "fixed_point", "looks_ahead"]

# how many sites a pass may compute
FEWEST_AHEAD, MOST_AHEAD = 4, 64
PATIENCE = 16  # single steps after the first time that looking ahead did not pay off
LARGEST_BATCH = 8  # for which it is quicker, see docs/performance.md


def fixed_point(
    model: PixelModel,
    x: Tensor,
    choose: Choose,
    labels: Tensor | None = None,
    *,
    start: int = 0,
) -> Iterator[int]:
    """Lets `choose` write all sites of a canvas again and again, until nothing changes.

    Arguments:
        model: The model.
        x: The canvas of symbols with shape (B, C, H, W), written in place; the closer its initial
            symbols are to the result, the fewer passes are needed. Sites before `start` are given.
        choose: As in `write_sites`; it must be a pure function of its arguments.
        labels: Classes with shape (B,).
        start: The first site to draw.

    Yields:
        After each pass, how many sites from the first on are final in all images.
    """
    end, final = model.scan.sites, start
    found = new_cache(model.net, x, labels) if looks_ahead(model.net) else None
    cache = found if isinstance(found, StepsCache) else None
    if cache is not None:
        cache.prefill(x, start)
    pace = Pace(len(x))
    while final < end:
        first, stop = final, end if cache is None else min(final + pace.sites, end)
        sites = torch.arange(first, stop, device=x.device)
        before = x.flatten(1)[:, model.scan.index[sites]]  # (B, n, S)
        if cache is None:
            params = model.net(x, labels)[:, first:]
        else:
            params = cache.steps(x, first, stop)
        write_sites(model, x, params, choose, sites)
        changed = (x.flatten(1)[:, model.scan.index[sites]] != before).any(-1).any(0)  # (n,)
        # a site after unchanged ones was drawn from final symbols: it is final too
        right = min(int((~changed).long().cumprod(0).sum()) + 1, stop - first)
        pace.learn(right)
        final += right
        yield final


class Pace:
    """Adapts how many sites a pass computes to how many were correct in earlier passes.

    Arguments:
        batch: The number of images; a site is correct only if it is so in all of them. The more
            images, the more several sites cost relative to one.

    Attributes:
        sites: How many sites to compute next.
    """

    def __init__(self, batch: int) -> None:
        self.worth = 1 + batch / 4  # sites that must be correct for a pass to beat as many steps
        self.sites = self.ahead = FEWEST_AHEAD
        self.mean = 2 * self.worth
        self.alone, self.patience = 0, PATIENCE

    def learn(self, right: int) -> None:
        """Updates the pace, given how many of the computed sites were correct."""
        if self.alone:
            self.alone -= 1
        else:
            self.mean += (right - self.mean) / 4
            if right == self.sites:
                self.ahead = min(2 * self.ahead, MOST_AHEAD)
            elif right <= self.sites // 4:
                self.ahead = max(self.ahead // 2, FEWEST_AHEAD)
            if self.mean < self.worth:  # site by site for a while, and longer each time
                self.alone, self.mean = self.patience, 2 * self.worth
                self.patience *= 2
        self.sites = 1 if self.alone else self.ahead


def looks_ahead(net: Net) -> bool:
    """Returns whether the cache of a net computes several successive sites in one step."""
    return issubclass(cache_class(net), StepsCache)


def _is_quick(canvas: Canvas) -> bool:
    left = canvas.model.scan.sites - canvas.start
    few = len(canvas) <= LARGEST_BATCH and left >= MANY_SITES
    return few and looks_ahead(canvas.model.net)


FIXED_POINT = Schedule(
    summary="all sites at once, or some ahead, again and again until nothing changes",
    step="{} passes",
    run=lambda c: fixed_point(c.model, c.symbols, c.draw, c.labels, start=c.start),
    applies=lambda canvas: "",
    quick_for=_is_quick,
    guesses=True,
)
