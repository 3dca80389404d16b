"""WaveNet: causal convolutions along the scan, dilated so that few layers see far back.

    sites before ── causal conv ── layer 1 ── layer 2 ── … ── layer L
                                      │          │               │
                                      └── 1×1 ──(+)──── 1×1 ────(+)── ReLU ── 1×1 ── ReLU ── 1×1

    layer:  h ── dilated causal conv ── tanh ⊙ σ ──┬── 1×1 ──(+)── next layer
             │                                     └── 1×1 ── skip
             └────────────────────────────────────────────────┘

A kernel has two taps: a layer of dilation d looks at position t and at t - d. With d = 1, 2, 4, …
what is seen doubles with every layer; then the dilations begin again:

    d = 4            ■───────────■     position t of this layer sees two of the layer below
    d = 2      ■─────■─────■─────■     … each of which sees two in turn
    d = 1   ■──■──■──■──■──■──■──■
                                 t

Position t predicts site t: the first convolution is of one-hot symbols and sees sites t - 1 and
t - 2. Sites before the first are zeros. A class y enters every gate: tanh(W * h + V y). The paper
gives neither widths nor dropout; that the layer between the last two ReLUs is as wide as the skips
follows the authors' later NSynth. The last layer has no residual, which nobody would read.

References:
    WaveNet: A Generative Model for Raw Audio (van den Oord et al., 2016),
    https://arxiv.org/abs/1609.03499
    Neural Audio Synthesis of Musical Notes with WaveNet Autoencoders (Engel et al., 2017),
    https://arxiv.org/abs/1704.01279
    Fast Wavenet Generation Algorithm (Le Paine et al., 2016), https://arxiv.org/abs/1611.09482
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixelar.errors import ConfigError
from pixelar.layers.embedding import LabelEmbedding, TokenEmbedding
from pixelar.nets.base import Net, keep_rows, require_positive
from pixelar.scan import Scan

__all__ = ["WaveNet"]

DILATIONS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


def delay(h: Tensor, by: int) -> Tensor:
    """Returns a sequence (B, L, D) so many positions later, with zeros in their place."""
    by = min(by, h.shape[1])
    return F.pad(h[:, : h.shape[1] - by], (0, 0, by, 0))


class Layer(nn.Module):
    """A residual block, as in figure 4 of the paper. Of two taps, a convolution is a linear layer.

    Arguments:
        width: D, the channels of the input and of the gate.
        skip_width: The channels of the skip.
        dilation: The distance between the taps.
        last: Whether nothing reads the residual.
        classes: The number of class labels; may be 0.
        dropout: The rate of dropout after the gate.
    """

    def __init__(
        self, width: int, skip_width: int, dilation: int, last: bool, classes: int, dropout: float
    ) -> None:
        super().__init__()
        self.dilation = dilation
        self.conv = nn.Linear(2 * width, 2 * width)
        self.label = LabelEmbedding(classes, 2 * width)
        self.residual = None if last else nn.Linear(width, width)
        self.skip = nn.Linear(width, skip_width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, h: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """Returns the next layer's input (B, T, D), and the skip."""
        gated = self.gate(delay(h, self.dilation), h, labels)
        return self.add(h, gated), self.skip(gated)

    def gate(self, before: Tensor, h: Tensor, labels: Tensor | None) -> Tensor:
        """Returns tanh ⊙ σ of the convolution, from the positions (B, L, D) under its taps."""
        a, b = (self.conv(torch.cat((before, h), -1)) + self.label(labels)[:, None]).chunk(2, -1)
        return self.dropout(a.tanh() * b.sigmoid())

    def add(self, h: Tensor, gated: Tensor) -> Tensor:
        """Returns the input with the residual."""
        return h if self.residual is None else h + self.residual(gated)


@dataclass(frozen=True)
class Matrices:
    """The weights of a walk as matrices from inputs to outputs. A one beside their inputs, (D + 1),
    stands for the biases.

    A gate is tanh(a) σ(b) = 2 σ(2a) σ(b) - σ(b): with the factor 2 inside the matrices that make a,
    it costs one sigmoid and one fused multiplication. That gives minus the gate, and the sign is
    inside the matrices that read it.
    """

    symbols: (
        Tensor  # what they add to the first convolution at t - 2, then at t - 1: (2 · S · V, D)
    )
    offsets: Tensor  # where those of each begin, (2 · S,)
    convs: list[tuple[Tensor, Tensor]]  # (2D, 2D), the new position before or behind the old one
    residuals: list[Tensor]  # (D + 1, D)
    skips: Tensor  # of all layers, (L · (D + 1), skips)
    out: list[tuple[Tensor, Tensor]]  # matrix, bias


