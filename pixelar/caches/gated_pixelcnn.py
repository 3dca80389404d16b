"""How a Gated PixelCNN is sampled: its vertical stack by row, its horizontal stack by pixel."""

from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from pixelar.caches.affine import Affine
from pixelar.caches.incremental import ColumnsLeft, RowsAbove, last_rows
from pixelar.caches.rows import RowCache
from pixelar.layers.readout import PixelReadout
from pixelar.layers.shifted import shift_down
from pixelar.nets.gated_pixelcnn import GatedPixelCNN, gate

__all__ = ["GatedPixelCNNCache"]


@dataclass
class Matrices:
    """The weights of a sampling pass: kernels, and matrices from inputs to outputs. All rows of the
    batch share them.

    A gate is tanh(a) σ(b) = 2 σ(2a) σ(b) - σ(b): with the factor 2 folded into the matrices that
    compute a, it costs one sigmoid and one fused multiplication. The result is the negated gate,
    whose sign is folded into the matrices that read it.
    """

    vertical_stem: tuple[Tensor, Tensor]  # kernel, bias
    vertical: list[tuple[Tensor, Tensor]]
    links: list[tuple[Tensor, Tensor]]
    horizontal_stem: Affine  # of symbols, not of their values
    horizontal: list[Tensor]
    out: list[Tensor]  # the last row is the bias
    readout: PixelReadout
    double: Tensor  # 2 for the maps of a, 1 for those of b: (2D,)


Column: TypeAlias = list[tuple[Tensor, ...]]


