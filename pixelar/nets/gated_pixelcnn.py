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

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixelar.errors import PixelarError
from pixelar.layers.embedding import LabelEmbedding, PixelValues
from pixelar.layers.masked import MaskedConv2d, RowsAboveConv2d
from pixelar.layers.readout import Readout, colours_of, read_pixel
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

    def look_up(
        self, v: Tensor, labels: Tensor | None, above: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Returns the vertical stack's output (B, D, R, W) and its link to h (B, 2D, R, W)."""
        maps = self.vertical(v, above) + self.vertical_label(labels)[..., None, None]
        return gate(maps), self.link(maps) + self.horizontal_label(labels)[..., None, None]

    def look_left(self, h: Tensor, link: Tensor) -> Tensor:
        """Returns the horizontal stack's output, with shape (B, D, R, W)."""
        return h + self.out(self.dropout(gate(self.horizontal(h) + link)))


@dataclass
class GatedPixelCNNCache:
    """The rows and columns that the next pixel looks at.

    A gate is tanh(a) σ(b) = 2 σ(2a) σ(b) - σ(b): with the factor 2 inside the matrices that make a
    and the sign inside the one that reads the gate, it costs one sigmoid and one fused
    multiplication.
    """

    labels: Tensor | None
    double: Tensor  # 2 for the maps of a, 1 for those of b, (2D,)
    above: list[Tensor]  # input rows that the vertical convolutions still need: (B, D, reach, W)
    left: list[Tensor]  # the row of inputs of each horizontal convolution: (B, margin + W, D)
    stem: Tensor  # the first horizontal layer as a matrix
    layers: list[tuple[Tensor, Tensor, Tensor]]  # horizontal, out, out's bias
    readout: list[tuple[Tensor, Tensor]]
    links: list[Tensor] = field(default_factory=list)  # what v tells h in this row: (W, B, 2D)


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
            raise PixelarError(
                "net GatedPixelCNN: first_kernel_size must be at least 3, to see a row above"
            )
        if not dilations or min(dilations) < 1:
            raise PixelarError(
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
        pixels = self.embed(x)
        v = self._placed(self.vertical_stem(shift_down(pixels)), 0)  # (B, D, H, W)
        h = self.horizontal_stem(pixels)
        for layer in self.layers:
            v, link = layer.look_up(v, labels)
            h = layer.look_left(h, link)
        return self.out(h)  # (B, T, P)

    def init_cache(self, x: Tensor, labels: Tensor | None = None) -> GatedPixelCNNCache:
        width, weight = self.scan.shape[2], self.horizontal_stem.weight
        double = torch.ones(2 * self.width, device=weight.device, dtype=weight.dtype)
        double[: self.width] = 2
        vertical = [self.vertical_stem, *(layer.vertical for layer in self.layers)]
        horizontal = [self.horizontal_stem, *(layer.horizontal for layer in self.layers)]
        return GatedPixelCNNCache(
            labels=labels,
            double=double,
            above=[weight.new_zeros(len(x), c.in_channels, c.reach, width) for c in vertical],
            left=[weight.new_zeros(len(x), c.margin[0] + width, c.in_channels) for c in horizontal],
            stem=self.horizontal_stem.patch_matrix(),
            layers=[
                (la.horizontal.patch_matrix() * double, -la.out.patch_matrix(), la.out.bias)
                for la in self.layers
            ],
            readout=self.out.matrices(),
        )

    def step(self, x: Tensor, t: int, cache: GatedPixelCNNCache) -> Tensor:
        pixel, colour = divmod(t, self.colours)
        i, j = divmod(pixel, x.shape[3])
        if j == 0 and colour == 0:
            self._begin_row(x, i, cache)
        self._show_pixels(x, i, j, cache)
        h = torch.addmm(
            self.horizontal_stem.bias, _columns(cache.left[0], self.horizontal_stem, j), cache.stem
        )
        for layer, left, link, (matrix, out, bias) in zip(
            self.layers, cache.left[1:], cache.links, cache.layers, strict=True
        ):
            left[:, j + layer.horizontal.margin[0]] = h
            maps = torch.addmm(link[j], _columns(left, layer.horizontal, j), matrix).sigmoid_()
            a, b = maps[:, : self.width], maps[:, self.width :]
            h = h + torch.addmm(bias, torch.addcmul(b, a, b, value=-2), out)
        return read_pixel(h, cache.readout, colour, self.colours)

    def prefill(self, x: Tensor, stop: int, cache: GatedPixelCNNCache) -> None:
        i, rest = divmod(stop, self.colours * x.shape[3])
        if i:
            v = shift_down(self.embed(x[:, :, :i]))
            cache.above[0] = _last_rows(v, cache.above[0].shape[2])
            v = self._placed(self.vertical_stem(v), 0)
            for k, layer in enumerate(self.layers, 1):
                cache.above[k] = _last_rows(v, cache.above[k].shape[2])
                v, _ = layer.look_up(v, cache.labels)
        if rest:  # columns of row i that are not known yet are overwritten before they are read
            links = self._begin_row(x, i, cache)
            h = self.horizontal_stem(self.embed(x[:, :, i, None]))
            for layer, left, link in zip(self.layers, cache.left[1:], links, strict=True):
                left[:, layer.horizontal.margin[0] :] = h[:, :, 0].mT
                h = layer.look_left(h, link)
            margin = self.horizontal_stem.margin[0]
            cache.left[0][:, margin:] = self.embed(x[:, :, i]).mT

    def select(self, cache: GatedPixelCNNCache, rows: Tensor) -> GatedPixelCNNCache:
        return replace(
            cache,
            labels=None if cache.labels is None else cache.labels[rows],
            above=keep_rows(cache.above, rows),
            left=keep_rows(cache.left, rows),
            links=keep_rows(cache.links, rows, dim=1),
        )

    def _placed(self, v: Tensor, i: int) -> Tensor:
        """Adds the vectors of their places to rows of v (B, D, R, W) that begin with row i."""
        return v + self.places[:, i : i + v.shape[2]] if self.position else v

    def _begin_row(self, x: Tensor, i: int, cache: GatedPixelCNNCache) -> list[Tensor]:
        """Runs the vertical stack for all of row i; returns the links, each (B, 2D, 1, W)."""
        row = self.embed(x[:, :, i - 1, None]) if i else torch.zeros_like(self.embed(x[:, :, :1]))
        v = self._placed(self.vertical_stem(row, cache.above[0]), i)
        cache.above[0] = _scroll(cache.above[0], row)
        links = []
        cache.links = []
        for k, layer in enumerate(self.layers, 1):
            above, cache.above[k] = cache.above[k], _scroll(cache.above[k], v)
            v, link = layer.look_up(v, cache.labels, above)
            links.append(link)
            link = (link[:, :, 0] + layer.horizontal.bias[:, None]) * cache.double[:, None]
            cache.links.append(link.permute(2, 0, 1).contiguous())  # (W, B, 2D)
        return links

    def _show_pixels(self, x: Tensor, i: int, j: int, cache: GatedPixelCNNCache) -> None:
        """Shows the first horizontal layer pixel (i, j) and the one on its left."""
        margin = self.horizontal_stem.margin[0]
        for column in (j - 1, j) if j else (j,):
            cache.left[0][:, column + margin] = self.embed(x[:, :, i, column])


def shift_down(maps: Tensor) -> Tensor:
    """Returns maps whose row i is row i - 1 of the input; the first row is zero."""
    return F.pad(maps, (0, 0, 1, 0))[:, :, :-1]


def _last_rows(maps: Tensor, rows: int) -> Tensor:
    """Returns the last rows of maps, with zeros above where there are fewer."""
    return F.pad(maps, (0, 0, rows, 0))[:, :, maps.shape[2] :]


def _scroll(above: Tensor, row: Tensor) -> Tensor:
    """Returns the rows above, one further down."""
    return torch.cat((above[:, :, 1:], row), 2) if above.shape[2] else above


def _columns(left: Tensor, conv: MaskedConv2d, j: int) -> Tensor:
    """Returns what a horizontal convolution sees at column j, flattened."""
    return left[:, j : j + conv.margin[0] + 1 : conv.dilation[0]].flatten(1)
