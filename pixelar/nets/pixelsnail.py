"""PixelSNAIL: causal convolutions for what is near, attention for all that came before.

One stream ul, which depends on what is above and to the left, at full resolution:

    x ── shifted down, right ── ul ── block × depth ── ELU ── 1×1 ── parameters

    block:  ul ── gated 2×2 × layers ──┬──────────────────────────── gated 1×1 ── ul'
                                       ├── [x, ul, place] ─ k, v ┐      │
                                       └── [ul, place] ──── q ── attention

    gated:  h ── ELU ── conv ──(+)── ELU ── conv ── a ⊙ σ(b) ──(+)── h'
             │                 1×1 of attention's output        │
             └──────────────────────────────────────────────────┘

The 2×2 convolutions are shifted, down and to the right, so that ul never contains the pixel at its
own position. Keys and values do contain it, and so attention is strict: position t attends to the
positions before t, and the first one to nothing, with the result zero. Keys, values and queries go
through gated 1×1 blocks of their own; `place` is the row and the column, from -½ to ½.

Activations are ELU, as in the command that the authors give for CIFAR-10, and not the concatenated
ELU of PixelCNN++, with which the net would have 91 M parameters instead of 46 M. Their program has
two things that are left out here: it repeats each coordinate for every colour, and normalizes
weights. Without weight norm, the second convolution of a gated block begins at a tenth of the usual
size, which is the scale that they set.

References:
    PixelSNAIL: An Improved Autoregressive Generative Model (Chen et al., 2018),
    https://arxiv.org/abs/1712.09763
"""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixelar.common.modules import module_list
from pixelar.errors import ConfigError
from pixelar.layers.activations import elu
from pixelar.layers.embedding import LabelEmbedding, PixelValues
from pixelar.layers.shifted import (
    DownRightShiftedConv2d,
    DownShiftedConv2d,
    shift_down,
    shift_right,
)
from pixelar.nets.base import Net, require_positive, require_scan
from pixelar.scan import Scan

__all__ = ["PixelSNAIL"]


class Stem(nn.Module):
    """Reads what is above and to the left of a pixel; extra ones distinguish image and padding."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.above = DownShiftedConv2d(channels + 1, width, (1, 3))
        self.left = DownRightShiftedConv2d(channels + 1, width, (2, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """Returns maps (B, D, H, W) from values (B, C, H, W)."""
        marked = F.pad(pixels, (0, 0, 0, 0, 0, 1), value=1.0)
        return shift_down(self.above(marked)) + shift_right(self.left(marked))


class GatedBlock(nn.Module):
    """The gated residual block of PixelCNN++, with convolutions of choice.

    Arguments:
        width: The channels of input and output.
        conv: Makes a convolution from its channels in and out.
        dropout: The rate of dropout between the two convolutions.
        classes: The number of class labels.
        extra: The channels of a second input, which is added after the first convolution.
    """

    def __init__(
        self,
        width: int,
        conv: Callable[[int, int], nn.Conv2d],
        dropout: float,
        classes: int,
        extra: int = 0,
    ) -> None:
        super().__init__()
        self.into = conv(width, width)
        self.extra = pointwise(extra, width) if extra else None
        self.gates = conv(width, 2 * width)
        self.label = LabelEmbedding(classes, 2 * width)
        self.dropout = nn.Dropout(dropout)
        with torch.no_grad():
            for parameter in self.gates.parameters():
                parameter.mul_(0.1)

    def forward(self, h: Tensor, labels: Tensor | None, extra: Tensor | None = None) -> Tensor:
        return self.finish(h, self.inner(h, extra), labels)

    def inner(self, h: Tensor, extra: Tensor | None = None) -> Tensor:
        """Returns what the second convolution reads, with the shape of h."""
        inner = self.into(elu(h))
        if self.extra is not None and extra is not None:
            inner = inner + self.extra(elu(extra))
        return self.dropout(elu(inner))

    def finish(self, h: Tensor, inner: Tensor, labels: Tensor | None) -> Tensor:
        """Returns the block's output, with the shape of h."""
        a, b = (self.gates(inner) + self.label(labels)[..., None, None]).chunk(2, 1)
        return h + a * b.sigmoid()


def pointwise(in_channels: int, out_channels: int) -> nn.Conv2d:
    """Returns a 1×1 convolution."""
    return nn.Conv2d(in_channels, out_channels, 1)


