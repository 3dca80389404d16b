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
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import torch
from torch import Tensor, nn

from pixelar.layers.embedding import LabelEmbedding, PixelValues
from pixelar.layers.incremental import ColumnsLeft, Diagonals, RowsAbove, last_rows
from pixelar.layers.masked import MaskedConv2d
from pixelar.layers.readout import PixelReadout, Readout, colours_of
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

    def forward(self, h: Tensor, labels: Tensor | None) -> Tensor:
        return self.expand(h, self.squeeze(h), labels)

    def squeeze(self, h: Tensor) -> Tensor:
        """Returns the input of the k×k convolution, with shape (B, D, H, W)."""
        return self.down(h.relu()).relu()

    def expand(self, h: Tensor, squeezed: Tensor, labels: Tensor | None) -> Tensor:
        """Returns the block's output, with shape (B, 2D, H, W)."""
        inner = self.conv(squeezed) + self.label(labels)[..., None, None]
        return h + self.up(self.dropout(inner.relu()))


@dataclass(frozen=True)
class BlockMatrices:
    """The weights of a block: matrices from inputs to outputs, and the kernel's rows above."""

    down: tuple[Tensor, Tensor]  # matrix, bias
    above: tuple[Tensor, Tensor]  # kernel, bias
    left: Tensor  # matrix
    up: Tensor  # matrix, whose last row is the bias


@dataclass(frozen=True)
class Matrices:
    """The weights of a walk; all rows of the batch share them."""

    stem_above: tuple[Tensor, Tensor]  # kernel, bias
    stem_left: Tensor  # matrix
    blocks: list[BlockMatrices]
    readout: PixelReadout


Column: TypeAlias = list[tuple[Tensor, ...]]


@dataclass
class PixelCNNCache:
    """The inputs of all k×k convolutions: some rows, the columns of the pixel's own row, and what
    the rows tell it.
    """

    matrices: Matrices
    labels: Tensor | None
    above: list[RowsAbove]  # of the first convolution and of each block's
    left: list[ColumnsLeft]
    links: list[Tensor]  # what the rows above add to every column, bias included: (B, W, ·)
    inner: Tensor  # room for a block's inner features, beside a one: (B, D + 1)
    columns: dict[int, Column] = field(default_factory=dict)  # views of all these, by column


