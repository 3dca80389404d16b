"""Attention to some of the earlier positions, computed without the others.

    Last, TwoBlocks    a query block of l positions ── own and previous block: 2 l keys
    Every              the sequence as rows of l ── causal attention within each column
    OwnBlock           causal attention within each block of l
    Summaries          all queries ── the last c positions of each block, and their own
    Rectangle          a query block of r × c positions ── 2 r × 3 c positions around it
    AllBefore          all positions so far: not sparse

`pixelar.layers.patterns` defines which positions count. The sequence is padded with zeros to a
multiple of the block, or is one block if it is shorter; since attention is causal, nothing attends
to the zeros. A sampling pass keeps keys and values by position, and a step reads those in its
pattern.
"""

import abc
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from pixelar.layers import patterns

__all__ = [
    "AllBefore",
    "Every",
    "Last",
    "OwnBlock",
    "Rectangle",
    "SparseAttention",
    "Summaries",
    "TwoBlocks",
]

Rule = Callable[[Tensor, Tensor], Tensor]


class SparseAttention(abc.ABC):
    """A pattern with a way to compute attention under it.

    Queries, keys and values have shapes (B, T, heads, ·), and so has the result.
    """

    @abc.abstractmethod
    def sees(self, i: Tensor, j: Tensor) -> Tensor:
        """Returns whether positions i attend to positions j; both broadcast."""

    @abc.abstractmethod
    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Returns the result of attention at all positions."""

    @abc.abstractmethod
    def read(self, x: Tensor, t: int) -> Tensor:
        """Returns what position t attends to of x (N, T, ·), with shape (N, m, ·)."""


@dataclass(frozen=True)
class AllBefore(SparseAttention):
    """All positions so far."""

    def sees(self, i: Tensor, j: Tensor) -> Tensor:
        return patterns.all_before(i, j)

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return _dense(q, k, v)

    def read(self, x: Tensor, t: int) -> Tensor:
        return x.narrow(1, 0, t + 1)


@dataclass(frozen=True)
class Last(SparseAttention):
    """The last `stride` positions."""

    stride: int

    def sees(self, i: Tensor, j: Tensor) -> Tensor:
        return patterns.last(i, j, self.stride)

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return _own_and_previous(q, k, v, self.stride, self.sees)

    def read(self, x: Tensor, t: int) -> Tensor:
        return x[:, max(0, t + 1 - self.stride) : t + 1]


@dataclass(frozen=True)
class TwoBlocks(SparseAttention):
    """The block so far, and the one before it."""

    block: int

    def sees(self, i: Tensor, j: Tensor) -> Tensor:
        return patterns.two_blocks(i, j, self.block)

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return _own_and_previous(q, k, v, self.block, self.sees)

    def read(self, x: Tensor, t: int) -> Tensor:
        return x[:, max(0, t // self.block - 1) * self.block : t + 1]


@dataclass(frozen=True)
class Every(SparseAttention):
    """Every `stride`-th position before, which is a column of the sequence in rows of `stride`."""

    stride: int

    def sees(self, i: Tensor, j: Tensor) -> Tensor:
        return patterns.every(i, j, self.stride)

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        _, sites, heads, _ = q.shape
        size = min(self.stride, sites)
        rows = (_blocks(x, size).flatten(2, 3) for x in (q, k, v))  # (B, T / l, l · heads, ·)
        return _dense(*rows).unflatten(2, (size, heads)).flatten(1, 2)[:, :sites]

    def read(self, x: Tensor, t: int) -> Tensor:
        return x[:, t % self.stride : t + 1 : self.stride]


@dataclass(frozen=True)
class OwnBlock(SparseAttention):
    """The block so far."""

    stride: int

    def sees(self, i: Tensor, j: Tensor) -> Tensor:
        return patterns.own_block(i, j, self.stride)

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        batch, sites = q.shape[:2]
        blocks = (_blocks(x, min(self.stride, sites)).flatten(0, 1) for x in (q, k, v))
        return _dense(*blocks).unflatten(0, (batch, -1)).flatten(1, 2)[:, :sites]

    def read(self, x: Tensor, t: int) -> Tensor:
        return x[:, t - t % self.stride : t + 1]


@dataclass(frozen=True)
class Summaries(SparseAttention):
    """The last `count` positions of each block of `stride`, and the position itself."""

    stride: int
    count: int

    def sees(self, i: Tensor, j: Tensor) -> Tensor:
        return patterns.summaries(i, j, self.stride, self.count)

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        sites = q.shape[1]
        size = min(self.stride, sites)
        kept = slice(min(self.stride - self.count, size), None)
        keys, values = (_blocks(x, size)[:, :, kept].flatten(1, 2) for x in (k, v))
        places = torch.arange(-(-sites // size) * size, device=q.device)
        places = places.view(-1, size)[:, kept].flatten()  # (n · c,)
        later = places >= torch.arange(sites, device=q.device)[:, None]
        q = q / math.sqrt(q.shape[-1])
        scores = q.transpose(1, 2) @ keys.permute(0, 2, 3, 1)  # (B, heads, T, n · c)
        scores = scores.masked_fill(later, -math.inf)
        own = (q * k).sum(-1).mT[..., None]  # (B, heads, T, 1)
        shares = torch.cat((scores, own), -1).softmax(-1)
        found = shares[..., :-1] @ values.transpose(1, 2) + shares[..., -1:] * v.transpose(1, 2)
        return found.transpose(1, 2)

    def read(self, x: Tensor, t: int) -> Tensor:
        begin = t - t % self.stride
        blocks = x[:, :begin].unflatten(1, (begin // self.stride, self.stride))
        earlier = blocks[:, :, -self.count :].flatten(1, 2)
        return torch.cat((earlier, x[:, min(begin + self.stride - self.count, t) : t + 1]), 1)


@dataclass(frozen=True)
class Rectangle(SparseAttention):
    """The generated part of a rectangle around a query block, in a grid of rows of `row`."""

    row: int
    rows: int
    columns: int

    def sees(self, i: Tensor, j: Tensor) -> Tensor:
        return patterns.rectangle(i, j, self.row, self.rows, self.columns)

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        batch, sites, heads, _ = q.shape
        height = -(-sites // self.row)
        fitting = replace(
            self, rows=min(self.rows, height), columns=min(self.columns, self.row)
        )  # covers the same
        if fitting != self:
            return fitting(q, k, v)
        number = torch.arange(1, sites + 1, device=q.device, dtype=torch.int32)[None, :, None, None]
        i, j = self._queries(number), self._memory(number).mT  # 0 where there is padding
        mask = ((j > 0) & (j <= i)) | (i == 0)  # (1, blocks, r · c, 6 · r · c)
        found = F.scaled_dot_product_attention(
            self._queries(q), self._memory(k), self._memory(v), attn_mask=mask
        )
        found = found.unflatten(0, (batch, heads)).unflatten(3, (self.rows, self.columns))
        across = -(-self.row // self.columns)
        grid = found.unflatten(2, (-1, across)).permute(0, 2, 4, 3, 5, 1, 6)
        return grid.flatten(3, 4)[:, :, :, : self.row].flatten(1, 3)[:, :sites]

    def read(self, x: Tensor, t: int) -> Tensor:
        i, j = divmod(t, self.row)
        top = max(0, i // self.rows - 1) * self.rows
        left = max(0, j // self.columns - 1) * self.columns
        right = (j // self.columns + 2) * self.columns
        grid = x[:, : i * self.row].unflatten(1, (i, self.row))
        above = grid[:, top:, left:right].flatten(1, 2)
        return torch.cat((above, x[:, i * self.row + left : t + 1]), 1)

    def _grid(self, x: Tensor) -> Tensor:
        """Returns whole query blocks of (B, T, heads, ·), with shape (B, H', r, W', heads, ·)."""
        rows = _blocks(x, self.rows * self.row).unflatten(2, (self.rows, self.row))
        return F.pad(rows, (0, 0, 0, 0, 0, -self.row % self.columns))

    def _queries(self, x: Tensor) -> Tensor:
        """Returns (B, T, heads, ·) by query block, with shape (B · heads, blocks, r · c, ·)."""
        blocks = self._grid(x).unflatten(3, (-1, self.columns)).permute(0, 5, 1, 3, 2, 4, 6)
        return blocks.flatten(4, 5).flatten(2, 3).flatten(0, 1)

    def _memory(self, x: Tensor) -> Tensor:
        """Returns what surrounds each query block, with shape (B · heads, blocks, 2r · 3c, ·)."""
        margin = (0, 0, 0, 0, self.columns, self.columns, self.rows, 0)
        around = F.pad(self._grid(x).flatten(1, 2), margin)
        around = around.unfold(1, 2 * self.rows, self.rows)
        around = around.unfold(2, 3 * self.columns, self.columns)  # (B, H', W', heads, ·, 2r, 3c)
        return around.permute(0, 3, 1, 2, 5, 6, 4).flatten(4, 5).flatten(2, 3).flatten(0, 1)


def _blocks(x: Tensor, size: int) -> Tensor:
    """Returns (B, T, heads, ·) by block, with zeros at the end: (B, n, size, heads, ·)."""
    return F.pad(x, (0, 0, 0, 0, 0, -x.shape[1] % size)).unflatten(1, (-1, size))


def _dense(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Returns attention of (N, L, heads, ·) under a mask, or causal attention if there is none."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    found = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
    return found.transpose(1, 2)


def _own_and_previous(q: Tensor, k: Tensor, v: Tensor, size: int, sees: Rule) -> Tensor:
    """Returns attention from query blocks to themselves and the block before each."""
    batch, sites = q.shape[:2]
    size = min(size, sites)
    q, k, v = (_blocks(x, size) for x in (q, k, v))
    found = [_dense(q[:, 0], k[:, 0], v[:, 0])[:, None]]  # (B, 1, l, heads, ·)
    if q.shape[1] > 1:
        place = torch.arange(2 * size, device=q.device)
        mask = sees(place[size:, None], place)
        k, v = (torch.cat((x[:, :-1], x[:, 1:]), 2).flatten(0, 1) for x in (k, v))
        later = _dense(q[:, 1:].flatten(0, 1), k, v, mask)
        found.append(later.unflatten(0, (batch, -1)))
    return torch.cat(found, 1).flatten(1, 2)[:, :sites]
