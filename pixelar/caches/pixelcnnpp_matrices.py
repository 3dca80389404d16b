"""The weights of a PixelCNN++ as matrices, in the form that a step reads."""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixelar.caches.affine import Affine
from pixelar.layers.embedding import PixelValues
from pixelar.nets.pixelcnnpp import Pair, PixelCNNPP

__all__ = [
    "Kernel",
    "LevelMatrices",
    "PairMatrices",
    "StemMatrices",
]


@dataclass(frozen=True)
class Kernel:
    """A kernel of two rows as matrices (taps · in, out). The bias is that of the upper row, which
    is computed first.
    """

    above: Affine
    here: Tensor

    @property
    def bias(self) -> Tensor:
        return self.above.offset

    @classmethod
    def of(cls, conv: nn.Module, short: Affine | None = None) -> "Kernel":
        """Returns the matrices of a convolution; the bias includes that of a parallel short-cut."""
        weight, bias = weight_and_bias(conv)
        above, here = weight.permute(2, 3, 1, 0).flatten(1, 2)
        if short is not None:
            bias = bias + short.offset
        return cls(Affine(above.contiguous(), bias), here.contiguous())


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
    ul_inner: Kernel  # its matrix `above` ends with that of the short-cut from u
    ul_outer: Kernel
    ul_short: Tensor | None  # of the mirrored ul, (2D, D)
    ul_label: Tensor | None

    @classmethod
    def of(cls, pair: Pair) -> "PairMatrices":
        u, ul = pair.u, pair.ul
        assert ul.short is not None
        u_short = None if u.short is None else Affine.of(u.short)
        ul_short = Affine.of(ul.short)
        inner = Kernel.of(ul.inner, ul_short)
        # the short-cut's inputs: elu([u, mirrored, -u, -mirrored])
        parts = ul_short.weight.unflatten(0, (2, -1, len(inner.bias))).transpose(0, 1)
        from_u, *from_mirrored = parts.flatten(1, 2)
        above = Affine(torch.cat((inner.above.weight, from_u)), inner.bias)
        return cls(
            u_inner=Kernel.of(u.inner, u_short),
            u_outer=Kernel.of(u.outer),
            u_short=None if u_short is None else u_short.weight,
            u_label=None if u.label.table is None else u.label.table.weight,
            ul_inner=replace(inner, above=above),
            ul_outer=Kernel.of(ul.outer),
            ul_short=from_mirrored[0].contiguous() if from_mirrored else None,
            ul_label=None if ul.label.table is None else ul.label.table.weight,
        )


@dataclass(frozen=True)
class LevelMatrices:
    """The weights of a level, and those between it and the finer level in both directions."""

    up: list[PairMatrices]
    down: list[PairMatrices]
    halve_u: Kernel | None
    halve_ul: Kernel | None
    double_u: Affine | None  # of a cell and the next, (2D, 4D)
    double_ul: Affine | None  # (D, 4D)

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


def both_rows(deconv: nn.Module) -> Affine:
    """Returns the weights from a cell, and from the next if it contributes, to four pixels."""
    weight, bias = weight_and_bias(deconv)
    taps = weight.permute(0, 2, 3, 1)  # (D, 2, 2 or 3, D)
    if taps.shape[2] == 3:  # the first is for the second pixel of the previous cell
        own, following = taps[:, :, 1:], F.pad(taps[:, :, :1], (0, 0, 1, 0))
        taps = torch.cat((own, following))
    return Affine(taps.flatten(1), bias.repeat(4))


@dataclass(frozen=True)
class StemMatrices:
    """The weights before the first pair of blocks and after the last."""

    embed: PixelValues
    u: Kernel
    above: Affine  # of ul's row above, (3 (C + 1), D)
    left_above: Tensor  # of ul's pixel above to the left, (C + 1, D)
    left: Affine  # of the symbols to the left, (C, D)
    out: Affine

    @classmethod
    def of(cls, net: PixelCNNPP) -> "StemMatrices":
        left = Kernel.of(net.ul_stem_left)
        weight, bias = weight_and_bias(net.ul_stem_above)
        return cls(
            embed=net.embed,
            u=Kernel.of(net.u_stem),
            above=Affine(weight[:, :, 0].permute(2, 1, 0).flatten(0, 1), bias),
            left_above=left.above.weight,
            left=Affine(left.here[:-1], left.bias + left.here[-1]).of_symbols(net.levels),
            out=Affine.of(net.out),
        )