def attend_before(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Returns the attention of each position to the values (B, T, F) of the positions before it;
    zero for the first.

    Keys are padded to the length of values with zeros: attention then keeps none of its T² weights.
    """
    longest = max(q.shape[-1], v.shape[-1])
    q, k, long = (
        F.pad(each, (0, longest - each.shape[-1])).contiguous()[:, None]
        for each in (q[:, 1:] / math.sqrt(q.shape[-1]), k[:, :-1], v[:, :-1])
    )
    seen = F.scaled_dot_product_attention(q, k, long, is_causal=True, scale=1.0)[:, 0]
    return F.pad(seen[..., : v.shape[-1]], (0, 0, 1, 0))  # (B, T, F)


class Block(nn.Module):
    """Gated 2×2 convolutions, then attention to all positions before."""

    def __init__(
        self,
        channels: int,
        width: int,
        layers: int,
        key_width: int,
        dropout: float,
        classes: int,
    ) -> None:
        super().__init__()
        self.channels, self.split = channels, (key_width, width // 2)
        self.layers: Sequence[GatedBlock] = module_list(
            GatedBlock(width, DownRightShiftedConv2d, dropout, classes) for _ in range(layers)
        )
        self.memory = GatedBlock(channels + width + 2, pointwise, dropout, classes)
        self.key_value = pointwise(channels + width + 2, sum(self.split))
        self.question = GatedBlock(width + 2, pointwise, dropout, classes)
        self.query = pointwise(width + 2, key_width)
        self.mix = GatedBlock(width, pointwise, dropout, classes, extra=width // 2)

    def forward(self, ul: Tensor, pixels: Tensor, places: Tensor, labels: Tensor | None) -> Tensor:
        """Returns the stream ul (B, D, H, W) after this block.

        Arguments:
            ul: The stream before, with shape (B, D, H, W).
            pixels: Values with shape (B, C, H, W).
            places: Coordinates with shape (B, 2, H, W).
            labels: Classes with shape (B,).
        """
        for layer in self.layers:
            ul = layer(ul, labels)
        return self.attend(ul, torch.cat((pixels, ul, places), 1), labels)

    def attend(self, ul: Tensor, content: Tensor, labels: Tensor | None) -> Tensor:
        """Returns ul combined with attention to [x, ul, place] at the positions before."""
        k, v = self.keys_values(content, labels)
        q = self.query(self.question(content[:, self.channels :], labels)).flatten(2).mT
        seen = attend_before(q, k, v)  # (B, T, D / 2)
        return self.mix(ul, labels, seen.mT.unflatten(2, ul.shape[2:]))

    def keys_values(self, content: Tensor, labels: Tensor | None) -> Sequence[Tensor]:
        """Returns keys (B, T, key_width) and values (B, T, D / 2)."""
        return self.key_value(self.memory(content, labels)).flatten(2).mT.split(self.split, -1)


class PixelSNAIL(Net):
    """Shifted convolutions and causal attention; takes the scan `raster`.

    A label shifts the gates of every block.

    Arguments:
        width: D, the channels of the stream; even.
        depth: The number of blocks.
        layers: The gated 2×2 convolutional blocks in each block, before its attention.
        key_width: The length of keys and queries; values have half the width.
        dropout: The rate of dropout inside the gated blocks.
        classes: The number of class labels; 0 for none.

    Example:
        >>> from pixelar.scan import raster
        >>> net = PixelSNAIL(raster((3, 8, 8)), 256, 100, width=16, depth=2, layers=2)
        >>> net(torch.zeros(5, 3, 8, 8, dtype=torch.long)).shape
        torch.Size([5, 64, 100])
    """

    embed: PixelValues

    def __init__(
        self,
        scan: Scan,
        levels: int,
        out_features: int,
        *,
        width: int = 256,
        depth: int = 12,
        layers: int = 4,
        key_width: int = 16,
        dropout: float = 0.0,
        classes: int = 0,
    ) -> None:
        super().__init__(scan, levels, out_features, classes)
        require_scan(self, ("raster",))
        require_positive(self, width=width, depth=depth, layers=layers, key_width=key_width)
        if width % 2:
            raise ConfigError(
                f"net PixelSNAIL: width must be even, for values of half the width; got {width}"
            )
        self.width, self.depth, self.layers = width, depth, layers
        self.key_width, self.dropout = key_width, dropout
        channels, height, columns = scan.shape
        self.embed = PixelValues(levels)
        self.stem = Stem(channels, width)
        self.blocks: Sequence[Block] = module_list(
            Block(channels, width, layers, key_width, dropout, classes) for _ in range(depth)
        )
        self.out = pointwise(width, out_features)
        rows, along = (torch.arange(size) / size - 0.5 for size in (height, columns))
        places = torch.stack(torch.meshgrid(rows, along, indexing="ij"))
        self.register_buffer("places", places[None], persistent=False)
        self.places: Tensor  # (1, 2, H, W)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.forward_head(self.forward_features(x, labels))

    def forward_features(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        pixels = self.embed(x)  # (B, C, H, W)
        places = self.places.expand(x.shape[0], -1, -1, -1)
        ul = self.stem(pixels)  # (B, D, H, W)
        for block in self.blocks:
            ul = self.run(block, ul, pixels, places, labels)
        return ul

    def forward_head(self, features: Tensor) -> Tensor:
        return self.out(elu(features)).flatten(2).mT  # (B, T, P)
