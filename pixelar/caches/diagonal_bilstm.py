"""How a Diagonal BiLSTM is sampled: from the right a row at a time, from the left by pixel."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pixelar.caches.gates import Gates
from pixelar.caches.residual_stack import PixelConv, ResidualStackCache
from pixelar.layers.convlstm import GATES, cell
from pixelar.layers.shifted import shift_down
from pixelar.nets.diagonal_bilstm import DiagonalBiLSTM

__all__ = ["DiagonalBiLSTMCache"]


@dataclass(frozen=True)
class Matrices:
    """The weights of the L layers; all rows of the batch share them."""

    from_left: list[Tensor]  # input-to-state of each layer, (2D, 4D)
    from_right: Tensor  # (L, 2D, 4D)
    above: tuple[Tensor, Tensor]  # state-to-state, of both directions: (L, D, 4D)
    beside: tuple[Tensor, Tensor]
    up: list[Tensor]  # for the states from both directions and a one: (2D + 1, 2D)


@dataclass(frozen=True)
class Column:
    """Views of a column that a step reads and writes."""

    pixels: Tensor  # that the first convolution reads, (B, ·)
    stem: Tensor  # what the rows above add to it, (B, 2D)
    link: Tensor  # (L, B, 4D)
    beside: Tensor  # the hidden states of the previous column, from the left: (L, B, D)
    layers: list[tuple[Tensor, Gates, Tensor, Tensor, Tensor, Tensor, Tensor]]
    output: list[Tensor]


class DiagonalBiLSTMCache(ResidualStackCache[DiagonalBiLSTM, Column]):
    """The row of the next pixel, and the column beside the image: inputs and states of all layers.

    The state of column j is at index j + 1 of a row; index 0 holds zeros.
    """

    batch_axis: ClassVar = {
        "stem": 0,
        "bias": 2,
        "links": 2,
        "inputs": 2,
        "hidden": 2,
        "cells": 2,
        "gates": 1,
        "last": 0,
    }

    matrices: Matrices
    bias: tuple[Tensor, Tensor]  # of the gates of both directions, label included: (L, 1, B, 4D)
    links: Tensor  # what the row above adds to the gates from the left, bias included
    inputs: Tensor  # (L, W, B, 2D)
    hidden: Tensor  # from the left, of the row above from the right, a one: (L, 1 + W, B, 2D + 1)
    cells: Tensor  # from the left, (L, 1 + W, B, D)
    gates: Tensor  # scratch buffer for the gates of a column, (L, B, 4D)
    last: Tensor  # scratch buffer for the last layer's output, (B, 2D)
    finished: int  # the number of rows whose columns are all computed

    def __init__(self, net: DiagonalBiLSTM, x: Tensor, labels: Tensor | None = None) -> None:
        super().__init__(net, x, labels)
        batch, columns, width = x.shape[0], net.scan.shape[2] + 1, net.width
        like, depth = net.stem.weight.detach(), net.depth
        bias = torch.stack([layer.input.bias + layer.label(labels) for layer in net.layers])
        left, right = bias.detach().expand(-1, batch, -1)[:, None].chunk(2, -1)
        hidden = like.new_zeros(depth, 1 + columns, batch, 2 * width + 1)
        hidden[..., -1] = 1
        self.matrices = matrices_of(net)
        self.stem = PixelConv(net.stem, batch, columns)
        self.bias = (left.clone(), right.clone())
        self.links = like.new_zeros(depth, columns, batch, GATES * width)
        self.inputs = like.new_zeros(depth, columns, batch, 2 * width)
        self.hidden = hidden
        self.cells = like.new_zeros(depth, 1 + columns, batch, width)
        self.gates = like.new_zeros(depth, batch, GATES * width)
        self.last = like.new_zeros(batch, 2 * width)
        self.finished = 0

    def fill_rows(self, x: Tensor, i: int) -> None:
        net = self.net
        self.finished, width = i, net.width
        pixels = net.pixels(x[:, :, :i])
        self.stem.fill(pixels)
        h = net.stem(pixels)
        for k, layer in enumerate(net.layers):
            left, right = layer.sweep(h, self.labels)
            self.inputs[k] = h[:, :, -1].permute(2, 0, 1)
            self.hidden[k, 1:, :, :width] = left[:, :, -1].permute(2, 0, 1)
            self.hidden[k, 1:, :, width:-1] = shift_down(right)[:, :, -1].permute(2, 0, 1)
            h = layer.expand(h, left, right)

    def advance(self, x: Tensor, t: int) -> Tensor:
        j = self.enter(x, t)
        self._pass_from_left(j)
        return self.last

    def begin_row(self, x: Tensor, i: int) -> None:
        """Computes what the rows above, which are final, add to all of row i."""
        net = self.net
        weights = self.matrices
        if i:
            self.stem.left.fill(net.pixels(x[:, :, i - 1 : i])[:, :, 0].mT)
            if self.finished < i:
                self._pass_from_left(x.shape[3])
            self._pass_from_right()
        self.finished = i
        self.stem.begin_row(i)
        states = self.hidden[:, 1:, :, : net.width].flatten(1, 2)
        torch.bmm(states, weights.above[0], out=self.links.flatten(1, 2))
        self.links += self.bias[0]

    def make_column(self, j: int) -> Column:
        weights, width = self.matrices, self.net.width
        _, pixels, stem = self.stem.views(j)
        return Column(
            pixels=pixels,
            stem=stem,
            link=self.links[:, j],
            beside=self.hidden[:, j, :, :width],
            layers=[
                (
                    weights.from_left[k],
                    Gates(self.gates[k]),
                    self.cells[k, j],
                    self.cells[k, j + 1],
                    self.hidden[k, j + 1, :, :width],
                    self.hidden[k, j + 1],
                    weights.up[k],
                )
                for k in range(self.net.depth)
            ],
            output=[*self.inputs[:, j], self.last],
        )

    def _pass_from_left(self, j: int) -> None:
        """Runs all layers for column j of the row."""
        column, matrix = self.column(j), self.stem.matrix
        torch.baddbmm(column.link, column.beside, self.matrices.beside[0], out=self.gates)
        h = torch.addmm(column.stem, column.pixels, matrix, out=column.output[0])
        for (matrix, gates, c, new_c, hidden, joined, up), output in zip(
            column.layers, column.output[1:], strict=True
        ):
            gates.maps.addmm_(h, matrix)
            gates.close(c, new_c, hidden)
            h = torch.addmm(h, joined, up, out=output)

    def _pass_from_right(self) -> None:
        """Replaces the states from the right by those of the next row, in all layers at once."""
        weights, width = self.matrices, self.net.width
        states = self.hidden[..., width:-1]  # (L, 1 + W, B, D)
        maps = torch.baddbmm(
            torch.bmm(self.inputs.flatten(1, 2), weights.from_right),
            states[:, 1:].flatten(1, 2),
            weights.above[1],
        )
        maps = maps.view_as(self.links).add_(self.bias[1])
        h = c = torch.zeros_like(states[:, 0])
        for j in reversed(range(maps.shape[1])):
            h, c = cell(torch.baddbmm(maps[:, j], h, weights.beside[1]), c)
            states[:, 1 + j] = h


@torch.no_grad()
def matrices_of(net: DiagonalBiLSTM) -> Matrices:
    """Returns the weights of the layers in the form that a step reads."""
    from_left, from_right = zip(
        *(layer.input.left_matrix().chunk(2, 1) for layer in net.layers), strict=True
    )
    state = torch.stack([layer.state for layer in net.layers], 1)  # (2, L, 2D, 4D)
    (above, above_right), (beside, beside_right) = state.chunk(2, 2)
    ups = [(layer.up.left_matrix(), layer.up.bias[None]) for layer in net.layers]
    return Matrices(
        from_left=[matrix.contiguous() for matrix in from_left],
        from_right=torch.stack(from_right),
        above=(above.contiguous(), above_right.contiguous()),
        beside=(beside.contiguous(), beside_right.contiguous()),
        up=[torch.cat((matrix, matrix, bias)) for matrix, bias in ups],
    )
