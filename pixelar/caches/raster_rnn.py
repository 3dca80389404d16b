"""How a recurrent net along the scan is sampled: one state for each layer."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from pixelar.caches.affine import Affine
from pixelar.caches.base import Cache
from pixelar.nets.raster_rnn import CELLS, GRU, LSTM, RasterRNN, Tensors

__all__ = ["RasterRNNCache"]


@dataclass(frozen=True)
class Matrices:
    """The weights of a sampling pass as matrices from inputs to outputs.

    The first layer's W is folded into its inputs: what a symbol and a position add to its gates is
    looked up in tables. In the layers above, W and U are one matrix.
    """

    first: Tensor  # W of the first layer, for the start vector: (D, 4D)
    symbols: Tensor  # (S · V, 4D)
    positions: Tensor  # with the first layer's bias, (T, 4D)
    cells: list[Tensor]  # the first layer's U (D, 4D), then W and U (2D, 4D)
    biases: list[Tensor]  # of the layers above the first, (4D,)
    out: Affine


class RasterRNNCache(Cache[RasterRNN]):
    """The states of all layers, side by side: in one view, a layer reads the new state of the layer
    below and its own old state.
    """

    batch_axis: ClassVar = {"start": 0, "states": 0}

    start: Tensor  # the first position's vector, (B, D)
    matrices: Matrices
    cells: type[LSTM] | type[GRU]
    states: list[Tensor]  # h, and c where there is one: (B, L · D)
    gates: Tensor  # scratch buffer for the gates of a layer, (B, 4D)
    split: Tensors  # views of them
    layers: list[tuple[Tensor, list[Tensor]]]  # of each, what it reads, and its states

    def __init__(self, net: RasterRNN, x: Tensor, labels: Tensor | None = None) -> None:
        super().__init__(net, x, labels)
        cells = CELLS[net.cell]
        states = [
            net.start.new_zeros(x.shape[0], net.depth * net.width) for _ in range(cells.states)
        ]
        self.start = net.start_vector(x, labels)
        self.matrices = matrices_of(net)
        self.cells = cells
        self.states = states
        self.make_views()

    def make_views(self) -> None:
        batch, width = self.start.shape
        self.gates = self.start.new_empty(batch, 4 * width)
        self.split = self.cells.split(self.gates)
        h, self.layers = self.states[0], []
        for first in range(0, h.shape[1], width):
            own = slice(first, first + width)
            read = h[:, max(0, first - width) : first + width]
            self.layers.append((read, [kept[:, own] for kept in self.states]))

    @torch.no_grad()
    def step(self, x: Tensor, t: int) -> Tensor:
        net = self.net
        weights, gates, update = self.matrices, self.gates, self.cells.update
        added = weights.positions[t]
        if t == 0:
            added = torch.addmm(added, self.start, weights.first)
        else:
            symbols = x.flatten(1)[:, net.scan.index[t - 1]] + net.embed.offset
            added = F.embedding(symbols, weights.symbols).sum(1) + added  # (B, 4D)
        biases = (added, *weights.biases)
        for bias, matrix, (read, states) in zip(biases, weights.cells, self.layers, strict=True):
            torch.addmm(bias, read, matrix, out=gates)
            update(self.split, *states)
        return weights.out(states[0])

    @torch.no_grad()
    def prefill(self, x: Tensor, stop: int) -> None:
        net = self.net
        if stop == 0:
            return
        h = net.inputs(net.embed(x)[:, : stop - 1], self.start)  # (B, stop, D)
        for layer, (_, states) in zip(net.layers, self.layers, strict=True):
            h, last = layer.cells(h)
            for kept, state in zip(states, last if len(states) > 1 else (last,), strict=True):
                kept.copy_(state[0])


@torch.no_grad()
def matrices_of(net: RasterRNN) -> Matrices:
    """Returns the weights in the form that a step reads."""
    (first, again, bias), *above = [layer.cells.matrices() for layer in net.layers]
    positions = bias.expand(net.scan.sites, -1)
    return Matrices(
        first=first.contiguous(),
        symbols=net.embed.table.weight @ first,
        positions=positions + net.places @ first if net.position else positions,
        cells=[again.contiguous(), *(torch.cat((w, u)) for w, u, _ in above)],
        biases=[bias for _, _, bias in above],
        out=Affine.of(net.out),
    )