class Ring:
    """The newest inputs of a layer, as many as its dilation d.

    Position t has its slot, t mod d, beside position t - d: both taps are one view. A round later
    it is the older of the two, and the new one takes the other side, so nothing ever moves.

    Arguments:
        buffer: Zeros with shape (d, B, 2D); with fewer slots where the image has fewer positions.
    """

    def __init__(self, buffer: Tensor) -> None:
        self.buffer = buffer
        self.taps = buffer.unbind()
        self.sides = [side.unbind() for side in buffer.chunk(2, 2)]

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

    def select(self, rows: Tensor) -> "Ring":
        """Returns the ring of some rows of the batch."""
        return Ring(self.buffer.index_select(1, rows))


@dataclass
class WaveNetCache:
    """The rings of all layers, and what their gates always add."""

    labels: Tensor | None
    matrices: Matrices
    told: list[Tensor]  # by the bias and the label of each gate, (B, 2D)
    rings: list[Ring]
    maps: Tensor = field(init=False)  # room for those of a gate, (B, 2D)
    gates: Tensor = field(init=False)  # minus the gates of all layers, with ones: (B, L, D + 1)
    views: list[tuple[Tensor, Tensor]] = field(init=False)  # of each layer, without and with ones

    def __post_init__(self) -> None:
        batch, twice = self.told[0].shape
        self.maps = self.told[0].new_empty(batch, twice)
        self.gates = self.maps.new_ones(batch, len(self.rings), twice // 2 + 1)
        self.views = [(gate[:, :-1], gate) for gate in self.gates.unbind(1)]


class WaveNet(Net):
    """Gated layers of dilated causal convolutions along any scan.

    With dilations d₁, d₂, … a site sees at most the 2 + Σ dₖ sites before it.

    Arguments:
        width: D, the channels of the layers and of their gates.
        skip_width: The channels of the skips and of the layer between the last two ReLUs.
        depth: The number of layers, L.
        dilations: The distance between the taps of each layer, repeated as often as needed.
        dropout: The rate of dropout after the gates.
        position: Whether the first convolution adds a learned vector for every position.
        classes: The number of class labels; 0 for none.

    Example:
        >>> from pixelar.scan import raster
        >>> net = WaveNet(raster((1, 8, 8)), 17, 17, width=16, depth=12, dilations=[1, 2, 4, 8])
        >>> net(torch.zeros(5, 1, 8, 8, dtype=torch.long)).shape
        torch.Size([5, 64, 17])
    """

    embed: TokenEmbedding

    def __init__(
        self,
        scan: Scan,
        levels: int,
        out_features: int,
        *,
        width: int = 64,
        skip_width: int = 256,
        depth: int = 30,
        dilations: Sequence[int] = DILATIONS,
        dropout: float = 0.0,
        position: bool = False,
        classes: int = 0,
    ) -> None:
        super().__init__(scan, levels, out_features, classes)
        require_positive(self, width=width, skip_width=skip_width, depth=depth)
        if not dilations or min(dilations) < 1:
            raise ConfigError(
                "net WaveNet: dilations must be one or more distances of at least 1; "
                f"got {list(dilations)}"
            )
        self.width, self.skip_width, self.depth = width, skip_width, depth
        self.dilations, self.dropout, self.position = tuple(dilations), dropout, position
        self.embed = TokenEmbedding(scan, levels, 2 * width)  # both taps of the first convolution
        self.places = nn.Parameter(torch.zeros(scan.sites if position else 1, width))  # or a bias
        self.layers: Sequence[Layer] = nn.ModuleList(  # type: ignore[assignment]
            Layer(
                width,
                skip_width,
                dilations[k % len(dilations)],
                k == depth - 1,
                classes,
                dropout,
            )
            for k in range(depth)
        )
        self.out = nn.Sequential(
            nn.ReLU(),
            nn.Linear(skip_width, skip_width),
            nn.ReLU(),
            nn.Linear(skip_width, out_features),
        )

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.read(self.features(x, labels))

    def features(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        h = self._first(x)  # (B, T, D)
        skips = h.new_zeros(())
        for layer in self.layers:
            h, skip = self.run(layer, h, labels)
            skips = skips + skip
        return skips

    def read(self, features: Tensor) -> Tensor:
        return self.out(features)  # (B, T, P)

    def init_cache(self, x: Tensor, labels: Tensor | None = None) -> WaveNetCache:
        with torch.no_grad():
            told = [
                ((layer.conv.bias + layer.label(labels)) * self._double()).expand(x.shape[0], -1)
                for layer in self.layers
            ]
        slots = [min(layer.dilation, self.scan.sites) for layer in self.layers]
        rings = [Ring(self.places.new_zeros(d, x.shape[0], 2 * self.width)) for d in slots]
        return WaveNetCache(labels, self._matrices(), told, rings)

    @torch.no_grad()
    def step(self, x: Tensor, t: int, cache: WaveNetCache) -> Tensor:
        weights, maps = cache.matrices, cache.maps
        a, b = maps.chunk(2, 1)
        at = [ring.at(t) for ring in cache.rings]
        at[0][2].copy_(self._first_of(x, t, weights))
        layers = zip(weights.convs, cache.told, cache.views, strict=True)
        for k, (conv, told, (gate, gate_and_one)) in enumerate(layers):
            side, taps, h = at[k]
            torch.addmm(told, taps, conv[side], out=maps).sigmoid_()
            torch.addcmul(b, a, b, value=-2, out=gate)
            if k < len(weights.residuals):
                torch.addmm(h, gate_and_one, weights.residuals[k], out=at[k + 1][2])
        h = cache.gates.flatten(1) @ weights.skips
        for matrix, bias in weights.out:
            h = torch.addmm(bias, h.relu_(), matrix)
        return h

    @torch.no_grad()
    def prefill(self, x: Tensor, stop: int, cache: WaveNetCache) -> None:
        # so many positions before `stop` are needed of each layer's input, for its ring and those
        # of all layers above
        needed = [*accumulate(layer.dilation for layer in reversed(self.layers))][::-1]
        h = self._first(x)[:, max(0, stop - needed[0]) : stop]
        cache.rings[0].fill(h, stop)
        for layer, ring, count in zip(self.layers[:-1], cache.rings[1:], needed[1:], strict=True):
            before, h = delay(h, layer.dilation)[:, -count:], h[:, -count:]
            h = layer.add(h, layer.gate(before, h, cache.labels))
            ring.fill(h, stop)

    def select(self, cache: WaveNetCache, rows: Tensor) -> WaveNetCache:
        for k, ring in enumerate(cache.rings):  # one after another, to free what is left behind
            cache.rings[k] = ring.select(rows)
        labels = None if cache.labels is None else cache.labels[rows]
        return replace(cache, labels=labels, told=keep_rows(cache.told, rows))

    @torch.no_grad()
    def _matrices(self) -> Matrices:
        newer, older = self.embed.table.weight.chunk(2, 1)
        double, convs = self._double(), []
        for layer in self.layers:
            old, new = (layer.conv.weight.T * double).chunk(2)
            convs.append((torch.cat((new, old)), torch.cat((old, new))))
        return Matrices(
            symbols=torch.cat((older, newer)),
            offsets=torch.cat((self.embed.offset, self.embed.offset + len(older))),
            convs=convs,
            residuals=[_reads_gate(layer.residual) for layer in self.layers if layer.residual],
            skips=torch.cat([_reads_gate(layer.skip) for layer in self.layers]),
            out=[
                (layer.weight.T.contiguous(), layer.bias)
                for layer in self.out
                if isinstance(layer, nn.Linear)
            ],
        )

    def _double(self) -> Tensor:
        """Returns 2 for the maps of a, 1 for those of b, with shape (2D,)."""
        return self.places.new_tensor([2.0, 1.0]).repeat_interleave(self.width)

    def _first(self, x: Tensor) -> Tensor:
        """Returns the first convolution of images, with shape (B, T, D)."""
        newer, older = self.embed(x).chunk(2, -1)
        return delay(newer, 1) + delay(older, 2) + self.places

    def _first_of(self, x: Tensor, t: int, weights: Matrices) -> Tensor:
        """Returns the same for position t alone, with shape (B, D) or (D,)."""
        place = self.places[t if self.position else 0]
        if t == 0:
            return place
        seen = self.scan.index[max(0, t - 2) : t].flatten()
        symbols = x.flatten(1)[:, seen] + weights.offsets[-len(seen) :]
        return F.embedding(symbols, weights.symbols).sum(1) + place


def _reads_gate(linear: nn.Linear) -> Tensor:
    """Returns the matrix of a layer for minus its input, and a one for the bias: (D + 1, out)."""
    return torch.cat((-linear.weight.T, linear.bias[None]))
