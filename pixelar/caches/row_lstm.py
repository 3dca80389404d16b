"""How a Row LSTM is sampled: what the row above adds is computed for a whole row when it begins."""

from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import torch
from torch import Tensor

from pixelar.caches.gates import Gates
from pixelar.caches.residual_stack import PixelConv, ResidualStackCache
from pixelar.layers.convlstm import GATES
from pixelar.nets.row_lstm import RowLSTM, beside

__all__ = ["RowLSTMCache"]


@dataclass(frozen=True)
class Matrices:
    """The weights of the layers; all rows of the batch share them."""

    state: Tensor  # of all layers, (L, k · D, 4D)
    input: list[Tensor]  # the columns up to the centre as matrices
    up: list[Tensor]  # matrices whose last row is the bias


Column: TypeAlias = list[tuple[Tensor, ...]]


class RowLSTMCache(ResidualStackCache[RowLSTM, Column]):
    """The row of the next pixel: inputs and states of all L layers, and what the row above it adds.

    The batch is the second dimension of all of the layers' tensors.
    """

    batch_axis: ClassVar = {
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

    matrices: Matrices
    bias: Tensor  # of the gates, label included: (L, B, 1, 4D)
    links: Tensor  # what the row above adds to the gates, bias included: (L, B, W, 4D)
    inputs: Tensor  # after zeros for the columns left of the image, (L, B, k // 2 + W, 2D)
    hidden: Tensor  # each followed by a one, (L, B, W, D + 1)
    cells: Tensor  # (L, B, W, D)
    cells_above: Tensor  # of the row above
    gates: Gates  # scratch buffer for the gates of a pixel, (B, 4D)
    last: Tensor  # scratch buffer for the last layer's output, (B, 2D)

    def __init__(self, net: RowLSTM, x: Tensor, labels: Tensor | None = None) -> None:
        super().__init__(net, x, labels)
        batch, columns, width = x.shape[0], net.scan.shape[2], net.width
        like, depth = net.stem.weight.detach(), net.depth
        bias = [layer.input.bias + layer.label(labels) for layer in net.layers]  # (B or 1, 4D)
        initial = torch.stack([layer.initial for layer in net.layers]).detach()  # (L, 2, W, D)
        hidden = like.new_ones(depth, batch, columns, width + 1)
        hidden[..., :-1] = initial[:, :1]
        cells = like.new_empty(depth, batch, columns, width)
        self.matrices = matrices_of(net)
        self.stem = PixelConv(net.stem, batch, columns)
        self.bias = torch.stack(bias).detach().expand(-1, batch, -1)[:, :, None].clone()
        self.links = like.new_zeros(depth, batch, columns, GATES * width)
        self.inputs = like.new_zeros(depth, batch, net.kernel_size // 2 + columns, 2 * width)
        self.hidden = hidden
        self.cells = cells.copy_(initial[:, 1:])
        self.cells_above = torch.zeros_like(cells)
        self.gates = Gates(like.new_zeros(batch, GATES * width))
        self.last = like.new_zeros(batch, 2 * width)

    def fill_rows(self, x: Tensor, i: int) -> None:
        net = self.net
        pixels = net.embed(x[:, :, :i])
        self.stem.fill(pixels)
        h = net.stem(pixels)
        for k, layer in enumerate(net.layers):
            hidden, cells = layer.sweep(h, self.labels)
            self.hidden[k, ..., :-1] = hidden[:, :, -1].mT
            self.cells[k] = cells
            h = layer.expand(h, hidden)

    def advance(self, x: Tensor, t: int) -> Tensor:
        (h, link, pixels, matrix), *layers = self.column(self.enter(x, t))
        torch.addmm(link, pixels, matrix, out=h)
        gates = self.gates
        for h, seen, link, above, c, hidden, joined, matrix, up, output in layers:
            torch.addmm(link, seen, matrix, out=gates.maps)
            gates.close(above, c, hidden)
            torch.addmm(h, joined, up, out=output)
        return self.last

    def begin_row(self, x: Tensor, i: int) -> None:
        """Computes what the rows above, which are final, add to all of row i."""
        net = self.net
        if i:
            self.stem.left.fill(net.embed(x[:, :, i - 1]).mT)
        self.stem.begin_row(i)
        seen = beside(self.hidden[..., :-1], net.kernel_size).flatten(1, 2)  # (L, B · W, k · D)
        links = self.links.view(*seen.shape[:2], -1)
        torch.bmm(seen, self.matrices.state, out=links)
        self.links += self.bias
        self.cells_above.copy_(self.cells)

    def make_column(self, j: int) -> Column:
        taps, weights = self.net.kernel_size // 2 + 1, self.matrices
        inputs = [*self.inputs[:, :, j + taps - 1], self.last]
        _, pixels, link = self.stem.views(j)
        column: Column = [(inputs[0], link, pixels, self.stem.matrix)]
        for k, (matrix, up) in enumerate(zip(weights.input, weights.up, strict=True)):
            joined = self.hidden[k, :, j]
            column.append(
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
        return column


@torch.no_grad()
def matrices_of(net: RowLSTM) -> Matrices:
    """Returns the weights of the layers in the form that a step reads."""
    return Matrices(
        state=torch.stack([layer.state_matrix() for layer in net.layers]),
        input=[layer.input.left_matrix() for layer in net.layers],
        up=[torch.cat((layer.up.left_matrix(), layer.up.bias[None])) for layer in net.layers],
    )
