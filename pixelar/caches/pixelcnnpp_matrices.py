"""The weights of a PixelCNN++ as matrices, in the form that a step reads."""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixelar.layers.embedding import PixelValues
from pixelar.nets.pixelcnnpp import Pair, PixelCNNPP

__all__ = [
    "Kernel",
    "LevelMatrices",
    "PairMatrices",
    "StemMatrices",
    "both_rows",
    "matrix",
    "weight_and_bias",
]


@dataclass(frozen=True)
class Kernel:
    """A kernel of two rows as two matrices (taps · in, out)."""

    above: Tensor
    here: Tensor
    bias: Tensor

    @classmethod
    def of(cls, conv: nn.Module, short: nn.Module | None = None) -> "Kernel":
        """Returns the matrices of a convolution; the bias includes that of a parallel short-cut."""
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
    ul_inner: Kernel  # its matrix `above` ends with that of the short-cut from u
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
    """The weights of a level, and those between it and the finer level in both directions."""

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
    """Returns the weights from a cell, and from the next if it contributes, to four pixels."""
    weight, bias = weight_and_bias(deconv)
    taps = weight.permute(0, 2, 3, 1)  # (D, 2, 2 or 3, D)
    if taps.shape[2] == 3:  # the first is for the second pixel of the previous cell
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
