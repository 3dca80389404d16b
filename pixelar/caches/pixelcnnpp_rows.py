"""What a walk of PixelCNN++ computes with: its weights as matrices, and what is kept of rows.

All maps have channels last. What the upper row of u's kernels makes of a row is added up for the
row below as soon as the row is there, so that no rows of u are kept.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixelar.caches.base import Batched
from pixelar.layers.activations import concat_elu
from pixelar.layers.embedding import PixelValues
from pixelar.nets.pixelcnnpp import Pair, PixelCNNPP

__all__ = [
    "LevelMatrices",
    "LevelRows",
    "PairMatrices",
    "PairRows",
    "StemMatrices",
    "add_product",
    "row_of",
    "take_row",
    "windows",
]

# --- weights ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kernel:
    """A kernel of two rows as two matrices (taps · in, out)."""

    above: Tensor
    here: Tensor
    bias: Tensor

    @classmethod
    def of(cls, conv: nn.Module, short: nn.Module | None = None) -> "Kernel":
        """Returns the matrices of a convolution; its bias with that of a short-cut beside it."""
        weight, bias = weight_and_bias(conv)
        above, here = weight.permute(2, 3, 1, 0).flatten(1, 2)
        if short is not None:
            bias = bias + weight_and_bias(short)[1]
        return cls(above.contiguous(), here.contiguous(), bias)


def weight_and_bias(layer: nn.Module) -> tuple[Tensor, Tensor]:
    weight, bias = layer.weight, layer.bias
    assert isinstance(weight, Tensor) and isinstance(bias, Tensor)
    return weight, bias


@dataclass(frozen=True)
class PairMatrices:
    """The weights of a pair of blocks; the tables of labels are None where there are no classes."""

    u_inner: Kernel
    u_outer: Kernel
    u_short: Tensor | None  # of the mirrored u, (2D, D)
    u_label: Tensor | None
    ul_inner: Kernel  # below its matrix `above` is that of the short-cut from u
    ul_outer: Kernel
    ul_short: Tensor | None  # of the mirrored ul, (2D, D)
    ul_label: Tensor | None

    @classmethod
    def of(cls, pair: Pair) -> "PairMatrices":
        u, ul = pair.u, pair.ul
        inner = Kernel.of(ul.inner, ul.short)
        # the short-cut's inputs: elu([u, mirrored, -u, -mirrored])
        parts = matrix(ul.short).unflatten(0, (2, -1, len(inner.bias))).transpose(0, 1)
        from_u, *from_mirrored = parts.flatten(1, 2)
        return cls(
            u_inner=Kernel.of(u.inner, u.short),
            u_outer=Kernel.of(u.outer),
            u_short=None if u.short is None else matrix(u.short),
            u_label=None if u.label.table is None else u.label.table.weight,
            ul_inner=replace(inner, above=torch.cat((inner.above, from_u))),
            ul_outer=Kernel.of(ul.outer),
            ul_short=from_mirrored[0].contiguous() if from_mirrored else None,
            ul_label=None if ul.label.table is None else ul.label.table.weight,
        )


def matrix(conv: nn.Module | None) -> Tensor:
    """Returns the weight of a 1×1 convolution as a matrix (in, out)."""
    assert conv is not None
    return weight_and_bias(conv)[0][:, :, 0, 0].T.contiguous()


@dataclass(frozen=True)
class LevelMatrices:
    """The weights of a level, and those of the ways from the finer level and back to it."""

    up: list[PairMatrices]
    down: list[PairMatrices]
    halve_u: Kernel | None
    halve_ul: Kernel | None
    double_u: tuple[Tensor, Tensor] | None  # matrix (2D, 4D) of a cell and the next, and bias
    double_ul: tuple[Tensor, Tensor] | None  # matrix (D, 4D), and bias

    @classmethod
    def of(cls, net: PixelCNNPP, s: int) -> "LevelMatrices":
        stage = net.stages - 1 - s  # of the down pass
        return cls(
            up=[PairMatrices.of(pair) for pair in net.up[s]],
            down=[PairMatrices.of(pair) for pair in net.down[stage]],
            halve_u=Kernel.of(net.halve_u[s - 1]) if s else None,
            halve_ul=Kernel.of(net.halve_ul[s - 1]) if s else None,
            double_u=both_rows(net.double_u[stage]) if s else None,
            double_ul=both_rows(net.double_ul[stage]) if s else None,
        )


def both_rows(deconv: nn.Module) -> tuple[Tensor, Tensor]:
    """Returns the weights that make four pixels of a cell, and of the next one where they share."""
    weight, bias = weight_and_bias(deconv)
    taps = weight.permute(0, 2, 3, 1)  # (D, 2, 2 or 3, D)
    if taps.shape[2] == 3:  # the first is for the second pixel of the cell before
        own, following = taps[:, :, 1:], F.pad(taps[:, :, :1], (0, 0, 1, 0))
        taps = torch.cat((own, following))
    return taps.flatten(1), bias.repeat(4)


@dataclass(frozen=True)
class StemMatrices:
    """The weights before the first pair of blocks and after the last."""

    embed: PixelValues
    u: Kernel
    above: tuple[Tensor, Tensor]  # of ul's row above: matrix (3 (C + 1), D), and bias
    left_above: Tensor  # of ul's pixel above to the left, (C + 1, D)
    left: tuple[Tensor, Tensor]  # of the symbols to the left: matrix (C, D), and bias
    out: tuple[Tensor, Tensor]

    @classmethod
    def of(cls, net: PixelCNNPP) -> "StemMatrices":
        left = Kernel.of(net.ul_stem_left)
        above = net.ul_stem_above
        return cls(
            embed=net.embed,
            u=Kernel.of(net.u_stem),
            above=(above.weight[:, :, 0].permute(2, 1, 0).flatten(0, 1), above.bias),
            left_above=left.above,
            left=net.embed.folded(left.here[:-1], left.bias + left.here[-1]),
            out=(matrix(net.out), net.out.bias),  # type: ignore[arg-type]
        )


# --- what is kept -----------------------------------------------------------------------------


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
        add_product(self.inner, weights.ul_inner.bias, seen, weights.ul_inner.above)
        between = torch.cat((self.between[:, :-1], self.between[:, 1:]), -1)
        add_product(self.outer, weights.ul_outer.bias, between, weights.ul_outer.above)
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
        """Runs the pair for several rows, and leaves things as if `last` had been walked last."""
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
    halved_u: Tensor  # and what the finer row above adds to where u does
    top: Tensor  # ul at the end of the up pass, after a column of zeros: (B, W + 1, D)
    told: Tensor  # its concatenated ELU at this pixel, (B, 2D)
    doubled_u: Tensor  # what u's row tells two rows of the finer level: (B, W, 4D)
    doubled_ul: Tensor  # what ul's cells tell four pixels each

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
    """Returns a row's columns with those on both sides: (B, W, D) → (B, W / stride, 3D)."""
    batch, width, channels = row.shape
    padded = F.pad(row, (0, 0, 1, 1))
    size = (batch, width // stride, 3 * channels)
    return padded.as_strided(size, (padded.stride(0), stride * channels, 1))


def add_product(into: Tensor, added: Tensor, rows: Tensor, weight: Tensor) -> None:
    """Writes added + rows @ weight into a tensor (B, W, out)."""
    torch.addmm(added, rows.flatten(0, 1), weight, out=into.flatten(0, 1))


def take_row(above: Tensor, kernel: Kernel, row: Tensor, stride: int = 1) -> Tensor:
    """Returns a row's result (B, W, out), with what the row above left, and leaves its own."""
    seen = windows(row, stride).flatten(0, 1)
    found = torch.addmm(above.flatten(0, 1), seen, kernel.here).view_as(above)
    add_product(above, kernel.bias, seen[None], kernel.above)
    return found


def add_label(rows: Tensor, table: Tensor | None, labels: Tensor | None) -> None:
    if table is not None and labels is not None:
        rows += table[labels][:, None]
