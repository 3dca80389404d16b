"""What is kept of the rows of a PixelCNN++ while images are drawn.

All maps have channels last. What a row of u adds to the row below, through the upper row of its
kernels, is computed as soon as the row is, so that no rows of u are kept.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from pixelar.caches.affine import Affine
from pixelar.caches.base import Batched
from pixelar.caches.pixelcnnpp_matrices import Kernel, LevelMatrices, PairMatrices
from pixelar.layers.activations import concat_elu
from pixelar.nets.pixelcnnpp import Pair

__all__ = ["LevelRows", "PairRows", "row_of", "take_row", "windows", "write_rows"]


@dataclass
class PairRows(Batched):
    """What a pair of blocks keeps: of the row above for u, of the row so far for ul."""

    batch_axis: ClassVar = dict.fromkeys(
        ("u_inner", "u_outer", "inner", "outer", "seen", "between"), 0
    )

    u_inner: Tensor  # what the row above adds to u's first convolution, bias included: (B, W, D)
    u_outer: Tensor  # and to its second: (B, W, 2D)
    inner: Tensor  # what the row above and u add to ul's first convolution: (B, W, D)
    outer: Tensor  # and the row above to its second: (B, W, 2D)
    seen: Tensor  # the inputs of ul's first convolution, after a column of zeros: (B, W + 1, 2D)
    between: Tensor  # and those of its second

    @classmethod
    def new(cls, weights: PairMatrices, size: tuple[int, int], labels: Tensor | None) -> "PairRows":
        batch, width = size
        like = weights.u_inner.bias
        empty = [like.new_zeros(batch, width, k * len(like)) for k in (1, 2, 1, 2)]
        rows = [like.new_zeros(batch, width + 1, 2 * len(like)) for _ in range(2)]
        made = cls(*empty, *rows)
        made.u_inner += weights.u_inner.bias
        made.u_outer += weights.u_outer.bias
        add_label(made.u_outer, weights.u_label, labels)
        return made

    def begin_row(
        self,
        weights: PairMatrices,
        u: tuple[Tensor, Tensor],
        mirrored: Tensor | None,
        labels: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Runs u for a row, and adds up what ul takes from it and from its row above.

        Arguments:
            weights: The pair's weights.
            u: The stream (B, W, D) and its concatenated ELU.
            mirrored: The concatenated ELU of the mirrored u.
            labels: Classes with shape (B,).
        """
        h = take_row(self.u_inner, weights.u_inner, u[1])
        if mirrored is not None and weights.u_short is not None:
            h.flatten(0, 1).addmm_(mirrored.flatten(0, 1), weights.u_short)
        a, b = take_row(self.u_outer, weights.u_outer, concat_elu(h, -1)).chunk(2, -1)
        add_label(self.u_outer, weights.u_label, labels)
        new = torch.addcmul(u[0], a, b.sigmoid())
        told = concat_elu(new, -1)
        seen = torch.cat((self.seen[:, :-1], self.seen[:, 1:], told), -1)
        write_rows(self.inner, weights.ul_inner.above, seen)
        between = torch.cat((self.between[:, :-1], self.between[:, 1:]), -1)
        write_rows(self.outer, weights.ul_outer.above, between)
        add_label(self.outer, weights.ul_label, labels)
        return new, told

    def fill(
        self,
        pair: Pair,
        weights: PairMatrices,
        streams: tuple[Tensor, Tensor],
        mirrored: tuple[Tensor, Tensor] | tuple[None, None],
        labels: Tensor | None,
        last: int,
    ) -> tuple[Tensor, Tensor]:
        """Runs the pair for several rows, and leaves the state as if row `last` were the last one
        sampled.
        """
        u, ul = streams
        h = pair.u.between(u, mirrored[0])
        take_row(self.u_inner, weights.u_inner, concat_elu(row_of(u, last), -1))
        take_row(self.u_outer, weights.u_outer, concat_elu(row_of(h, last), -1))
        add_label(self.u_outer, weights.u_label, labels)
        u = pair.u.gated(u, h, labels)
        h = pair.ul.between(ul, u if mirrored[1] is None else torch.cat((u, mirrored[1]), 1))
        self.seen[:, 1:] = concat_elu(row_of(ul, last), -1)
        self.between[:, 1:] = concat_elu(row_of(h, last), -1)
        return u, pair.ul.gated(ul, h, labels)


@dataclass
class LevelRows(Batched):
    """What a level keeps. On level 0, `entry` is what ul's stem takes from above."""

    batch_axis: ClassVar = dict.fromkeys(
        ("up", "down", "entry", "halved_u", "top", "told", "doubled_u", "doubled_ul"), 0
    )

    up: list[PairRows]
    down: list[PairRows]
    entry: Tensor  # what the row above adds to where ul enters the level, bias included: (B, W, D)
    halved_u: Tensor  # and what the finer row above adds to where u enters it
    top: Tensor  # ul at the end of the up pass, after a column of zeros: (B, W + 1, D)
    told: Tensor  # its concatenated ELU at this pixel, (B, 2D)
    doubled_u: Tensor  # what u's row passes to two rows of the finer level: (B, W, 4D)
    doubled_ul: Tensor  # what each of ul's cells passes to its four pixels

    @classmethod
    def new(
        cls, weights: LevelMatrices, size: tuple[int, int], labels: Tensor | None
    ) -> "LevelRows":
        batch, width = size
        like = weights.down[0].u_inner.bias
        depth = len(like)
        start = like.new_zeros(depth) if weights.halve_u is None else weights.halve_u.bias
        return cls(
            up=[PairRows.new(each, size, labels) for each in weights.up],
            down=[PairRows.new(each, size, labels) for each in weights.down],
            entry=like.new_zeros(batch, width, depth),
            halved_u=start.expand(batch, width, -1).clone(),
            top=like.new_zeros(batch, width + 1, depth),
            told=like.new_zeros(batch, 2 * depth),
            doubled_u=like.new_zeros(batch, width, 4 * depth),
            doubled_ul=like.new_zeros(batch, width, 4 * depth),
        )


# --- operations on rows -----------------------------------------------------------------------


def row_of(maps: Tensor, i: int) -> Tensor:
    """Returns row i of maps (B, D, H, W), with shape (B, W, D)."""
    return maps[:, :, i].mT


def windows(row: Tensor, stride: int = 1) -> Tensor:
    """Returns a row's columns with both neighbours: (B, W, D) → (B, W / stride, 3D)."""
    batch, width, channels = row.shape
    padded = F.pad(row, (0, 0, 1, 1))
    size = (batch, width // stride, 3 * channels)
    return padded.as_strided(size, (padded.stride(0), stride * channels, 1))


def write_rows(into: Tensor, affine: Affine, rows: Tensor) -> None:
    """Writes the map of rows (B, W, in) into a tensor (B, W, out)."""
    affine(rows.flatten(0, 1), out=into.flatten(0, 1))


def take_row(above: Tensor, kernel: Kernel, row: Tensor, stride: int = 1) -> Tensor:
    """Returns a row's output (B, W, out) and replaces `above`, what the row above adds to this one,
    by what this row adds to the next.
    """
    seen = windows(row, stride).flatten(0, 1)
    found = torch.addmm(above.flatten(0, 1), seen, kernel.here).view_as(above)
    kernel.above(seen, out=above.flatten(0, 1))
    return found


def add_label(rows: Tensor, table: Tensor | None, labels: Tensor | None) -> None:
    if table is not None and labels is not None:
        rows += table[labels][:, None]
