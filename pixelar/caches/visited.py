"""The inputs of locally masked convolutions at the positions that were visited."""

from typing import ClassVar

import torch
from torch import Tensor

from pixelar.caches.affine import Affine
from pixelar.caches.base import Batched
from pixelar.layers.locally_masked import LocallyMaskedConv2d, order_masks, windows
from pixelar.scan import Scan

__all__ = ["MOST_SETS", "LiveTaps", "Visited"]


MOST_SETS = 4  # sets of taps, each of which has its own matrix


class LiveTaps:
    """Where a sampling pass reads the inputs of a masked kernel, site by site.

    Only sets of taps that are part of no other set are distinguished: one in raster order, two
        along a snake. A site uses a set that contains all its live taps; its dead taps read zeros.

    Arguments:
        scan: The order of the sites.
        conv: A convolution.
        centre: Whether a position reads itself.
    """

    def __init__(self, scan: Scan, conv: LocallyMaskedConv2d, *, centre: bool) -> None:
        k, dilation, (h, w) = conv.kernel_size[0], conv.dilation[0], scan.shape[1:]
        site = scan.index[:, 0]
        alive = order_masks(scan, k, dilation, centre=centre).bool().flatten(0, 1)[site]  # (T, k²)
        grid = torch.arange(h * w, device=site.device).view(h, w)
        places = windows(grid, k, dilation, outside=h * w).flatten(0, 1)[site]
        places = torch.where(alive, places, h * w)
        sets = alive.unique(dim=0)
        within = (sets[:, None] <= sets).all(-1) & ~torch.eye(len(sets), device=site.device).bool()
        sets = sets[~within.any(1)]
        if len(sets) > MOST_SETS:
            sets = torch.ones_like(sets[:1])
        self.sets = [each.nonzero()[:, 0] for each in sets]
        # the set that each site uses
        self.which: list[int] = (alive[:, None] <= sets).all(-1).byte().argmax(1).tolist()
        by_set = [places[:, taps].unbind(0) for taps in self.sets]
        # where its taps are in the image; H·W for zeros
        self.places = [by_set[s][t] for t, s in enumerate(self.which)]


class Visited(Batched):
    """The input of a locally masked convolution at the positions that a pass has visited.

    Arguments:
        conv: The convolution.
        live: Where its taps are.
        batch: B.
    """

    batch_axis: ClassVar = {"buffer": 0}

    def __init__(self, conv: LocallyMaskedConv2d, live: LiveTaps, batch: int) -> None:
        weight = conv.weight.detach()
        self.live = live
        # the last position is never written: dead taps read it
        self.buffer = weight.new_zeros(batch, len(live.which) + 1, conv.in_channels)
        by_tap = weight.permute(2, 3, 1, 0).flatten(0, 1)  # (k², in, out)
        self.convs = [Affine(by_tap[taps].flatten(0, 1), conv.bias.detach()) for taps in live.sets]

    def write(self, place: int, h: Tensor) -> None:
        """Takes in the vectors (B, in) of a position."""
        self.buffer.select(1, place).copy_(h)

    def look(self, t: int) -> Tensor:
        """Returns the output at site t, with shape (B, out)."""
        patch = self.buffer.index_select(1, self.live.places[t])  # (B, taps, in)
        return self.convs[self.live.which[t]](patch.flatten(1))

    def fill(self, maps: Tensor, visited: Tensor, rows: slice) -> None:
        """Takes in maps (b, h, W, in) of rows of the batch, at the positions (h, W) that have been
        visited in the first h rows of the image.
        """
        self.buffer[rows, : visited.numel()] = (maps * visited[..., None]).flatten(1, 2)
