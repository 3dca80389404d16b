"""Gated PixelCNN: two stacks, so that there is no blind spot above.

The vertical stack v reads all rows above; the horizontal stack h reads its own row to the left and
takes in v:

    v ── k×k rows above ──┬── tanh ⊙ σ ──────────────────────────── v'
                          1×1
    h ── 1×k mask B ─────(+)── tanh ⊙ σ ── 1×1 mask B ──(+)──────── h'
     └──────────────────────────────────────────────────┘

The first layer of each stack reads pixels and has neither gate nor residual; v starts from the
image shifted down by one row, h from a type A mask.

References:
    Conditional Image Generation with PixelCNN Decoders (van den Oord et al., 2016),
    https://arxiv.org/abs/1606.05328
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pixelar.common.modules import module_list
from pixelar.errors import ConfigError
from pixelar.layers.embedding import LabelEmbedding, PixelValues
from pixelar.layers.masked import MaskedConv2d, RowsAboveConv2d
from pixelar.layers.readout import Readout, colours_of
from pixelar.layers.shifted import shift_down
from pixelar.nets.base import Net, require_positive, require_scan
from pixelar.scan import Scan

__all__ = ["GatedPixelCNN"]


def gate(maps: Tensor) -> Tensor:
    """Returns tanh(a) ⊙ σ(b) for maps (B, 2D, H, W) = (a, b), with shape (B, D, H, W)."""
    a, b = maps.chunk(2, 1)
    return a.tanh() * b.sigmoid()


class GatedLayer(nn.Module):
    """One layer of both stacks, as in figure 2 of the paper."""

    def __init__(
        self,
        width: int,
        kernel_size: int,
        dilation: int,
        colours: int,
        classes: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.vertical = RowsAboveConv2d(width, 2 * width, kernel_size, dilation=dilation)
        self.link = nn.Conv2d(2 * width, 2 * width, 1)
        self.horizontal = MaskedConv2d(
            width, 2 * width, (1, kernel_size), "B", colours=colours, halves=2, dilation=dilation
        )
        self.out = MaskedConv2d(width, width, (1, 1), "B", colours=colours)
        self.vertical_label = LabelEmbedding(classes, 2 * width)
        self.horizontal_label = LabelEmbedding(classes, 2 * width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, v: Tensor, h: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """Returns the outputs of the vertical and of the horizontal stack, each (B, D, H, W)."""
        v, link = self.look_up(v, labels)
        return v, self.look_left(h, link)

    def look_up(self, v: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """Returns the vertical stack's output (B, D, H, W) and its link to h (B, 2D, H, W)."""
        maps = self.maps_above(v, labels)
        return gate(maps), self.link(maps) + self.horizontal_label(labels)[..., None, None]

    def maps_above(self, v: Tensor, labels: Tensor | None) -> Tensor:
        """Returns the maps of the vertical stack's gate, with shape (B, 2D, H, W)."""
        return self.vertical(v) + self.vertical_label(labels)[..., None, None]

    def look_left(self, h: Tensor, link: Tensor) -> Tensor:
        """Returns the horizontal stack's output, with shape (B, D, R, W)."""
        return h + self.out(self.dropout(gate(self.horizontal(h) + link)))


class GatedPixelCNN(Net):
    """Two stacks of gated convolutions; takes the scans `raster` and `subpixel`.

    Arguments:
        width: D, the channels of both stacks (p in the paper).
        depth: The number of gated layers.
        first_kernel_size: The kernel of the layer that reads pixels.
        kernel_size: The kernel of the gated layers.
        dilations: The distance between taps in each layer, repeated as often as needed.
        readout: The channels of the 1×1 layers before the last.
        dropout: The rate of dropout after the gates of the horizontal stack.
        position: Whether the vertical stack starts with a learnt vector for every pixel's position.
        classes: The number of class labels; 0 for none.

    Example:
        >>> from pixelar.scan import raster
        >>> net = GatedPixelCNN(raster((1, 8, 8)), levels=17, out_features=17, width=8, depth=2)
        >>> net(torch.zeros(5, 1, 8, 8, dtype=torch.long)).shape
        torch.Size([5, 64, 17])
    """

    embed: PixelValues

    def __init__(
        self,
        scan: Scan,
        levels: int,
        out_features: int,
        *,
        width: int = 64,
        depth: int = 7,
        first_kernel_size: int = 7,
        kernel_size: int = 3,
        dilations: Sequence[int] = (1,),
        readout: Sequence[int] = (),
        dropout: float = 0.0,
        position: bool = False,
        classes: int = 0,
    ) -> None:
        super().__init__(scan, levels, out_features, classes)
        require_scan(self, ("raster", "subpixel"))
        require_positive(self, width=width, depth=depth)
        if first_kernel_size < 3:
            raise ConfigError(
                "net GatedPixelCNN: first_kernel_size must be at least 3, to read a row above"
            )
        if not dilations or min(dilations) < 1:
            raise ConfigError(
                "net GatedPixelCNN: dilations must be one or more distances of at least 1; "
                f"got {list(dilations)}"
            )
        self.width, self.depth = width, depth
        self.dropout, self.position = dropout, position
        self.first_kernel_size, self.kernel_size = first_kernel_size, kernel_size
        self.dilations, self.readout = tuple(dilations), tuple(readout)
        self.colours = colours_of(scan)
        channels = scan.shape[0]
        self.embed = PixelValues(levels)
        self.vertical_stem = RowsAboveConv2d(channels, width, first_kernel_size, own_row=False)
        self.horizontal_stem = MaskedConv2d(
            channels, width, (1, first_kernel_size), "A", colours=self.colours
        )
        if position:
            self.places = nn.Parameter(torch.zeros(width, *scan.shape[1:]))
        self.layers: Sequence[GatedLayer] = module_list(
            GatedLayer(
                width, kernel_size, dilations[i % len(dilations)], self.colours, classes, dropout
            )
            for i in range(depth)
        )
        self.out = Readout(scan, width, readout, out_features)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.forward_head(self.forward_features(x, labels))

    def forward_features(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        pixels = self.embed(x)
        v = self.placed(self.vertical_stem(shift_down(pixels)), 0)  # (B, D, H, W)
        h = self.horizontal_stem(pixels)
        for layer in self.layers:
            v, h = self.run(layer, v, h, labels)
        return h

    def forward_head(self, features: Tensor) -> Tensor:
        return self.out(features)  # (B, T, P)

    def reach(self) -> int:
        """Returns the sum for the first layer, in its one row, and the vertical stack's kernels."""
        sides = [self.dilations[k % len(self.dilations)] for k in range(self.depth)]
        return self.first_kernel_size // 2 + sum(sides) * (self.kernel_size // 2)

    def placed(self, v: Tensor, i: int) -> Tensor:
        """Adds the vectors of positions to rows of v (B, D, R, W) that begin with row i."""
        return v + self.places[:, i : i + v.shape[2]] if self.position else v
