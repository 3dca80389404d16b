"""WaveNet: causal convolutions along the scan, dilated so that few layers reach far back.

    sites before ── causal conv ── layer 1 ── layer 2 ── … ── layer L
                                      │          │               │
                                      └── 1×1 ──(+)──── 1×1 ────(+)── ReLU ── 1×1 ── ReLU ── 1×1

    layer:  h ── dilated causal conv ── tanh ⊙ σ ──┬── 1×1 ──(+)── next layer
             │                                     └── 1×1 ── skip
             └────────────────────────────────────────────────┘

A kernel has two taps: a layer of dilation d reads positions t and t - d. With d = 1, 2, 4, … the
receptive field doubles with every layer; then the dilations begin again:

    d = 4            ■───────────■     position t of this layer reads two of the layer below
    d = 2      ■─────■─────■─────■     … each of which reads two in turn
    d = 1   ■──■──■──■──■──■──■──■
                                 t

Position t predicts site t: the first convolution is of one-hot symbols and reads sites t - 2 and
t - 1. Sites before the first are zeros. A class y enters every gate: tanh(W * h + V y). The paper
gives neither widths nor dropout; that the layer between the last two ReLUs is as wide as the skips
follows the authors' later NSynth. The last layer has no residual, which nothing would read.

References:
    WaveNet: A Generative Model for Raw Audio (van den Oord et al., 2016),
    https://arxiv.org/abs/1609.03499
    Neural Audio Synthesis of Musical Notes with WaveNet Autoencoders (Engel et al., 2017),
    https://arxiv.org/abs/1704.01279
    Fast Wavenet Generation Algorithm (Le Paine et al., 2016), https://arxiv.org/abs/1611.09482
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixelar.common.modules import module_list
from pixelar.errors import ConfigError
from pixelar.layers.embedding import LabelEmbedding, TokenEmbedding
from pixelar.nets.base import Net, require_positive
from pixelar.scan import Scan

__all__ = ["WaveNet"]

DILATIONS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


def delay(h: Tensor, by: int) -> Tensor:
    """Returns a sequence (B, L, D) delayed by `by` positions, with zeros at the start."""
    by = min(by, h.shape[1])
    return F.pad(h[:, : h.shape[1] - by], (0, 0, by, 0))


class Layer(nn.Module):
    """A residual block, as in figure 4 of the paper. A convolution of two taps is a linear layer.

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


class WaveNet(Net):
    """Gated layers of dilated causal convolutions along any scan.

    With dilations d₁, d₂, … a site depends on at most the 2 + Σ dₖ sites before it.

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
        self.layers: Sequence[Layer] = module_list(
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
        return self.forward_head(self.forward_features(x, labels))

    def forward_features(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        h = self.first_layer(x)  # (B, T, D)
        skips = h.new_zeros(())
        for layer in self.layers:
            h, skip = self.run(layer, h, labels)
            skips = skips + skip
        return skips

    def forward_head(self, features: Tensor) -> Tensor:
        return self.out(features)  # (B, T, P)

    def first_layer(self, x: Tensor) -> Tensor:
        """Returns the first convolution of images, with shape (B, T, D)."""
        newer, older = self.embed(x).chunk(2, -1)
        return delay(newer, 1) + delay(older, 2) + self.places
