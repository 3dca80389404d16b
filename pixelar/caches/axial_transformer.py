"""How an Axial Transformer is sampled: the outer decoder a row at a time, the inner one by site."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from pixelar.caches.axial_steps import BlockStep, folded
from pixelar.caches.base import Cache
from pixelar.nets.axial_transformer import AxialTransformer

__all__ = ["AxialTransformerCache"]


class AxialTransformerCache(Cache[AxialTransformer]):
    """Keys and values along the columns above, and along the row so far."""

    batch_axis: ClassVar = {"context": 0, "above": 1, "told": 0, "inner": 0}

    places: Tensor  # (H, W, D)
    context: Tensor  # of the plane, (B, H, W, D)
    above: list[Tensor]  # keys and values of each column attention, (2, B, W, heads, H, D / heads)
    told: Tensor  # inner decoder's input in each column, but for the previous pixel: (B, W, D)
    inner: list[BlockStep]
    out: tuple[Tensor, Tensor]

    @torch.no_grad()
    def __init__(self, net: AxialTransformer, x: Tensor, labels: Tensor | None = None) -> None:
        super().__init__(net, x, labels)
        (height, columns), batch = net.grid, x.shape[0]
        kept = (2, batch, columns, net.heads, height, net.width // net.heads)
        self.places = net.places()
        self.context = net.label(labels)[:, None, None].expand(batch, height, columns, -1)
        self.above = [net.out.weight.new_empty(kept) for _ in net.outer]
        self.told = net.out.weight.new_empty(batch, columns, net.width)
        self.inner = [BlockStep(block, batch, columns) for block in net.inner]
        self.out = folded(net.norm, net.out)

    @torch.no_grad()
    def step(self, x: Tensor, t: int) -> Tensor:
        net = self.net
        row, j = divmod(t, net.grid[1])
        if j == 0:
            if row % net.grid[0] == 0:
                self._begin_plane(x, row // net.grid[0])
            self._begin_row(x, row)
        h = self.told[:, j]  # (B, D)
        if j:
            h = h + net.embed.sites(x.flatten(1)[:, net.scan.index[t - 1]])
        for block in self.inner:
            h = block(h, j)
        matrix, bias = self.out
        return torch.addmm(bias, F.layer_norm(h, (net.width,)), matrix)

    @torch.no_grad()
    def prefill(self, x: Tensor, stop: int) -> None:
        net = self.net
        row, j = divmod(stop, net.grid[1])
        plane, i = divmod(row, net.grid[0])
        if i == 0 and j == 0:
            return  # the next step begins a plane
        self._begin_plane(x, plane)
        done = i if j else i - 1  # the row above is taken in when a row begins
        above = self._extend(net._rows(x, row - i, done), 0) if done else None
        if j == 0:
            return
        self._tell(i, above)
        h = self.told[:, :j] + F.pad(net._rows(x, row, 1)[:, 0, : j - 1], (0, 0, 1, 0))
        for block, step in zip(net.inner, self.inner, strict=True):
            h = step.fill(block, h)

    def _begin_plane(self, x: Tensor, plane: int) -> None:
        """Runs the encoder over the earlier planes."""
        net = self.net
        if net.planes == 1:
            return
        height, columns = net.grid
        before = self.places.new_zeros(x.shape[0], 1, height, columns, net.width)
        for p in range(plane):
            before += net._rows(x, p * height, height)[:, None] * net.before[p]
        label = net.label(self.labels)[:, None, None]
        self.context = net.encode(before, plane)[:, 0] + label

    def _begin_row(self, x: Tensor, row: int) -> None:
        """Takes the row above into the outer decoder; rows are numbered through all planes."""
        net = self.net
        i = row % net.grid[0]
        above = self._extend(net._rows(x, row - 1, 1), i - 1) if i else None
        self._tell(i, above)

    def _extend(self, rows: Tensor, first: int) -> Tensor:
        """Returns the outer decoder's output for one row of a plane, or for its first R rows at
        once.

        Arguments:
            rows: The vectors of their symbols, with shape (B, R, W, D).
        """
        now = slice(first, first + rows.shape[1])
        u = rows + self.places[now] + self.context[:, now]
        for pair, above in zip(self.net.outer, self.above, strict=True):
            u = pair.extend(u, first, above)
        return u

    def _tell(self, i: int, above: Tensor | None) -> None:
        """Writes the inner decoder's inputs in row i of a plane, given the output for the rows
        above.
        """
        self.told.copy_(self.places[i] + self.context[:, i])
        if above is not None:
            self.told += above[:, -1]
