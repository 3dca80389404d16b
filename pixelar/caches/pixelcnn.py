"""How a PixelCNN is sampled: the inputs of its kernels, by column or along a wavefront."""

from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import torch
from torch import Tensor

from pixelar.caches.base import WaveCache
from pixelar.caches.incremental import ColumnsLeft, Diagonals, RowsAbove, last_rows
from pixelar.caches.rows import RowCache
from pixelar.layers.masked import MaskedConv2d
from pixelar.layers.readout import PixelReadout
from pixelar.nets.pixelcnn import PixelCNN

__all__ = ["PixelCNNCache", "PixelCNNWaves"]


@dataclass(frozen=True)
class BlockMatrices:
    """The weights of a block: matrices from inputs to outputs, and the kernel's rows above."""

    down: tuple[Tensor, Tensor]  # matrix, bias
    above: tuple[Tensor, Tensor]  # kernel, bias
    left: Tensor  # matrix
    up: Tensor  # matrix, whose last row is the bias


@dataclass(frozen=True)
class Matrices:
    """The weights of a sampling pass; all rows of the batch share them."""

    stem_above: tuple[Tensor, Tensor]  # kernel, bias
    stem_left: Tensor  # matrix
    blocks: list[BlockMatrices]
    readout: PixelReadout


Column: TypeAlias = list[tuple[Tensor, ...]]


class PixelCNNCache(RowCache[PixelCNN]):
    """The inputs of all k×k convolutions: some rows, the columns of the pixel's own row, and what
    the rows above add to it.
    """

    batch_axis: ClassVar = {"above": 0, "left": 0, "links": 0, "inner": 0}
    lazy_views: ClassVar = ("columns",)

    matrices: Matrices
    above: list[RowsAbove]  # of the first convolution and of each block's
    left: list[ColumnsLeft]
    links: list[Tensor]  # what the rows above add to every column, bias included: (B, W, ·)
    inner: Tensor  # scratch buffer for a block's inner features, then a one: (B, D + 1)
    columns: dict[int, Column]  # views of all these, by column

    def __init__(self, net: PixelCNN, x: Tensor, labels: Tensor | None = None) -> None:
        super().__init__(net, x, labels)
        batch, columns = x.shape[0], net.scan.shape[2]
        like = net.stem.weight.detach()
        above, left, links = [], [], []
        for conv in convolutions(net):
            size, taps = (batch, columns, conv.in_channels), conv.kernel_size[1]
            above.append(RowsAbove(taps // 2, taps, 1, size, like))
            left.append(ColumnsLeft(taps // 2 + 1, 1, size, like))
            links.append(like.new_zeros(batch, columns, conv.out_channels))
        self.matrices = matrices_of(net)
        self.readout = self.matrices.readout
        self.above = above
        self.left = left
        self.links = links
        self.inner = like.new_ones(batch, net.width + 1)
        self.columns = {}

    def fill_rows(self, x: Tensor, i: int) -> None:
        net = self.net
        # the next row of a block reads `up` rows above, whose own inputs reach further up
        up = net.kernel_size // 2
        needed = [max(1, up) + up * k for k in range(net.depth)][::-1]  # rows of each block
        first = max(0, i - needed[0] - net.first_kernel_size // 2)
        inputs = net.embed(x[:, :, first:i])
        h = net.stem(inputs)
        self.above[0].fill(inputs[:, :, :-1])  # the last row is taken in when row i begins
        layers = zip(net.blocks, self.above[1:], self.left[1:], needed, strict=True)
        for k, (block, above, left, rows) in enumerate(layers):
            if k:
                h = net.blocks[k - 1].expand(h, inputs, self.labels)
            h = last_rows(h, rows)
            inputs = block.squeeze(h)
            above.fill(inputs[:, :, :-1])
            left.fill(inputs[:, :, -1].mT)

    def advance(self, x: Tensor, t: int) -> Tensor:
        j = self.enter(x, t)
        weights, inner = self.matrices, self.inner
        (_, pixels, link), *blocks = self._column(j)
        h = torch.addmm(link, pixels, weights.stem_left)
        features = inner[:, :-1]
        for (at, seen, link), block in zip(blocks, weights.blocks, strict=True):
            matrix, bias = block.down
            torch.addmm(bias, h.relu(), matrix, out=at).relu_()
            torch.addmm(link, seen, block.left, out=features).relu_()
            h = torch.addmm(h, inner, block.up)
        return h

    def write_pixel(self, symbols: Tensor, column: int) -> None:
        self._column(column)[0][0].copy_(self.net.embed(symbols))

    def begin_row(self, x: Tensor, i: int) -> None:
        """Computes what the rows above, which are final, add to all of row i."""
        net = self.net
        weights = self.matrices
        kernels = [weights.stem_above, *(block.above for block in weights.blocks)]
        if i:
            self.left[0].fill(net.embed(x[:, :, i - 1]).mT)
        for above, left, kernel, link in zip(
            self.above, self.left, kernels, self.links, strict=True
        ):
            if i:
                above.push(left.row())
            link.copy_(above.convolve(*kernel))
        if net.classes:
            for block, link in zip(net.blocks, self.links[1:], strict=True):
                link += block.label(self.labels)[:, None]

    def _column(self, j: int) -> Column:
        """Returns the views of column j that a step reads and writes, made once for all rows."""
        if j not in self.columns:
            self.columns[j] = [
                (left.at(j), left.seen(j), link[:, j])
                for left, link in zip(self.left, self.links, strict=True)
            ]
        return self.columns[j]


class PixelCNNWaves(WaveCache[PixelCNN]):
    """The inputs of all k×k convolutions along a wavefront."""

    matrices: Matrices
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
        rows, weights = self._rows_of(number), self.matrices
        stem, *kernels = self.kernels
        shape = x.shape[0], rows.stop - rows.start  # no rows, in some waves of narrow images
        h = torch.addmm(net.stem.bias, pixels.seen(number, rows).flatten(0, 1), stem)  # (B·n, 2D)
        layers = zip(net.blocks, weights.blocks, inner, kernels, strict=True)
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
        return weights.readout(h, colour).unflatten(0, shape)

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
def matrices_of(net: PixelCNN) -> Matrices:
    """Returns the weights in the form that a step reads."""
    return Matrices(
        stem_above=(net.stem.above(), net.stem.bias),
        stem_left=net.stem.left_matrix(),
        blocks=[
            BlockMatrices(
                down=(block.down.left_matrix(), block.down.bias),
                above=(block.conv.above(), block.conv.bias),
                left=block.conv.left_matrix(),
                up=torch.cat((block.up.left_matrix(), block.up.bias[None])),
            )
            for block in net.blocks
        ],
        readout=net.out.by_pixel(),
    )


def convolutions(net: PixelCNN) -> list[MaskedConv2d]:
    return [net.stem, *(block.conv for block in net.blocks)]
