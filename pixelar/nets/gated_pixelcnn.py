"""Gated PixelCNN: two stacks, so that no pixel above is ever out of sight.

The vertical stack v sees all rows above; the horizontal stack h sees its own row to the left and
takes in v:

    v ── k×k rows above ──┬── tanh ⊙ σ ──────────────────────────── v'
                          1×1
    h ── 1×k mask B ─────(+)── tanh ⊙ σ ── 1×1 mask B ──(+)──────── h'
     └──────────────────────────────────────────────────┘

The first layer of each stack looks at pixels and has neither gate nor residual; v starts from the
image shifted down by one row, h from a type A mask.

References:
    Conditional Image Generation with PixelCNN Decoders (van den Oord et al., 2016),
    https://arxiv.org/abs/1606.05328
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixelar.errors import ConfigError
from pixelar.layers.embedding import LabelEmbedding, PixelValues
from pixelar.layers.incremental import ColumnsLeft, RowsAbove, last_rows
from pixelar.layers.masked import MaskedConv2d, RowsAboveConv2d
from pixelar.layers.readout import PixelReadout, Readout, colours_of
from pixelar.layers.shifted import shift_down
from pixelar.nets.base import Net, keep_rows, require_positive, require_scan
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


@dataclass
class Matrices:
    """The weights of a walk: kernels, and matrices from inputs to outputs. All rows of the batch
    share them.

    A gate is tanh(a) σ(b) = 2 σ(2a) σ(b) - σ(b): with the factor 2 inside the matrices that make a,
    it costs one sigmoid and one fused multiplication. That gives minus the gate, and the sign is
    inside the matrices that read it.
    """

    vertical_stem: tuple[Tensor, Tensor]  # kernel, bias
    vertical: list[tuple[Tensor, Tensor]]
    links: list[tuple[Tensor, Tensor]]
    horizontal_stem: tuple[Tensor, Tensor]  # matrix, bias; for symbols, not their values
    horizontal: list[Tensor]
    out: list[Tensor]  # the last row is the bias
    readout: PixelReadout
    double: Tensor  # 2 for the maps of a, 1 for those of b: (2D,)


Column: TypeAlias = list[tuple[Tensor, ...]]


@dataclass
class GatedPixelCNNCache:
    """The rows and columns that the next pixel looks at."""

    matrices: Matrices
    labels: Tensor | None
    above: list[RowsAbove]  # of the vertical convolutions: values of pixels, then maps
    left: list[ColumnsLeft]  # of the horizontal convolutions: symbols, then maps
    links: list[Tensor]  # what v tells h in this row, bias included: (B, W, 2D) of each layer
    maps: Tensor  # room for the maps of a pixel, (B, 2D)
    gate: Tensor  # and for minus their gate, beside a one: (B, D + 1)
    last: Tensor  # and for what the last layer puts out, (B, D)
    columns: dict[int, Column] = field(default_factory=dict)  # views of all these, by column


class GatedPixelCNN(Net):
    """Two stacks of gated convolutions; takes the scans `raster` and `subpixel`.

    Arguments:
        width: D, the channels of both stacks (p in the paper).
        depth: The number of gated layers.
        first_kernel_size: The kernel of the layer that looks at pixels.
        kernel_size: The kernel of the gated layers.
        dilations: The distance between taps in each layer, repeated as often as needed.
        readout: The channels of the 1×1 layers before the last.
        dropout: The rate of dropout after the gates of the horizontal stack.
        position: Whether the vertical stack starts with a learnt vector for every pixel's place.
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
                "net GatedPixelCNN: first_kernel_size must be at least 3, to see a row above"
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
        self.layers: Sequence[GatedLayer] = nn.ModuleList(  # type: ignore[assignment]
            GatedLayer(
                width, kernel_size, dilations[i % len(dilations)], self.colours, classes, dropout
            )
            for i in range(depth)
        )
        self.out = Readout(scan, width, readout, out_features)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.read(self.features(x, labels))

    def features(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        pixels = self.embed(x)
        v = self._placed(self.vertical_stem(shift_down(pixels)), 0)  # (B, D, H, W)
        h = self.horizontal_stem(pixels)
        for layer in self.layers:
            v, h = self.run(layer, v, h, labels)
        return h

    def read(self, features: Tensor) -> Tensor:
        return self.out(features)  # (B, T, P)

    def reach(self) -> int:
        """Columns of the first layer, in its one row, and of all kernels of the vertical stack."""
        sides = [self.dilations[k % len(self.dilations)] for k in range(self.depth)]
        return self.first_kernel_size // 2 + sum(sides) * (self.kernel_size // 2)

    def init_cache(self, x: Tensor, labels: Tensor | None = None) -> GatedPixelCNNCache:
        batch, columns, width = x.shape[0], self.scan.shape[2], self.width
        like = self.horizontal_stem.weight.detach()
        above = [
            RowsAbove(
                c.rows, c.kernel_size[1], c.dilation[0], (batch, columns, c.in_channels), like
            )
            for c in (self.vertical_stem, *(layer.vertical for layer in self.layers))
        ]
        left = [
            ColumnsLeft(
                c.kernel_size[1] // 2 + 1, c.dilation[1], (batch, columns, c.in_channels), like
            )
            for c in (self.horizontal_stem, *(layer.horizontal for layer in self.layers))
        ]
        left[0].buffer.fill_(self.embed.zero)
        return GatedPixelCNNCache(
            matrices=self._matrices(),
            labels=labels,
            above=above,
            left=left,
            links=[like.new_zeros(batch, columns, 2 * width) for _ in self.layers],
            maps=like.new_zeros(batch, 2 * width),
            gate=like.new_ones(batch, width + 1),
            last=like.new_zeros(batch, width),
        )

    def step(self, x: Tensor, t: int, cache: GatedPixelCNNCache) -> Tensor:
        self._advance(x, t, cache)
        return cache.matrices.readout(cache.last, t % self.colours)

    def prefill(self, x: Tensor, stop: int, cache: GatedPixelCNNCache) -> None:
        per_row = self.colours * x.shape[3]
        i = stop // per_row
        if i:
            # a layer's next row looks up to `margin` rows, whose own inputs reach further up
            reaches = [layer.vertical.margin[2] for layer in self.layers]
            first = max(0, i - sum(reaches) - self.first_kernel_size // 2 - 1)
            pixels = self.embed(x[:, :, first:i])
            cache.above[0].fill(pixels[:, :, :-1])  # the last is taken in when row i begins
            v = self._placed(self.vertical_stem(shift_down(pixels)), first)
            for k, above in enumerate(cache.above[1:]):
                if k:
                    v = gate(self.layers[k - 1].maps_above(v, cache.labels))
                v = last_rows(v, max(1, sum(reaches[k:])))
                above.fill(-v if k else v)  # the sign of a gate, as in Matrices
        for t in range(i * per_row, stop):
            self._advance(x, t, cache)

    def select(self, cache: GatedPixelCNNCache, rows: Tensor) -> GatedPixelCNNCache:
        kept: Sequence[RowsAbove | ColumnsLeft] = [*cache.above, *cache.left]
        for each in kept:
            each.select(rows)
        return replace(
            cache,
            labels=None if cache.labels is None else cache.labels[rows],
            links=keep_rows(cache.links, rows),
            maps=cache.maps[rows],
            gate=cache.gate[rows],
            last=cache.last[rows],
            columns={},
        )

    @torch.no_grad()
    def _matrices(self) -> Matrices:
        like = self.horizontal_stem.weight
        double = torch.ones(2 * self.width, device=like.device, dtype=like.dtype)
        double[: self.width] = 2
        by_output = double[:, None, None, None]
        vertical, links = [], []
        for k, layer in enumerate(self.layers):
            kernel = layer.vertical.above() * by_output
            vertical.append((-kernel if k else kernel, layer.vertical.bias * double))
            assert layer.link.bias is not None
            bias = (layer.link.bias + layer.horizontal.bias) * double
            links.append((layer.link.weight / double[:, None, None] * by_output, bias))
        return Matrices(
            vertical_stem=(self.vertical_stem.above(), self.vertical_stem.bias),
            vertical=vertical,
            links=links,
            horizontal_stem=self.embed.folded(
                self.horizontal_stem.left_matrix(), self.horizontal_stem.bias
            ),
            horizontal=[layer.horizontal.left_matrix() * double for layer in self.layers],
            out=[
                torch.cat((-layer.out.left_matrix(), layer.out.bias[None])) for layer in self.layers
            ],
            readout=self.out.by_pixel(),
            double=double,
        )

    def _placed(self, v: Tensor, i: int) -> Tensor:
        """Adds the vectors of their places to rows of v (B, D, R, W) that begin with row i."""
        return v + self.places[:, i : i + v.shape[2]] if self.position else v

    @torch.no_grad()
    def _advance(self, x: Tensor, t: int, cache: GatedPixelCNNCache) -> None:
        """Runs both stacks for the pixel of site t, up to the readout."""
        pixel, colour = divmod(t, self.colours)
        i, j = divmod(pixel, x.shape[3])
        if j == 0 and colour == 0:
            self.begin_row(x, i, cache)
        else:  # the pixel of the site before is the only one that has changed
            last = j if colour else j - 1
            self._column(cache, last)[0][0].copy_(x[:, :, i, last])
        (_, pixels, h), *layers = self._column(cache, j)
        matrix, bias = cache.matrices.horizontal_stem
        torch.addmm(bias, pixels, matrix, out=h)
        maps, gate = cache.maps, cache.gate
        a, b, inner = maps[:, : self.width], maps[:, self.width :], gate[:, : self.width]
        for h, window, link, matrix, out, output in layers:
            torch.addmm(link, window, matrix, out=maps).sigmoid_()
            torch.addcmul(b, a, b, value=-2, out=inner)
            torch.addmm(h, gate, out, out=output)

    @torch.no_grad()
    def begin_row(self, x: Tensor, i: int, cache: GatedPixelCNNCache) -> None:
        """Runs the vertical stack for all of row i, which tells the horizontal one what it saw."""
        weights, width, double = cache.matrices, self.width, cache.matrices.double
        if i:
            cache.above[0].push(self.embed(x[:, :, i - 1]).mT)
        v = cache.above[0].convolve(*weights.vertical_stem)  # (B, W, D)
        if self.position:
            v = v + self.places[:, i].T
        layers = zip(
            self.layers, cache.above[1:], weights.vertical, weights.links, cache.links, strict=True
        )
        for layer, above, vertical, link, told in layers:
            above.push(v)
            maps = above.convolve(*vertical)  # (B, W, 2D)
            if self.classes:
                maps += layer.vertical_label(cache.labels)[:, None] * double
            told.copy_(F.conv2d(maps.mT[:, :, None], *link)[:, :, 0].mT)
            if self.classes:
                told += layer.horizontal_label(cache.labels)[:, None] * double
            b = maps.sigmoid_()[..., width:]
            v = torch.addcmul(b, maps[..., :width], b, value=-2)

    def _column(self, cache: GatedPixelCNNCache, j: int) -> Column:
        """Returns the views of column j that a step reads and writes, made once for all rows."""
        if j not in cache.columns:
            left, weights = cache.left, cache.matrices
            outputs = [*(columns.at(j) for columns in left[2:]), cache.last]
            found: Column = [(left[0].at(j), left[0].seen(j), left[1].at(j))]
            for inputs, link, horizontal, out, output in zip(
                left[1:], cache.links, weights.horizontal, weights.out, outputs, strict=True
            ):
                found.append((inputs.at(j), inputs.seen(j), link[:, j], horizontal, out, output))
            cache.columns[j] = found
        return cache.columns[j]