@dataclass
class PixelCNNWaves:
    """The inputs of all k×k convolutions along a wavefront."""

    matrices: Matrices
    labels: Tensor | None
    diagonals: list[Diagonals]
    kernels: list[Tensor]  # each as a matrix, for patches of all alive taps
    count: int = 0  # of the waves so far


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

    embed: PixelValues

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
        return self.read(self.features(x, labels))

    def features(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        h = self.stem(self.embed(x))  # (B, 2D, H, W)
        for block in self.blocks:
            h = self.run(block, h, labels)
        return h

    def read(self, features: Tensor) -> Tensor:
        return self.out(features)  # (B, T, P)

    def reach(self) -> int:
        """One column per row in the blocks, and those of the first layer in its one row."""
        return max(self.first_kernel_size // 2, self.kernel_size // 2)

    def init_cache(self, x: Tensor, labels: Tensor | None = None) -> PixelCNNCache:
        batch, columns = x.shape[0], self.scan.shape[2]
        like = self.stem.weight.detach()
        above, left, links = [], [], []
        for conv in self._convolutions():
            size, taps = (batch, columns, conv.in_channels), conv.kernel_size[1]
            above.append(RowsAbove(taps // 2, taps, 1, size, like))
            left.append(ColumnsLeft(taps // 2 + 1, 1, size, like))
            links.append(like.new_zeros(batch, columns, conv.out_channels))
        return PixelCNNCache(
            matrices=self._matrices(),
            labels=labels,
            above=above,
            left=left,
            links=links,
            inner=like.new_ones(batch, self.width + 1),
        )

    @torch.no_grad()
    def step(self, x: Tensor, t: int, cache: PixelCNNCache) -> Tensor:
        return cache.matrices.readout(self._advance(x, t, cache), t % self.colours)

    @torch.no_grad()
    def prefill(self, x: Tensor, stop: int, cache: PixelCNNCache) -> None:
        per_row = self.colours * x.shape[3]
        i = stop // per_row
        if i:
            # a block's next row looks up so many rows, whose own inputs reach further up
            up = self.kernel_size // 2
            needed = [max(1, up) + up * k for k in range(self.depth)][::-1]  # rows of each block
            first = max(0, i - needed[0] - self.first_kernel_size // 2)
            inputs = self.embed(x[:, :, first:i])
            h = self.stem(inputs)
            cache.above[0].fill(inputs[:, :, :-1])  # the last row is taken in when row i begins
            layers = zip(self.blocks, cache.above[1:], cache.left[1:], needed, strict=True)
            for k, (block, above, left, rows) in enumerate(layers):
                if k:
                    h = self.blocks[k - 1].expand(h, inputs, cache.labels)
                h = last_rows(h, rows)
                inputs = block.squeeze(h)
                above.fill(inputs[:, :, :-1])
                left.fill(inputs[:, :, -1].mT)
        for t in range(i * per_row, stop):
            self._advance(x, t, cache)

    def select(self, cache: PixelCNNCache, rows: Tensor) -> PixelCNNCache:
        kept: Sequence[RowsAbove | ColumnsLeft] = [*cache.above, *cache.left]
        for each in kept:
            each.select(rows)
        return replace(
            cache,
            labels=None if cache.labels is None else cache.labels[rows],
            links=keep_rows(cache.links, rows),
            inner=cache.inner[rows],
            columns={},
        )

    def init_waves(self, x: Tensor, labels: Tensor | None = None) -> PixelCNNWaves:
        like, skew = self.stem.weight.detach(), self.reach() + 1
        diagonals = [
            Diagonals(c.kernel_size[0], skew, (x.shape[0], self.scan.shape[1], c.in_channels), like)
            for c in self._convolutions()
        ]
        with torch.no_grad():
            kernels = [
                torch.cat((conv.above().permute(2, 3, 1, 0).flatten(0, 2), conv.left_matrix()))
                for conv in self._convolutions()
            ]
        return PixelCNNWaves(self._matrices(), labels, diagonals, kernels)

    @torch.no_grad()
    def wave(self, x: Tensor, sites: Tensor, cache: PixelCNNWaves) -> Tensor:
        number, colour = divmod(cache.count, self.colours)
        cache.count += 1
        pixels, *inner = cache.diagonals
        if colour == 0:
            self._show_wave(x, number - 1, pixels)
            for diagonal in cache.diagonals:
                diagonal.begin(number)
        else:
            self._show_wave(x, number, pixels)
        rows, weights = self._rows_of(number), cache.matrices
        stem, *kernels = cache.kernels
        shape = x.shape[0], rows.stop - rows.start  # of no row, for some waves of narrow images
        h = torch.addmm(self.stem.bias, pixels.seen(number, rows).flatten(0, 1), stem)  # (B·n, 2D)
        layers = zip(self.blocks, weights.blocks, inner, kernels, strict=True)
        for block, matrices, diagonal, kernel in layers:
            matrix, bias = matrices.down
            squeezed = torch.addmm(bias, h.relu(), matrix).relu_()
            diagonal.at(number, rows).copy_(squeezed.unflatten(0, shape))
            features = torch.addmm(
                block.conv.bias, diagonal.seen(number, rows).flatten(0, 1), kernel
            )
            if self.classes:
                features.unflatten(0, shape).add_(block.label(cache.labels)[:, None])
            matrix, bias = matrices.up[:-1], matrices.up[-1]
            h = torch.addmm(h, features.relu_(), matrix).add_(bias)
        return weights.readout(h, colour).unflatten(0, shape)

    def _convolutions(self) -> list[MaskedConv2d]:
        return [self.stem, *(block.conv for block in self.blocks)]

    @torch.no_grad()
    def _matrices(self) -> Matrices:
        return Matrices(
            stem_above=(self.stem.above(), self.stem.bias),
            stem_left=self.stem.left_matrix(),
            blocks=[
                BlockMatrices(
                    down=(block.down.left_matrix(), block.down.bias),
                    above=(block.conv.above(), block.conv.bias),
                    left=block.conv.left_matrix(),
                    up=torch.cat((block.up.left_matrix(), block.up.bias[None])),
                )
                for block in self.blocks
            ],
            readout=self.out.by_pixel(),
        )

    def _advance(self, x: Tensor, t: int, cache: PixelCNNCache) -> Tensor:
        """Returns the features (B, 2D) of the pixel of site t, and leaves them to later ones."""
        pixel, colour = divmod(t, self.colours)
        i, j = divmod(pixel, x.shape[3])
        if j == 0 and colour == 0:
            self._begin_row(x, i, cache)
        else:  # the pixel of the site before is the only one that has changed
            last = j if colour else j - 1
            self._column(cache, last)[0][0].copy_(self.embed(x[:, :, i, last]))
        weights, inner = cache.matrices, cache.inner
        (_, pixels, link), *blocks = self._column(cache, j)
        h = torch.addmm(link, pixels, weights.stem_left)
        features = inner[:, :-1]
        for (at, seen, link), block in zip(blocks, weights.blocks, strict=True):
            matrix, bias = block.down
            torch.addmm(bias, h.relu(), matrix, out=at).relu_()
            torch.addmm(link, seen, block.left, out=features).relu_()
            h = torch.addmm(h, inner, block.up)
        return h

    def _begin_row(self, x: Tensor, i: int, cache: PixelCNNCache) -> None:
        """Runs all kernels' rows above for all of row i: the row before it is final."""
        weights = cache.matrices
        kernels = [weights.stem_above, *(block.above for block in weights.blocks)]
        if i:
            cache.left[0].fill(self.embed(x[:, :, i - 1]).mT)
        for above, left, kernel, link in zip(
            cache.above, cache.left, kernels, cache.links, strict=True
        ):
            if i:
                above.push(left.row())
            link.copy_(above.convolve(*kernel))
        if self.classes:
            for block, link in zip(self.blocks, cache.links[1:], strict=True):
                link += block.label(cache.labels)[:, None]

    def _column(self, cache: PixelCNNCache, j: int) -> Column:
        """Returns the views of column j that a step reads and writes, made once for all rows."""
        if j not in cache.columns:
            cache.columns[j] = [
                (left.at(j), left.seen(j), link[:, j])
                for left, link in zip(cache.left, cache.links, strict=True)
            ]
        return cache.columns[j]

    def _rows_of(self, wave: int) -> slice:
        """Returns the rows that a wave of pixels passes through."""
        _, height, width = self.scan.shape
        skew = self.reach() + 1
        return slice(max(0, -((width - 1 - wave) // skew)), min(height, wave // skew + 1))

    def _show_wave(self, x: Tensor, wave: int, pixels: Diagonals) -> None:
        """Shows the first layer the pixels of a wave, as they are now."""
        if wave < 0:
            return
        rows = self._rows_of(wave)
        i = torch.arange(rows.start, rows.stop, device=x.device)
        values = self.embed(x[:, :, i, wave - (self.reach() + 1) * i])  # (B, C, n)
        pixels.at(wave, rows).copy_(values.mT)
