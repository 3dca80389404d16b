"""Many pixels at once, along a wavefront, with the same uniform numbers.

Where a net's reach to the right is bounded, pixels with the same j + (r + 1)·i do not depend on
each other: they are drawn together, in W + (r + 1)(H - 1) waves.

    r = 1     0 1 2 3 4 5
              2 3 4 5 6 7
              4 5 6 7 8 9
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from pixelar.caches import has_waves, new_waves
from pixelar.errors import ConfigError
from pixelar.model import PixelModel
from pixelar.nets import Net
from pixelar.sampling.canvas import Canvas
from pixelar.sampling.schedules.base import Schedule
from pixelar.sampling.unroll import Choose, write_sites

__all__ = ["WAVEFRONT", "wavefront", "waves"]

# the largest batch for which it is quicker, see docs/performance.md
LARGEST_BATCH = 16
SITES_A_WAVE = 3  # on average, for waves to be worth it


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
        raise ConfigError(f"schedule wavefront {_obstacle(model.net)}")
    cache = new_waves(model.net, x, labels)
    done = 0
    for sites in schedule:
        sites = sites.to(x.device)
        params = cache.wave(x, sites)  # (B, n, P)
        write_sites(model, x, params, choose, sites)
        done += len(sites)
        yield done


def _obstacle(net: Net) -> str:
    """Returns why there are no waves, or ""."""
    if net.reach() is not None:
        return ""
    return (
        f"needs pixels that do not depend on each other, and net {type(net).__name__} reads "
        "whole rows; use sequential or fixed_point"
    )


def _is_quick(canvas: Canvas) -> bool:
    """Returns whether waves are quickest: not if the first sites are known, and prefilled."""
    net, sites = canvas.model.net, canvas.model.scan.sites
    if len(canvas) > LARGEST_BATCH or canvas.start or not has_waves(net):
        return False
    found = waves(net)
    return bool(found) and SITES_A_WAVE * len(found or ()) <= sites


WAVEFRONT = Schedule(
    summary="many pixels at once, for nets whose reach to the right is bounded",
    step="{} waves",
    run=lambda c: wavefront(c.model, c.symbols, c.draw, c.labels),
    applies=lambda canvas: _obstacle(canvas.model.net),
    quick_for=_is_quick,
    skips_known=False,
)
