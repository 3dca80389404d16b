"""How an Axial Transformer is sampled: the outer decoder a row at a time, the inner one by site."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from pixelar.caches.affine import Affine
from pixelar.caches.base import Batched, Cache
from pixelar.caches.keys_and_values import BlockCache, KeysAndValues, fill, look_of
from pixelar.caches.transformer_blocks import PreNormBlock, normalize
from pixelar.layers.axial import RowsThenColumns
from pixelar.layers.sparse_attention import AllBefore
from pixelar.nets.axial_transformer import AxialTransformer

__all__ = ["AxialTransformerCache"]


class OuterPair(Batched):
    """A pair of the outer decoder, whose column attention keeps the rows so far.

    Arguments:
        pair: The pair of blocks.
        kept: Buffers for keys and values, with shape (2, B, W, heads, H, D / heads).
    """

    batch_axis: ClassVar = {"kept": 1}

    def __init__(self, pair: RowsThenColumns, kept: Tensor) -> None:
        self.pair, self.kept = pair, kept

    def __call__(self, h: Tensor, first: int) -> Tensor:
        """Returns the output for one row of the grid, or for its first R rows at once.

        Arguments:
            h: The rows, with shape (B, R, W, D).
            first: The number of the first of them.
        """
        batch, rows, columns, _ = h.shape
        row, column = self.pair.row, self.pair.column
        h = row(h.flatten(0, 1)).unflatten(0, (batch, rows)).transpose(1, 2).flatten(0, 1)
        q, k, v = (x.transpose(1, 2) for x in column.queries_keys_values(h))
        keys, values = self.kept.flatten(1, 2)  # (B · W, heads, H, D / heads)
        keys[:, :, first : first + rows], values[:, :, first : first + rows] = k, v
        seen = slice(first + rows)
        attended = F.scaled_dot_product_attention(
            q, keys[:, :, seen], values[:, :, seen], is_causal=first == 0
        )
        h = column.finish(h, attended.transpose(1, 2)).unflatten(0, (batch, columns))
        return h.transpose(1, 2)


class AxialTransformerCache(Cache[AxialTransformer]):
    """Keys and values along the columns above, and along the row so far."""

    batch_axis: ClassVar = {"context": 0, "outer": 0, "told": 0, "inner": 0}

    places: Tensor  # (H, W, D)
    context: Tensor  # of the plane, (B, H, W, D)
    outer: list[OuterPair]
    told: Tensor  # inner decoder's input in each column, but for the previous pixel: (B, W, D)
    inner: list[BlockCache]
    out: Affine

    @torch.no_grad()
    def __init__(self, net: AxialTransformer, x: Tensor, labels: Tensor | None = None) -> None:
        super().__init__(net, x, labels)
        (height, columns), batch = net.grid, x.shape[0]
        each, like = net.width // net.heads, net.out.weight
        kept, size = (2, batch, columns, net.heads, height, each), (batch, net.heads, columns)
        self.places = net.places()
        self.context = net.label(labels)[:, None, None].expand(batch, height, columns, -1)
        self.outer = [OuterPair(pair, like.new_empty(kept)) for pair in net.outer]
        self.told = like.new_empty(batch, columns, net.width)
        self.inner = [
            BlockCache(
                block,
                PreNormBlock.of(block, net.width),
                KeysAndValues(size, (each, each), like, columns=True),
            )
            for block in net.inner
        ]
        self.out = Affine(net.out.weight.T, net.out.bias).after(net.norm)

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
        look = look_of(AllBefore(), j, j + 1, h.device)
        for block in self.inner:
            h = block(h, look)
        return self.out(normalize(h))

    @torch.no_grad()
    def prefill(self, x: Tensor, stop: int) -> None:
        net = self.net
        row, j = divmod(stop, net.grid[1])
        plane, i = divmod(row, net.grid[0])
        if i == 0 and j == 0:
            return  # the next step begins a plane
        self._begin_plane(x, plane)
        done = i if j else i - 1  # the row above is taken in when a row begins
        above = self._extend(self._rows(x, row - i, done), 0) if done else None
        if j == 0:
            return
        self._tell(i, above)
        fill(
            self.inner,
            self.told[:, :j] + F.pad(self._rows(x, row, 1)[:, 0, : j - 1], (0, 0, 1, 0)),
        )

    def _begin_plane(self, x: Tensor, plane: int) -> None:
        """Runs the encoder over the earlier planes."""
        net = self.net
        if net.planes == 1:
            return
        height, columns = net.grid
        before = self.places.new_zeros(x.shape[0], 1, height, columns, net.width)
        for p in range(plane):
            before += self._rows(x, p * height, height)[:, None] * net.before[p]
        label = net.label(self.labels)[:, None, None]
        self.context = net.encode(before, plane)[:, 0] + label

    def _begin_row(self, x: Tensor, row: int) -> None:
        """Takes the row above into the outer decoder; rows are numbered through all planes."""
        i = row % self.net.grid[0]
        above = self._extend(self._rows(x, row - 1, 1), i - 1) if i else None
        self._tell(i, above)

    def _extend(self, rows: Tensor, first: int) -> Tensor:
        """Returns the outer decoder's output for one row of a plane, or for its first R rows at
        once.

        Arguments:
            rows: The vectors of their symbols, with shape (B, R, W, D).
        """
        now = slice(first, first + rows.shape[1])
        u = rows + self.places[now] + self.context[:, now]
        for pair in self.outer:
            u = pair(u, first)
        return u

    def _rows(self, x: Tensor, first: int, count: int) -> Tensor:
        """Returns the vectors of rows of symbols, with shape (B, count, W, D)."""
        net = self.net
        columns = net.grid[1]
        index = net.scan.index[first * columns : (first + count) * columns]
        return net.embed.sites(x.flatten(1)[:, index]).unflatten(1, (count, columns))

    def _tell(self, i: int, above: Tensor | None) -> None:
        """Writes the inner decoder's inputs in row i of a plane, given the output for the rows
        above.
        """
        self.told.copy_(self.places[i] + self.context[:, i])
        if above is not None:
            self.told += above[:, -1]