class GatedPixelCNNCache(RowCache[GatedPixelCNN]):
    """The rows and columns that the next pixel depends on."""

    batch_axis: ClassVar = {"above": 0, "left": 0, "links": 0, "maps": 0, "gate": 0, "last": 0}
    lazy_views: ClassVar = ("columns",)

    matrices: Matrices
    above: list[RowsAbove]  # of the vertical convolutions: values of pixels, then maps
    left: list[ColumnsLeft]  # of the horizontal convolutions: symbols, then maps
    links: list[Tensor]  # what v passes to h in this row, bias included: (B, W, 2D) of each layer
    maps: Tensor  # scratch buffer for the maps of a pixel, (B, 2D)
    gate: Tensor  # scratch buffer for the negated gate, followed by a one: (B, D + 1)
    last: Tensor  # scratch buffer for the last layer's output, (B, D)
    columns: dict[int, Column]  # views of all these, by column

    def __init__(self, net: GatedPixelCNN, x: Tensor, labels: Tensor | None = None) -> None:
        super().__init__(net, x, labels)
        batch, columns, width = x.shape[0], net.scan.shape[2], net.width
        like = net.horizontal_stem.weight.detach()
        above = [
            RowsAbove(
                c.rows, c.kernel_size[1], c.dilation[0], (batch, columns, c.in_channels), like
            )
            for c in (net.vertical_stem, *(layer.vertical for layer in net.layers))
        ]
        left = [
            ColumnsLeft(
                c.kernel_size[1] // 2 + 1, c.dilation[1], (batch, columns, c.in_channels), like
            )
            for c in (net.horizontal_stem, *(layer.horizontal for layer in net.layers))
        ]
        left[0].buffer.fill_(net.embed.zero)
        self.matrices = matrices_of(net)
        self.readout = self.matrices.readout
        self.above = above
        self.left = left
        self.links = [like.new_zeros(batch, columns, 2 * width) for _ in net.layers]
        self.maps = like.new_zeros(batch, 2 * width)
        self.gate = like.new_ones(batch, width + 1)
        self.last = like.new_zeros(batch, width)
        self.columns = {}

    def fill_rows(self, x: Tensor, i: int) -> None:
        net = self.net
        # the next row of a layer reads up to `margin` rows above, whose own inputs reach
        # further up
        reaches = [layer.vertical.margin[2] for layer in net.layers]
        first = max(0, i - sum(reaches) - net.first_kernel_size // 2 - 1)
        pixels = net.embed(x[:, :, first:i])
        self.above[0].fill(pixels[:, :, :-1])  # the last is taken in when row i begins
        v = net.placed(net.vertical_stem(shift_down(pixels)), first)
        for k, above in enumerate(self.above[1:]):
            if k:
                v = gate(net.layers[k - 1].maps_above(v, self.labels))
            v = last_rows(v, max(1, sum(reaches[k:])))
            above.fill(-v if k else v)  # the sign of a gate, as in Matrices

    def advance(self, x: Tensor, t: int) -> Tensor:
        net = self.net
        j = self.enter(x, t)
        (_, pixels, h), *layers = self._column(j)
        self.matrices.horizontal_stem(pixels, out=h)
        maps, gate = self.maps, self.gate
        a, b, inner = (
            maps[:, : net.width],
            maps[:, net.width :],
            gate[:, : net.width],
        )
        for h, window, link, matrix, out, output in layers:
            torch.addmm(link, window, matrix, out=maps).sigmoid_()
            torch.addcmul(b, a, b, value=-2, out=inner)
            torch.addmm(h, gate, out, out=output)
        return self.last

    def write_pixel(self, symbols: Tensor, column: int) -> None:
        self._column(column)[0][0].copy_(symbols)

    @torch.no_grad()
    def begin_row(self, x: Tensor, i: int) -> None:
        """Runs the vertical stack for row i, and keeps what it passes to the horizontal stack."""
        net = self.net
        weights, width, double = self.matrices, net.width, self.matrices.double
        if i:
            self.above[0].push(net.embed(x[:, :, i - 1]).mT)
        v = self.above[0].convolve(*weights.vertical_stem)  # (B, W, D)
        if net.position:
            v = v + net.places[:, i].T
        layers = zip(
            net.layers,
            self.above[1:],
            weights.vertical,
            weights.links,
            self.links,
            strict=True,
        )
        for layer, above, vertical, link, told in layers:
            above.push(v)
            maps = above.convolve(*vertical)  # (B, W, 2D)
            if net.classes:
                maps += layer.vertical_label(self.labels)[:, None] * double
            told.copy_(F.conv2d(maps.mT[:, :, None], *link)[:, :, 0].mT)
            if net.classes:
                told += layer.horizontal_label(self.labels)[:, None] * double
            b = maps.sigmoid_()[..., width:]
            v = torch.addcmul(b, maps[..., :width], b, value=-2)

    def _column(self, j: int) -> Column:
        """Returns the views of column j that a step reads and writes, made once for all rows."""
        if j not in self.columns:
            left, weights = self.left, self.matrices
            outputs = [*(columns.at(j) for columns in left[2:]), self.last]
            found: Column = [(left[0].at(j), left[0].seen(j), left[1].at(j))]
            for inputs, link, horizontal, out, output in zip(
                left[1:], self.links, weights.horizontal, weights.out, outputs, strict=True
            ):
                found.append((inputs.at(j), inputs.seen(j), link[:, j], horizontal, out, output))
            self.columns[j] = found
        return self.columns[j]


@torch.no_grad()
def matrices_of(net: GatedPixelCNN) -> Matrices:
    """Returns the weights in the form that a step reads."""
    like = net.horizontal_stem.weight
    double = torch.ones(2 * net.width, device=like.device, dtype=like.dtype)
    double[: net.width] = 2
    by_output = double[:, None, None, None]
    vertical, links = [], []
    for k, layer in enumerate(net.layers):
        kernel = layer.vertical.above() * by_output
        vertical.append((-kernel if k else kernel, layer.vertical.bias * double))
        assert layer.link.bias is not None
        bias = (layer.link.bias + layer.horizontal.bias) * double
        links.append((layer.link.weight / double[:, None, None] * by_output, bias))
    return Matrices(
        vertical_stem=(net.vertical_stem.above(), net.vertical_stem.bias),
        vertical=vertical,
        links=links,
        horizontal_stem=Affine.of(net.horizontal_stem).of_symbols(net.levels),
        horizontal=[layer.horizontal.left_matrix() * double for layer in net.layers],
        out=[Affine.of(layer.out).undoing(-1).joined() for layer in net.layers],
        readout=net.out.by_pixel(),
        double=double,
    )
