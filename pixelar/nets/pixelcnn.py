"""PixelCNN: a deep stack of masked convolutions.

    x ── 7×7 mask A ── block × depth ── (ReLU ── 1×1) × … ── parameters

    block:  h ── ReLU ── 1×1 ── ReLU ── 3×3 mask B ── ReLU ── 1×1 ──(+)
             └───────────────────────────────────────────────────────┘

A 3×3 mask B reaches one column to the right for each row up, so pixels that lie higher but further
right than that are never seen: the architecture's known blind spot, which is kept.

References:
    Pixel Recurrent Neural Networks (van den Oord et al., 2016), https://arxiv.org/abs/1601.06759
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch.nn.functional as F
from torch import Tensor, nn

from pixelar.layers.embedding import LabelEmbedding, PixelValues
from pixelar.layers.masked import MaskedConv2d
from pixelar.layers.readout import Readout, colours_of, read_pixel
from pixelar.nets.base import Net, keep_rows, require_positive, require_scan
from pixelar.scan import Scan

__all__ = ["PixelCNN"]


class Block(nn.Module):
    """The residual bottleneck: 2D → D → D → 2D maps."""

    def __init__(
        self, width: int, kernel_size: int, colours: int, classes: int, dropout: float
    ) -> None:
        super().__init__()
        self.down = MaskedConv2d(2 * width, width, (1, 1), "B", colours=colours)
        self.conv = MaskedConv2d(width, width, (kernel_size, kernel_size), "B", colours=colours)
        self.up = MaskedConv2d(width, 2 * width, (1, 1), "B", colours=colours)
        self.label = LabelEmbedding(classes, width)
        self.dropout = nn.Dropout(dropout)

    def squeeze(self, h: Tensor) -> Tensor:
        """Returns the input of the k×k convolution, with shape (B, D, H, W)."""
        return self.down(h.relu()).relu()

    def expand(self, h: Tensor, squeezed: Tensor, labels: Tensor | None) -> Tensor:
        """Returns the block's output, with shape (B, 2D, H, W)."""
        inner = self.conv(squeezed) + self.label(labels)[..., None, None]
        return h + self.up(self.dropout(inner.relu()))


@dataclass
class PixelCNNCache:
    """The inputs of all k×k convolutions, padded, with the weights as matrices."""

    maps: list[Tensor]  # (B, H + top, W + left + right, D) of each convolution
    labels: Tensor | None
    biases: list[Tensor]  # of each block's convolution, with what its label adds: (B, D)
    stem: Tensor
    blocks: list[tuple[Tensor, Tensor, Tensor]]  # down, conv, up
    readout: list[tuple[Tensor, Tensor]]


