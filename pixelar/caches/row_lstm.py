"""How a Row LSTM is sampled: what the row above adds is computed for a whole row when it begins."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pixelar.caches.gates import Gates
from pixelar.caches.incremental import ColumnsLeft, RowsAbove
from pixelar.caches.rows import RowCache
from pixelar.layers.convlstm import GATES
from pixelar.layers.readout import PixelReadout
from pixelar.nets.row_lstm import RowLSTM, beside

__all__ = ["RowLSTMCache"]


@dataclass(frozen=True)
class Matrices:
    """The weights of a sampling pass; all rows of the batch share them."""

    stem_above: tuple[Tensor, Tensor]  # kernel, bias
    stem_left: Tensor  # matrix
    state: Tensor  # of all layers, (L, k · D, 4D)
    input: list[Tensor]  # the columns up to the centre as matrices
    up: list[Tensor]  # matrices whose last row is the bias
    readout: PixelReadout


class RowLSTMCache(RowCache[RowLSTM]):
    """The row of the next pixel: inputs and states of all L layers, and what the row above it adds.

    The batch is the second dimension of all of the layers' tensors.
    """

    batch_axis: ClassVar = {
        "above": 0,
        "left": 0,
        "stem": 0,
        "bias": 1,
        "links": 1,
        "inputs": 1,
        "hidden": 1,
        "cells": 1,
        "cells_above": 1,
        "gates": 0,
        "last": 0,
    }
    lazy_views: ClassVar = ("columns",)

    matrices: Matrices
    above: RowsAbove  # of the first convolution
    left: ColumnsLeft
    stem: Tensor  # what the rows above add to the first convolution, (B, W, 2D)
    bias: Tensor  # of the gates, label included: (L, B, 1, 4D)
    links: Tensor  # what the row above adds to the gates, bias included: (L, B, W, 4D)
    inputs: Tensor  # after zeros for the columns left of the image, (L, B, k // 2 + W, 2D)
    hidden: Tensor  # each followed by a one, (L, B, W, D + 1)
    cells: Tensor  # (L, B, W, D)
    cells_above: Tensor  # of the row above
    gates: Gates  # scratch buffer for the gates of a pixel, (B, 4D)
    last: Tensor  # scratch buffer for the last layer's output, (B, 2D)
    columns: dict[int, list[tuple[Tensor, ...]]]  # views, by column

    def __init__(self, net: RowLSTM, x: Tensor, labels: Tensor | None = None) -> None:
        super().__init__(net, x, labels)
        batch, columns, width = x.shape[0], net.scan.shape[2], net.width
        like, stem, depth = net.stem.weight.detach(), net.stem, net.depth
        taps, channels = stem.kernel_size[1], stem.in_channels
        bias = [layer.input.bias + layer.label(labels) for layer in net.layers]  # (B or 1, 4D)
        initial = torch.stack([layer.initial for layer in net.layers]).detach()  # (L, 2, W, D)
        hidden = like.new_ones(depth, batch, columns, width + 1)
        hidden[..., :-1] = initial[:, :1]
        cells = like.new_empty(depth, batch, columns, width)
        self.matrices = matrices_of(net)
        self.readout = self.matrices.readout
        self.above = RowsAbove(taps // 2, taps, 1, (batch, columns, channels), like)
        self.left = ColumnsLeft(taps // 2 + 1, 1, (batch, columns, channels), like)
        self.stem = like.new_zeros(batch, columns, 2 * width)
        self.bias = torch.stack(bias).detach().expand(-1, batch, -1)[:, :, None].clone()
        self.links = like.new_zeros(depth, batch, columns, GATES * width)
        self.inputs = like.new_zeros(depth, batch, net.kernel_size // 2 + columns, 2 * width)
        self.hidden = hidden
        self.cells = cells.copy_(initial[:, 1:])
        self.cells_above = torch.zeros_like(cells)
        self.gates = Gates(like.new_zeros(batch, GATES * width))
        self.last = like.new_zeros(batch, 2 * width)
        self.columns = {}

    def fill_rows(self, x: Tensor, i: int) -> None:
        net = self.net
        pixels = net.embed(x[:, :, :i])
        self.above.fill(pixels[:, :, :-1])  # the last row is taken in when row i begins
        h = net.stem(pixels)
        for k, layer in enumerate(net.layers):
            hidden, cells = layer.sweep(h, self.labels)
            self.hidden[k, ..., :-1] = hidden[:, :, -1].mT
            self.cells[k] = cells
            h = layer.expand(h, hidden)

    def advance(self, x: Tensor, t: int) -> Tensor:
        j = self.enter(x, t)
        (h, pixels, link), *layers = self._column(j)
        torch.addmm(link, pixels, self.matrices.stem_left, out=h)
        gates = self.gates
        for h, seen, link, above, c, hidden, joined, matrix, up, output in layers:
            torch.addmm(link, seen, matrix, out=gates.maps)
            gates.close(above, c, hidden)
            torch.addmm(h, joined, up, out=output)
        return self.last

    def write_pixel(self, symbols: Tensor, column: int) -> None:
        self.left.at(column).copy_(self.net.embed(symbols))

    def begin_row(self, x: Tensor, i: int) -> None:
        """Computes what the rows above, which are final, add to all of row i."""
        net = self.net
        if i:
            self.left.fill(net.embed(x[:, :, i - 1]).mT)
            self.above.push(self.left.row())
        self.stem.copy_(self.above.convolve(*self.matrices.stem_above))
        seen = beside(self.hidden[..., :-1], net.kernel_size).flatten(1, 2)  # (L, B · W, k · D)
        links = self.links.view(*seen.shape[:2], -1)
        torch.bmm(seen, self.matrices.state, out=links)
        self.links += self.bias
        self.cells_above.copy_(self.cells)

    def _column(self, j: int) -> list[tuple[Tensor, ...]]:
        """Returns the views of column j that a step reads and writes, made once for all rows."""
        if j not in self.columns:
            taps, weights = self.net.kernel_size // 2 + 1, self.matrices
            inputs = [*self.inputs[:, :, j + taps - 1], self.last]
            found: list[tuple[Tensor, ...]] = [(inputs[0], self.left.seen(j), self.stem[:, j])]
            for k, (matrix, up) in enumerate(zip(weights.input, weights.up, strict=True)):
                joined = self.hidden[k, :, j]
                found.append(
                    (
                        inputs[k],
                        self.inputs[k, :, j : j + taps].flatten(1),
                        self.links[k, :, j],
                        self.cells_above[k, :, j],
                        self.cells[k, :, j],
                        joined[:, :-1],
                        joined,
                        matrix,
                        up,
                        inputs[k + 1],
                    )
                )
            self.columns[j] = found
        return self.columns[j]


@torch.no_grad()
def matrices_of(net: RowLSTM) -> Matrices:
    """Returns the weights in the form that a step reads."""
    return Matrices(
        stem_above=(net.stem.above(), net.stem.bias),
        stem_left=net.stem.left_matrix(),
        state=torch.stack([layer.state_matrix() for layer in net.layers]),
        input=[layer.input.left_matrix() for layer in net.layers],
        up=[torch.cat((layer.up.left_matrix(), layer.up.bias[None])) for layer in net.layers],
        readout=net.out.by_pixel(),
    )
