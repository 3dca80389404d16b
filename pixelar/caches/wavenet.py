"""How a WaveNet is sampled: each layer keeps as many inputs as its dilation.

References:
    Fast Wavenet Generation Algorithm (Le Paine et al., 2016), https://arxiv.org/abs/1611.09482
"""

from dataclasses import dataclass
from itertools import accumulate
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixelar.caches.affine import Affine
from pixelar.caches.base import Batched, Cache
from pixelar.nets.wavenet import WaveNet, delay

__all__ = ["WaveNetCache"]


@dataclass(frozen=True)
class Matrices:
    """The weights of a sampling pass as matrices from inputs to outputs. A one at the end of their
    inputs, (D + 1), stands for the biases.

    A gate is tanh(a) σ(b) = 2 σ(2a) σ(b) - σ(b): with the factor 2 folded into the matrices that
    compute a, it costs one sigmoid and one fused multiplication. The result is the negated gate,
    whose sign is folded into the matrices that read it.
    """

    symbols: (
        Tensor  # what they add to the first convolution at t - 2, then at t - 1: (2 · S · V, D)
    )
    offsets: Tensor  # where the rows of each tap and symbol begin, (2 · S,)
    convs: list[tuple[Tensor, Tensor]]  # (2D, 2D), the new position before or after the old one
    residuals: list[Tensor]  # (D + 1, D)
    skips: Tensor  # of all layers, (L · (D + 1), skips)
    out: list[Affine]


class Ring(Batched):
    """The newest inputs of a layer, as many as its dilation d.

    Position t shares its slot, t mod d, with position t - d: both taps are one view. One round
    later it is the older of the two, and the new position takes the other side, so nothing ever
    moves.

    Arguments:
        buffer: Zeros with shape (d, B, 2D); with fewer slots where the image has fewer positions.
    """

    batch_axis: ClassVar = {"buffer": 1}

    def __init__(self, buffer: Tensor) -> None:
        self.buffer = buffer
        self.make_views()

    def make_views(self) -> None:
        self.taps = self.buffer.unbind()
        self.sides = [side.unbind() for side in self.buffer.chunk(2, 2)]

    def at(self, t: int) -> tuple[int, Tensor, Tensor]:
        """Returns the side of position t, the view of both taps (B, 2D), and that side (B, D)."""
        turn, slot = divmod(t, len(self.taps))
        side = turn % 2
        return side, self.taps[slot], self.sides[side][slot]

    def fill(self, h: Tensor, stop: int) -> None:
        """Takes in the last positions before `stop`, of a sequence (B, L, D) that ends there."""
        slots = len(self.taps)
        h = h[:, -slots:].transpose(0, 1)
        t = torch.arange(stop - len(h), stop, device=h.device)
        self.buffer.unflatten(2, (2, -1))[t % slots, :, t // slots % 2] = h


class WaveNetCache(Cache[WaveNet]):
    """The rings of all layers, and the constant part of their gates."""

    batch_axis: ClassVar = {"told": 0, "rings": 0}

    matrices: Matrices
    told: list[Tensor]  # the bias and the label of each gate, (B, 2D)
    rings: list[Ring]
    maps: Tensor  # scratch buffer for the maps of a gate, (B, 2D)
    gates: Tensor  # the negated gates of all layers, with ones: (B, L, D + 1)
    views: list[tuple[Tensor, Tensor]]  # of each layer, without and with ones

    def __init__(self, net: WaveNet, x: Tensor, labels: Tensor | None = None) -> None:
        super().__init__(net, x, labels)
        with torch.no_grad():
            told = [
                ((layer.conv.bias + layer.label(labels)) * gate_scale(net)).expand(x.shape[0], -1)
                for layer in net.layers
            ]
        slots = [min(layer.dilation, net.scan.sites) for layer in net.layers]
        rings = [Ring(net.places.new_zeros(d, x.shape[0], 2 * net.width)) for d in slots]
        self.matrices = matrices_of(net)
        self.told = told
        self.rings = rings
        self.make_views()

    def make_views(self) -> None:
        batch, twice = self.told[0].shape
        self.maps = self.told[0].new_empty(batch, twice)
        self.gates = self.maps.new_ones(batch, len(self.rings), twice // 2 + 1)
        self.views = [(gate[:, :-1], gate) for gate in self.gates.unbind(1)]

    @torch.no_grad()
    def step(self, x: Tensor, t: int) -> Tensor:
        weights, maps = self.matrices, self.maps
        a, b = maps.chunk(2, 1)
        at = [ring.at(t) for ring in self.rings]
        at[0][2].copy_(self._first_of(x, t, weights))
        layers = zip(weights.convs, self.told, self.views, strict=True)
        for k, (conv, told, (gate, gate_and_one)) in enumerate(layers):
            side, taps, h = at[k]
            torch.addmm(told, taps, conv[side], out=maps).sigmoid_()
            torch.addcmul(b, a, b, value=-2, out=gate)
            if k < len(weights.residuals):
                torch.addmm(h, gate_and_one, weights.residuals[k], out=at[k + 1][2])
        h = self.gates.flatten(1) @ weights.skips
        for layer in weights.out:
            h = layer(h.relu_())
        return h

    @torch.no_grad()
    def prefill(self, x: Tensor, stop: int) -> None:
        # how many positions before `stop` are needed of each layer's input, for its ring and those
        # of all layers above
        net = self.net
        needed = [*accumulate(layer.dilation for layer in reversed(net.layers))][::-1]
        h = net.first_layer(x)[:, max(0, stop - needed[0]) : stop]
        self.rings[0].fill(h, stop)
        for layer, ring, count in zip(net.layers[:-1], self.rings[1:], needed[1:], strict=True):
            before, h = delay(h, layer.dilation)[:, -count:], h[:, -count:]
            h = layer.add(h, layer.gate(before, h, self.labels))
            ring.fill(h, stop)

    def _first_of(self, x: Tensor, t: int, weights: Matrices) -> Tensor:
        """Returns `first_layer` at position t alone, with shape (B, D) or (D,)."""
        net = self.net
        place = net.places[t if net.position else 0]
        if t == 0:
            return place
        seen = net.scan.index[max(0, t - 2) : t].flatten()
        symbols = x.flatten(1)[:, seen] + weights.offsets[-len(seen) :]
        return F.embedding(symbols, weights.symbols).sum(1) + place


@torch.no_grad()
def matrices_of(net: WaveNet) -> Matrices:
    """Returns the weights in the form that a step reads."""
    newer, older = net.embed.table.weight.chunk(2, 1)
    double, convs = gate_scale(net), []
    for layer in net.layers:
        old, new = (layer.conv.weight.T * double).chunk(2)
        convs.append((torch.cat((new, old)), torch.cat((old, new))))
    return Matrices(
        symbols=torch.cat((older, newer)),
        offsets=torch.cat((net.embed.offset, net.embed.offset + len(older))),
        convs=convs,
        residuals=[
            Affine.of(layer.residual).undoing(-1).joined() for layer in net.layers if layer.residual
        ],
        skips=torch.cat([Affine.of(layer.skip).undoing(-1).joined() for layer in net.layers]),
        out=[Affine.of(layer) for layer in net.out if isinstance(layer, nn.Linear)],
    )


def gate_scale(net: WaveNet) -> Tensor:
    """Returns 2 for the maps of a, 1 for those of b, with shape (2D,)."""
    return net.places.new_tensor([2.0, 1.0]).repeat_interleave(net.width)
