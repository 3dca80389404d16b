"""Locally masked convolutions: every place of the image has a mask of its own.

The mask of a place follows from the order of generation: a tap is alive where the neighbour it
looks at comes earlier. One set of weights therefore serves any order:

    order      masks of 3×3 kernels at the places of 5 and 6
    0 1 2         · · 1      1 1 1
    7 6 3         · 1 1      · 1 1      · dead: it comes later, or is outside
    8 5 4         · · ·      · 1 1

A place itself is alive (the centre), but not in a first layer, which looks at the pixels.

References:
    Locally Masked Convolution for Autoregressive Models (Jain et al., 2020),
    https://arxiv.org/abs/2006.12486
"""

from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixelar.errors import ConfigError
from pixelar.scan import Scan

__all__ = ["LiveTaps", "LocallyMaskedConv2d", "Visited", "order_masks"]

MOST_SETS = 4  # of taps that a walk has a matrix for each


def order_masks(scan: Scan, kernel_size: int, dilation: int, *, centre: bool) -> Tensor:
    """Returns which taps are alive at every place, 1 or 0, with shape (H, W, k²).

    Arguments:
        scan: The order, of whole pixels.
        kernel_size: k, the kernel's height and width.
        dilation: The distance between taps.
        centre: Whether a place sees itself.
    """
    h, w = scan.shape[1:]
    rank = scan.index[:, 0].argsort().view(h, w)
    neighbours = windows(rank, kernel_size, dilation, outside=h * w)
    alive = neighbours <= rank[..., None] if centre else neighbours < rank[..., None]
    return alive.to(torch.get_default_dtype())


def windows(grid: Tensor, kernel_size: int, dilation: int, *, outside: int) -> Tensor:
    """Returns what each place of a grid (H, W) sees through a kernel, with shape (H, W, k²)."""
    h, w = grid.shape
    padded = F.pad(grid, (dilation * (kernel_size // 2),) * 4, value=outside)
    steps = range(0, dilation * kernel_size, dilation)
    return torch.stack([padded[i : i + h, j : j + w] for i, j in product(steps, steps)], -1)


class LocallyMaskedConv2d(nn.Conv2d):
    """A convolution of maps with channels last, whose mask is given for every place.

    Arguments:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: k, the kernel's height and width, odd.
        dilation: The distance between taps.
    """

    bias: Tensor

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, dilation: int = 1
    ) -> None:
        if kernel_size < 3 or kernel_size % 2 == 0:
            raise ConfigError(
                f"kernel_size must be odd and at least 3, to see neighbours; got {kernel_size}"
            )
        super().__init__(in_channels, out_channels, kernel_size, dilation=dilation)
        self.side = dilation * (kernel_size // 2)

    def matrix(self) -> Tensor:
        """Returns the kernel as a matrix from patches to outputs, with shape (out, k² · in)."""
        return self.weight.permute(0, 2, 3, 1).flatten(1)

    def forward(self, x: Tensor, masks: Tensor) -> Tensor:  # type: ignore[override]
        """Returns maps with shape (B, H, W, out).

        Arguments:
            x: Maps with shape (B, H, W, in).
            masks: What `order_masks` returns, with shape (H, W, k²).
        """
        _, h, w, _ = x.shape
        padded = F.pad(x, (0, 0, *(self.side,) * 4))
        steps = range(0, 2 * self.side + 1, self.dilation[0])
        taps = zip(product(steps, steps), masks.unbind(-1), strict=True)
        patches = [padded[:, i : i + h, j : j + w] * mask[..., None] for (i, j), mask in taps]
        return F.linear(torch.cat(patches, -1), self.matrix(), self.bias)


class LiveTaps:
    """Where a walk finds the inputs of a masked kernel, site by site.

    Few sets of taps are told apart, those that are part of no other: in raster order one, along a
    snake two. A site uses one that holds all its live taps; its dead ones find zeros.

    Arguments:
        scan: The order of the walk.
        conv: A convolution.
        centre: Whether a place sees itself.
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


class Visited:
    """The input of a locally masked convolution at the places that a walk has visited.

    Arguments:
        conv: The convolution.
        live: Where its taps are.
        batch: B.
    """

    def __init__(self, conv: LocallyMaskedConv2d, live: LiveTaps, batch: int) -> None:
        weight = conv.weight.detach()
        self.live = live
        # the last place is never written: what dead taps find
        self.buffer = weight.new_zeros(batch, len(live.which) + 1, conv.in_channels)
        by_tap = weight.permute(2, 3, 1, 0).flatten(0, 1)  # (k², in, out)
        self.matrices = [by_tap[taps].flatten(0, 1) for taps in live.sets]
        self.bias = conv.bias.detach()

    def write(self, place: int, h: Tensor) -> None:
        """Takes in the vectors (B, in) of a place."""
        self.buffer.select(1, place).copy_(h)

    def look(self, t: int) -> Tensor:
        """Returns the result at site t, with shape (B, out)."""
        patch = self.buffer.index_select(1, self.live.places[t])  # (B, taps, in)
        return torch.addmm(self.bias, patch.flatten(1), self.matrices[self.live.which[t]])

    def fill(self, maps: Tensor, visited: Tensor, rows: slice) -> None:
        """Takes in maps (b, h, W, in) of rows of the batch, at the places (h, W) that have been
        visited in the first h rows of the image.
        """
        self.buffer[rows, : visited.numel()] = (maps * visited[..., None]).flatten(1, 2)

    def select(self, rows: Tensor) -> None:
        """Keeps these rows of the batch."""
        self.buffer = self.buffer[rows]