class PixelCNN(Net):
    """Masked convolutions in residual blocks; takes the scans `raster` and `subpixel`.

    With `subpixel`, channels are divided by colour and B sees G and R, G sees R. With `raster`, a
    pixel is one site and its colours are the head's business.

    Arguments:
        width: D, the bottleneck's channels (h in the paper); the residual stream has 2D.
        depth: The number of residual blocks.
        first_kernel_size: The kernel of the first layer.
        kernel_size: The kernel of the blocks.
        readout: The channels of the 1×1 layers before the last.
        dropout: The rate of dropout in each block.
        classes: The number of class labels; 0 for none.

    Example:
        >>> import torch
        >>> from pixelar.scan import subpixel
        >>> net = PixelCNN(subpixel((3, 8, 8)), levels=256, out_features=256, width=6, depth=2)
        >>> net(torch.zeros(5, 3, 8, 8, dtype=torch.long)).shape
        torch.Size([5, 192, 256])
    """

    def __init__(
        self,
        scan: Scan,
        levels: int,
        out_features: int,
        *,
        width: int = 128,
        depth: int = 15,
        first_kernel_size: int = 7,
        kernel_size: int = 3,
        readout: Sequence[int] = (1024,),
        dropout: float = 0.0,
        classes: int = 0,
    ) -> None:
        super().__init__(scan, levels, out_features, classes)
        require_scan(self, ("raster", "subpixel"))
        require_positive(self, width=width, depth=depth)
        self.width, self.depth, self.dropout = width, depth, dropout
        self.first_kernel_size, self.kernel_size = first_kernel_size, kernel_size
        self.readout = tuple(readout)
        self.colours = colours_of(scan)
        self.embed = PixelValues(levels)
        self.stem = MaskedConv2d(
            scan.shape[0], 2 * width, (first_kernel_size,) * 2, "A", colours=self.colours
        )
        self.blocks: Sequence[Block] = nn.ModuleList(  # type: ignore[assignment]
            Block(width, kernel_size, self.colours, classes, dropout) for _ in range(depth)
        )
        self.out = Readout(scan, 2 * width, readout, out_features)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        h = self.stem(self.embed(x))  # (B, 2D, H, W)
        for block in self.blocks:
            h = block.expand(h, block.squeeze(h), labels)
        return self.out(h)  # (B, T, P)

    def init_cache(self, x: Tensor, labels: Tensor | None = None) -> PixelCNNCache:
        convs = [self.stem, *(block.conv for block in self.blocks)]
        return PixelCNNCache(
            maps=[self._padded(conv, x) for conv in convs],
            labels=labels,
            biases=[
                (block.label(labels) + block.conv.bias).expand(len(x), -1) for block in self.blocks
            ],
            stem=self.stem.patch_matrix(),
            blocks=[
                (b.down.patch_matrix(), b.conv.patch_matrix(), b.up.patch_matrix())
                for b in self.blocks
            ],
            readout=self.out.matrices(),
        )

    def step(self, x: Tensor, t: int, cache: PixelCNNCache) -> Tensor:
        pixel, colour = divmod(t, self.colours)
        i, j = divmod(pixel, x.shape[3])
        self._show_pixels(x, t, cache)
        seen = _patch(cache.maps[0], self.stem, i, j)
        h = F.linear(seen, cache.stem.T, self.stem.bias)  # (B, 2D)
        layers = zip(self.blocks, cache.maps[1:], cache.biases, cache.blocks, strict=True)
        for block, inputs, bias, (down, conv, up) in layers:
            squeezed = F.linear(h.relu(), down.T, block.down.bias).relu()
            left, _, top, _ = block.conv.margin
            inputs[:, i + top, j + left] = squeezed
            inner = (_patch(inputs, block.conv, i, j) @ conv).add_(bias).relu_()
            h = h + F.linear(inner, up.T, block.up.bias)
        return read_pixel(h, cache.readout, colour, self.colours)

    def prefill(self, x: Tensor, stop: int, cache: PixelCNNCache) -> None:
        rows = stop // (self.colours * x.shape[3]) + 1
        pixels = self.embed(x[:, :, :rows])
        _fill(cache.maps[0], self.stem, pixels)
        h = self.stem(pixels)
        for block, inputs in zip(self.blocks, cache.maps[1:], strict=True):
            squeezed = block.squeeze(h)
            _fill(inputs, block.conv, squeezed)
            h = block.expand(h, squeezed, cache.labels)

    def select(self, cache: PixelCNNCache, rows: Tensor) -> PixelCNNCache:
        return replace(
            cache,
            labels=None if cache.labels is None else cache.labels[rows],
            maps=keep_rows(cache.maps, rows),
            biases=keep_rows(cache.biases, rows),
        )

    def _padded(self, conv: MaskedConv2d, x: Tensor) -> Tensor:
        """Returns an empty map of a convolution's inputs, with room for its margins."""
        left, right, top, _ = conv.margin
        _, height, width = self.scan.shape
        return conv.weight.new_zeros(len(x), height + top, width + left + right, conv.in_channels)

    def _show_pixels(self, x: Tensor, t: int, cache: PixelCNNCache) -> None:
        """Shows the first layer the pixels of site t and of the site before it."""
        left, _, top, _ = self.stem.margin
        for site in (t - 1, t):
            i, j = divmod(max(site, 0) // self.colours, x.shape[3])
            cache.maps[0][:, i + top, j + left] = self.embed(x[:, :, i, j])


def _patch(inputs: Tensor, conv: MaskedConv2d, i: int, j: int) -> Tensor:
    """Returns what a convolution sees at pixel (i, j), flattened, from its padded inputs."""
    height, width = conv.taps
    return inputs[:, i : i + height, j : j + width].flatten(1)


def _fill(inputs: Tensor, conv: MaskedConv2d, maps: Tensor) -> None:
    """Writes the first rows of maps (B, D, R, W) into a convolution's padded inputs."""
    left, _, top, _ = conv.margin
    inputs[:, top : top + maps.shape[2], left : left + maps.shape[3]] = maps.permute(0, 2, 3, 1)
