"""How a PixelCNN is sampled: the inputs of its kernels, by column or along a wavefront."""

from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import torch
from torch import Tensor

from pixelar.caches.base import WaveCache
from pixelar.caches.incremental import Diagonals, last_rows
from pixelar.caches.residual_stack import PixelConv, ResidualStackCache
from pixelar.layers.masked import MaskedConv2d
from pixelar.layers.readout import PixelReadout
from pixelar.nets.pixelcnn import PixelCNN

__all__ = ["PixelCNNCache", "PixelCNNWaves"]


@dataclass(frozen=True)
class BlockMatrices:
    """The weights of a block's 1×1 convolutions, as matrices from inputs to outputs."""

    down: tuple[Tensor, Tensor]  # matrix, bias
    up: Tensor  # matrix, whose last row is the bias


Column: TypeAlias = list[tuple[Tensor, ...]]


class PixelCNNCache(ResidualStackCache[PixelCNN, Column]):
    """The inputs of all k×k convolutions: some rows, the columns of the pixel's own row, and what
    the rows above add to it.
    """

    batch_axis: ClassVar = {"stem": 0, "blocks": 0, "inner": 0}

    matrices: list[BlockMatrices]  # all rows of the batch share them
    blocks: list[PixelConv]  # each block's k×k convolution
    inner: Tensor  # scratch buffer for a block's inner features, then a one: (B, D + 1)

    def __init__(self, net: PixelCNN, x: Tensor, labels: Tensor | None = None) -> None:
        super().__init__(net, x, labels)
        batch, columns = x.shape[0], net.scan.shape[2]
        self.matrices = matrices_of(net)
        self.stem, *self.blocks = (PixelConv(conv, batch, columns) for conv in convolutions(net))
        self.inner = net.stem.weight.detach().new_ones(batch, net.width + 1)

    def fill_rows(self, x: Tensor, i: int) -> None:
        net = self.net
        # the next row of a block reads `up` rows above, whose own inputs reach further up
        up = net.kernel_size // 2
        needed = [max(1, up) + up * k for k in range(net.depth)][::-1]  # rows of each block
        first = max(0, i - needed[0] - net.first_kernel_size // 2)
        inputs = net.embed(x[:, :, first:i])
        h = net.stem(inputs)
        self.stem.fill(inputs)
        for k, (block, conv, rows) in enumerate(zip(net.blocks, self.blocks, needed, strict=True)):
            if k:
                h = net.blocks[k - 1].expand(h, inputs, self.labels)
            h = last_rows(h, rows)
            inputs = block.squeeze(h)
            conv.fill(inputs)

    def advance(self, x: Tensor, t: int) -> Tensor:
        (link, pixels, matrix), *blocks = self.column(self.enter(x, t))
        h = torch.addmm(link, pixels, matrix)
        inner, features = self.inner, self.inner[:, :-1]
        for bias, down, at, link, seen, matrix, up in blocks:
            torch.addmm(bias, h.relu(), down, out=at).relu_()
            torch.addmm(link, seen, matrix, out=features).relu_()
            h = torch.addmm(h, inner, up)
        return h

    def begin_row(self, x: Tensor, i: int) -> None:
        """Computes what the rows above, which are final, add to all of row i."""
        net = self.net
        if i:
            self.stem.left.fill(net.embed(x[:, :, i - 1]).mT)
        for conv in (self.stem, *self.blocks):
            conv.begin_row(i)
        if net.classes:
            for block, conv in zip(net.blocks, self.blocks, strict=True):
                conv.link += block.label(self.labels)[:, None]

    def make_column(self, j: int) -> Column:
        _, pixels, link = self.stem.views(j)
        column: Column = [(link, pixels, self.stem.matrix)]
        for conv, weights in zip(self.blocks, self.matrices, strict=True):
            (down, bias), (at, seen, link) = weights.down, conv.views(j)
            column.append((bias, down, at, link, seen, conv.matrix, weights.up))
        return column


class PixelCNNWaves(WaveCache[PixelCNN]):
    """The inputs of all k×k convolutions along a wavefront."""

    matrices: list[BlockMatrices]
    readout: PixelReadout
    diagonals: list[Diagonals]
    kernels: list[Tensor]  # each as a matrix, for patches of all live taps
    count: int  # number of waves so far

    def __init__(self, net: PixelCNN, x: Tensor, labels: Tensor | None = None) -> None:
        super().__init__(net, x, labels)
        like, skew = net.stem.weight.detach(), net.reach() + 1
        diagonals = [
            Diagonals(c.kernel_size[0], skew, (x.shape[0], net.scan.shape[1], c.in_channels), like)
            for c in convolutions(net)
        ]
        with torch.no_grad():
            kernels = [
                torch.cat((conv.above().permute(2, 3, 1, 0).flatten(0, 2), conv.left_matrix()))
                for conv in convolutions(net)
            ]
            self.readout = net.out.by_pixel()
        self.matrices = matrices_of(net)
        self.diagonals = diagonals
        self.kernels = kernels
        self.count = 0

    @torch.no_grad()
    def wave(self, x: Tensor, sites: Tensor) -> Tensor:
        net = self.net
        number, colour = divmod(self.count, net.colours)
        self.count += 1
        pixels, *inner = self.diagonals
        if colour == 0:
            self._show_wave(x, number - 1, pixels)
            for diagonal in self.diagonals:
                diagonal.begin(number)
        else:
            self._show_wave(x, number, pixels)
        rows = self._rows_of(number)
        stem, *kernels = self.kernels
        shape = x.shape[0], rows.stop - rows.start  # no rows, in some waves of narrow images
        h = torch.addmm(net.stem.bias, pixels.seen(number, rows).flatten(0, 1), stem)  # (B·n, 2D)
        layers = zip(net.blocks, self.matrices, inner, kernels, strict=True)
        for block, matrices, diagonal, kernel in layers:
            matrix, bias = matrices.down
            squeezed = torch.addmm(bias, h.relu(), matrix).relu_()
            diagonal.at(number, rows).copy_(squeezed.unflatten(0, shape))
            features = torch.addmm(
                block.conv.bias, diagonal.seen(number, rows).flatten(0, 1), kernel
            )
            if net.classes:
                features.unflatten(0, shape).add_(block.label(self.labels)[:, None])
            matrix, bias = matrices.up[:-1], matrices.up[-1]
            h = torch.addmm(h, features.relu_(), matrix).add_(bias)
        return self.readout(h, colour).unflatten(0, shape)

    def _rows_of(self, wave: int) -> slice:
        """Returns the rows that a wave of pixels passes through."""
        net = self.net
        _, height, width = net.scan.shape
        skew = net.reach() + 1
        return slice(max(0, -((width - 1 - wave) // skew)), min(height, wave // skew + 1))

    def _show_wave(self, x: Tensor, wave: int, pixels: Diagonals) -> None:
        """Writes the present pixels of a wave into the first layer's input."""
        net = self.net
        if wave < 0:
            return
        rows = self._rows_of(wave)
        i = torch.arange(rows.start, rows.stop, device=x.device)
        values = net.embed(x[:, :, i, wave - (net.reach() + 1) * i])  # (B, C, n)
        pixels.at(wave, rows).copy_(values.mT)


@torch.no_grad()
def matrices_of(net: PixelCNN) -> list[BlockMatrices]:
    """Returns the weights of the blocks in the form that a step reads."""
    return [
        BlockMatrices(
            down=(block.down.left_matrix(), block.down.bias),
            up=torch.cat((block.up.left_matrix(), block.up.bias[None])),
        )
        for block in net.blocks
    ]


def convolutions(net: PixelCNN) -> list[MaskedConv2d]:
    return [net.stem, *(block.conv for block in net.blocks)]
