"""Exact sampling that computes several sites at once: the image of a walk, site by site, with the
same uniform numbers.

wavefront     where a net's reach to the right is bounded, pixels with the same j + (r + 1)·i do not
              see each other: they are drawn together, in W + (r + 1)(H - 1) waves.

                  r = 1     0 1 2 3 4 5
                            2 3 4 5 6 7
                            4 5 6 7 8 9

fixed point   any net: all sites are drawn anew from one parallel forward, again and again, until no
              symbol changes. Site t is right once all sites before it are, so the first forward is
              right about site 0 and the k-th about k sites at least; usually about many more.
              A net that keeps what it computed for the sites that are final looks only some sites
              ahead of them: about as many as turned out right the last time.

References:
    Accelerating Feedforward Computation via Parallel Nonlinear Equation Solving (Song et al.,
    2021), https://arxiv.org/abs/2002.03629
    Predictive Sampling with Forecasting Autoregressive Models (Wiggers and Hoogeboom, 2020),
    https://arxiv.org/abs/2002.09928
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from pixelar.caches import StepsCache, cache_class, new_cache, new_waves
from pixelar.errors import ConfigError
from pixelar.model import PixelModel
from pixelar.nets import Net
from pixelar.sampling.unroll import Choose, write_sites

__all__ = ["fixed_point", "looks_ahead", "wavefront", "waves"]

FEWEST_AHEAD, MOST_AHEAD = 4, 64
PATIENCE = 16  # steps, after looking ahead did not pay for the first time


def waves(net: Net) -> list[Tensor] | None:
    """Returns the sites of each wave in turn, or None for a net whose reach has no bound.

    Colours of a pixel that are sites of their own come in successive waves.
    """
    reach = net.reach()
    if reach is None:
        return None
    scan = net.scan
    colours = scan.shape[0] if scan.name == "subpixel" else 1
    sites = torch.arange(scan.sites)
    pixel, colour = sites // colours, sites % colours
    row, column = pixel // scan.shape[2], pixel % scan.shape[2]
    number = colours * (column + (reach + 1) * row) + colour
    order = number.argsort(stable=True)
    return [*order.split(number.bincount().tolist())]


def wavefront(
    model: PixelModel, x: Tensor, choose: Choose, labels: Tensor | None = None
) -> Iterator[int]:
    """Lets `choose` write a canvas wave by wave.

    Arguments:
        model: The model.
        x: The canvas of symbols with shape (B, C, H, W), written in place.
        choose: As in `write_sites`.
        labels: Classes with shape (B,).

    Yields:
        After each wave, how many sites are drawn.

    Raises:
        PixelarError: If the net has no bounded reach.
    """
    schedule = waves(model.net)
    if schedule is None:
        raise ConfigError(
            f"net {type(model.net).__name__} looks at whole rows, so there are no waves of pixels "
            "that do not see each other; use sequential or fixed_point"
        )
    labels = model.check_labels(labels, len(x))
    cache = new_waves(model.net, x, labels)
    done = 0
    for sites in schedule:
        sites = sites.to(x.device)
        params = cache.wave(x, sites)  # (B, n, P)
        write_sites(model, x, params, choose, sites)
        done += len(sites)
        yield done


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
        x: The canvas of symbols with shape (B, C, H, W), written in place; the better it is at the
            beginning, the fewer passes it takes. Sites before `start` are given.
        choose: As in `write_sites`; it must choose the same when it is asked the same.
        labels: Classes with shape (B,).
        start: The first site to draw.

    Yields:
        After each pass, how many sites from the first on are final in all images.
    """
    labels = model.check_labels(labels, len(x))
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
        # a site that follows unchanged ones was drawn from what it keeps: it is final too
        right = min(int((~changed).long().cumprod(0).sum()) + 1, stop - first)
        pace.learn(right)
        final += right
        yield final


class Pace:
    """How many sites a pass looks at, by how many turned out right in the passes before.

    Arguments:
        batch: The number of images, all of which must be right. The more there are, the dearer are
            several sites against one.

    Attributes:
        sites: How many to look at next.
    """

    def __init__(self, batch: int) -> None:
        self.worth = 1 + batch / 4  # sites that must be right for a pass to beat as many steps
        self.sites = self.ahead = FEWEST_AHEAD
        self.mean = 2 * self.worth
        self.alone, self.patience = 0, PATIENCE

    def learn(self, right: int) -> None:
        """Takes in how many were right of those that were looked at."""
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
    """Returns whether a net computes some successive sites with its cache."""
    return issubclass(cache_class(net), StepsCache)
