"""Diagonal BiLSTM: a recurrent layer that crosses the image along its diagonals, from both sides.

    x ── 7×7 mask A ── layer × depth ── (ReLU ── 1×1) × … ── parameters

    layer:  x ──┬── 1×1 mask B ── LSTM from the left ───────────────────┬── 1×1 mask B ──(+)
            │   └── 1×1 mask B ── LSTM from the right ── a row down ───(+)               │
            └────────────────────────────────────────────────────────────────────────────┘

A pixel's state is made from the state above it and the one beside it. Both lie in the diagonal
before, so that a whole diagonal is one step (in the paper, rows are skewed to make it a column):

    a0 a1 a2        step   0    1    2    3    4
    b0 b1 b2   ─►          a0   a1   a2   b2   c2        b1 looks at a1 and at b0
    c0 c1 c2                    b0   b1   c1
                                     c0

From the left, the state covers all that lies above and to the left. From the right, it covers what
lies above and to the right, and would tell a pixel the rest of its own row; so it is given to the
pixel below. Both states are past by then in all colours, and state-to-state needs no mask.

One pixel would still be missing. With mask A, what is at a place tells of the pixels before it, so
the last pixel of a row is told only by what stands behind it. The maps therefore have one more
column, beside the image, in which the way from the right begins: the context is all of the past.

The paper's table 1 has the kernels and their masks. Not in it, and assumed: that column, which
costs no parameter; zeros for the states outside of the image.

References:
    Pixel Recurrent Neural Networks (van den Oord et al., 2016), https://arxiv.org/abs/1601.06759
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixelar.common.graphs import outside_graphs
from pixelar.errors import ConfigError
from pixelar.layers.convlstm import GATES, Gates, cell
from pixelar.layers.embedding import LabelEmbedding, PixelValues
from pixelar.layers.incremental import ColumnsLeft, RowsAbove
from pixelar.layers.masked import MaskedConv2d
from pixelar.layers.readout import PixelReadout, Readout, colours_of
from pixelar.layers.shifted import shift_down
from pixelar.nets.base import Net, keep_rows, require_positive, require_scan
from pixelar.scan import Scan

__all__ = ["DiagonalBiLSTM"]


def by_diagonal(height: int, width: int, device: torch.device) -> tuple[Tensor, list[int]]:
    """Returns the pixels of an image (H·W,) diagonal by diagonal, each from the top, and how many
    there are in each.

    Example:
        >>> by_diagonal(2, 3, torch.device("cpu"))
        (tensor([0, 1, 3, 2, 4, 5]), [1, 2, 2, 1])
    """
    pixel = torch.arange(height * width, device=device)
    row, column = pixel // width, pixel % width
    last = height + width - 2
    lengths = [min(k, last - k, height - 1, width - 1) + 1 for k in range(last + 1)]
    return ((row + column) * height + row).argsort(), lengths


class DiagonalLayer(nn.Module):
    """One layer of two LSTMs with its residual connection: 2D → D → 2D maps."""

    def __init__(self, width: int, colours: int, classes: int, dropout: float) -> None:
        super().__init__()
        gates = 2 * GATES  # of both directions
        self.input = MaskedConv2d(
            2 * width, gates * width, (1, 1), "B", colours=colours, halves=gates
        )
        # for both directions the kernel's two taps: the state above, and the one beside
        self.state = nn.Parameter(torch.empty(2, 2 * width, GATES * width))
        nn.init.uniform_(self.state, -1 / math.sqrt(2 * width), 1 / math.sqrt(2 * width))
        self.up = MaskedConv2d(width, 2 * width, (1, 1), "B", colours=colours)
        self.label = LabelEmbedding(classes, gates * width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, labels: Tensor | None) -> Tensor:
        return self.expand(x, *self.sweep(x, labels))

    # compiled, the loop would be unrolled: minutes for a layer, and no quicker then
    @outside_graphs
    def sweep(self, x: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """Returns the hidden states from the left and from the right, each (B, D, H, W)."""
        batch, _, height, width = x.shape
        order, lengths = by_diagonal(height, width, x.device)
        orders = order, order + width - 1 - 2 * (order % width)  # the second in the mirror image
        to_state = self.input(x) + self.label(labels)[..., None, None]
        by_pixel = to_state.flatten(2).permute(2, 0, 1).chunk(2, -1)  # each (H · W, B, 4D)
        diagonals = torch.stack(
            [maps.index_select(0, pixels) for maps, pixels in zip(by_pixel, orders, strict=True)]
        )
        h = c = self.state.new_zeros(2, 0, batch, self.up.in_channels)  # (2, n, B, D)
        found = []
        for k, maps in enumerate(diagonals.split(lengths, 1)):  # (2, n, B, 4D)
            # the last diagonal's states with zeros for those outside of the image; the first is
            # that above the first pixel of this diagonal, which is a row lower from column W on
            h, c = (F.pad(state, (0, 0, 0, 0, 1, 1))[:, int(k >= width) :] for state in (h, c))
            above, beside = slice(lengths[k]), slice(1, lengths[k] + 1)
            seen = torch.cat((h[:, above], h[:, beside]), -1).flatten(1, 2)
            gates = torch.baddbmm(maps.flatten(1, 2), seen, self.state)
            h, c = cell(gates.view_as(maps), c[:, beside])
            found.append(h)
        left, right = (
            states.index_select(0, pixels.argsort()).unflatten(0, (height, width))
            for states, pixels in zip(torch.cat(found, 1), orders, strict=True)
        )
        return left.permute(2, 3, 0, 1), right.permute(2, 3, 0, 1)

    def expand(self, x: Tensor, left: Tensor, right: Tensor) -> Tensor:
        """Returns the layer's output, with shape (B, 2D, H, W)."""
        return x + self.up(self.dropout(left + shift_down(right)))


@dataclass(frozen=True)
class Matrices:
    """The weights of a walk, those of L layers in one tensor; all rows of the batch share them."""

    stem_above: tuple[Tensor, Tensor]  # kernel, bias
    stem_left: Tensor  # matrix
    from_left: list[Tensor]  # input-to-state of each layer, (2D, 4D)
    from_right: Tensor  # (L, 2D, 4D)
    above: tuple[Tensor, Tensor]  # state-to-state, of both directions: (L, D, 4D)
    beside: tuple[Tensor, Tensor]
    up: list[Tensor]  # for the states from both sides and a one: (2D + 1, 2D)
    readout: PixelReadout


@dataclass
class DiagonalBiLSTMCache:
    """The row of the next pixel, and the column beside the image: inputs and states of all layers.

    The state of column j is at place j + 1 of a row; what stands before the first is zero.
    """

    matrices: Matrices
    labels: Tensor | None
    above: RowsAbove  # of the first convolution
    left: ColumnsLeft
    stem: Tensor  # what the rows above add to the first convolution, (B, W, 2D)
    bias: tuple[Tensor, Tensor]  # of the gates of both directions, label included: (L, 1, B, 4D)
    links: Tensor  # what the row above adds to the gates from the left, bias included
    inputs: Tensor  # (L, W, B, 2D)
    hidden: Tensor  # from the left, of the row above from the right, a one: (L, 1 + W, B, 2D + 1)
    cells: Tensor  # from the left, (L, 1 + W, B, D)
    gates: Tensor  # room for the gates of a column, (L, B, 4D)
    last: Tensor  # and for what the last layer puts out, (B, 2D)
    finished: int = 0  # the number of rows of which all columns are there
    columns: dict[int, "Column"] = field(default_factory=dict)  # views of all these, by column


@dataclass(frozen=True)
class Column:
    """Views of a column that a step reads and writes."""

    seen: Tensor  # by the first convolution, (B, ·)
    stem: Tensor
    link: Tensor  # (L, B, 4D)
    beside: Tensor  # the hidden states of the column before, from the left: (L, B, D)
    layers: list[tuple[Tensor, Gates, Tensor, Tensor, Tensor, Tensor, Tensor]]
    output: list[Tensor]


class DiagonalBiLSTM(Net):
    """LSTM layers along both diagonals; takes the scans `raster` and `subpixel`.

    Arguments:
        width: D, the channels of a layer's state (h in the paper); the residual stream has 2D.
        depth: The number of layers, each with an LSTM from the left and one from the right.
        first_kernel_size: The kernel of the first layer, which looks at pixels.
        readout: The channels of the 1×1 layers before the last.
        dropout: The rate of dropout on what each layer puts out.
        classes: The number of class labels; 0 for none.

    Example:
        >>> from pixelar.scan import raster
        >>> net = DiagonalBiLSTM(raster((1, 8, 8)), levels=17, out_features=17, width=8, depth=2)
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
        width: int = 128,
        depth: int = 12,
        first_kernel_size: int = 7,
        readout: Sequence[int] = (1024,),
        dropout: float = 0.0,
        classes: int = 0,
    ) -> None:
        super().__init__(scan, levels, out_features, classes)
        require_scan(self, ("raster", "subpixel"))
        require_positive(self, width=width, depth=depth)
        if first_kernel_size < 3 or first_kernel_size % 2 == 0:
            raise ConfigError(
                "net DiagonalBiLSTM: first_kernel_size must be odd and at least 3, to see the "
                f"pixels beside and above; got {first_kernel_size}"
            )
        self.width, self.depth, self.dropout = width, depth, dropout
        self.first_kernel_size, self.readout = first_kernel_size, tuple(readout)
        self.colours = colours_of(scan)
        self.embed = PixelValues(levels)
        self.stem = MaskedConv2d(
            scan.shape[0], 2 * width, (first_kernel_size,) * 2, "A", colours=self.colours
        )
        self.layers: Sequence[DiagonalLayer] = nn.ModuleList(  # type: ignore[assignment]
            DiagonalLayer(width, self.colours, classes, dropout) for _ in range(depth)
        )
        self.out = Readout(scan, 2 * width, readout, out_features)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.read(self.features(x, labels))

    def features(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        h = self.stem(self._pixels(x))  # (B, 2D, H, W + 1)
        for layer in self.layers:
            h = self.run(layer, h, labels)
        return h[..., :-1]

    def read(self, features: Tensor) -> Tensor:
        return self.out(features)  # (B, T, P)

    def init_cache(self, x: Tensor, labels: Tensor | None = None) -> DiagonalBiLSTMCache:
        batch, columns, width = x.shape[0], self.scan.shape[2] + 1, self.width
        like, stem, depth = self.stem.weight.detach(), self.stem, self.depth
        size, taps = (batch, columns, stem.in_channels), stem.kernel_size[1]
        bias = torch.stack([layer.input.bias + layer.label(labels) for layer in self.layers])
        left, right = bias.detach().expand(-1, batch, -1)[:, None].chunk(2, -1)
        hidden = like.new_zeros(depth, 1 + columns, batch, 2 * width + 1)
        hidden[..., -1] = 1
        return DiagonalBiLSTMCache(
            matrices=self._matrices(),
            labels=labels,
            above=RowsAbove(taps // 2, taps, 1, size, like),
            left=ColumnsLeft(taps // 2 + 1, 1, size, like),
            stem=like.new_zeros(batch, columns, 2 * width),
            bias=(left.clone(), right.clone()),
            links=like.new_zeros(depth, columns, batch, GATES * width),
            inputs=like.new_zeros(depth, columns, batch, 2 * width),
            hidden=hidden,
            cells=like.new_zeros(depth, 1 + columns, batch, width),
            gates=like.new_zeros(depth, batch, GATES * width),
            last=like.new_zeros(batch, 2 * width),
        )

    @torch.no_grad()
    def step(self, x: Tensor, t: int, cache: DiagonalBiLSTMCache) -> Tensor:
        self._advance(x, t, cache)
        return cache.matrices.readout(cache.last, t % self.colours)

    @torch.no_grad()
    def prefill(self, x: Tensor, stop: int, cache: DiagonalBiLSTMCache) -> None:
        per_row = self.colours * x.shape[3]
        i = cache.finished = stop // per_row
        if i:
            width = self.width
            h = self.stem(self._pixels(x[:, :, :i]))
            for k, layer in enumerate(self.layers):
                left, right = layer.sweep(h, cache.labels)
                cache.inputs[k] = h[:, :, -1].permute(2, 0, 1)
                cache.hidden[k, 1:, :, :width] = left[:, :, -1].permute(2, 0, 1)
                cache.hidden[k, 1:, :, width:-1] = shift_down(right)[:, :, -1].permute(2, 0, 1)
                h = layer.expand(h, left, right)
            cache.above.fill(self._pixels(x[:, :, : i - 1]))
        for t in range(i * per_row, stop):
            self._advance(x, t, cache)

    def select(self, cache: DiagonalBiLSTMCache, rows: Tensor) -> DiagonalBiLSTMCache:
        cache.above.select(rows)
        cache.left.select(rows)
        left, right, links, inputs, hidden, cells = keep_rows(
            [*cache.bias, cache.links, cache.inputs, cache.hidden, cache.cells], rows, dim=2
        )
        return replace(
            cache,
            labels=None if cache.labels is None else cache.labels[rows],
            stem=cache.stem[rows],
            bias=(left, right),
            links=links,
            inputs=inputs,
            hidden=hidden,
            cells=cells,
            gates=cache.gates.index_select(1, rows),
            last=cache.last[rows],
            columns={},
        )

    def _pixels(self, x: Tensor) -> Tensor:
        """Returns the pixels' values with the column beside the image, (B, C, R, W + 1)."""
        return F.pad(self.embed(x), (0, 1))

    @torch.no_grad()
    def _matrices(self) -> Matrices:
        from_left, from_right = zip(
            *(layer.input.left_matrix().chunk(2, 1) for layer in self.layers), strict=True
        )
        state = torch.stack([layer.state for layer in self.layers], 1)  # (2, L, 2D, 4D)
        (above, above_right), (beside, beside_right) = state.chunk(2, 2)
        ups = [(layer.up.left_matrix(), layer.up.bias[None]) for layer in self.layers]
        return Matrices(
            stem_above=(self.stem.above(), self.stem.bias),
            stem_left=self.stem.left_matrix(),
            from_left=[matrix.contiguous() for matrix in from_left],
            from_right=torch.stack(from_right),
            above=(above.contiguous(), above_right.contiguous()),
            beside=(beside.contiguous(), beside_right.contiguous()),
            up=[torch.cat((matrix, matrix, bias)) for matrix, bias in ups],
            readout=self.out.by_pixel(),
        )

    def _advance(self, x: Tensor, t: int, cache: DiagonalBiLSTMCache) -> None:
        """Runs all layers for the pixel of site t, up to the readout."""
        pixel, colour = divmod(t, self.colours)
        i, j = divmod(pixel, x.shape[3])
        if j == 0 and colour == 0:
            self._begin_row(x, i, cache)
        else:  # the pixel of the site before is the only one that has changed
            last = j if colour else j - 1
            cache.left.at(last).copy_(self.embed(x[:, :, i, last]))
        self._pass_from_left(j, cache)

    def _pass_from_left(self, j: int, cache: DiagonalBiLSTMCache) -> None:
        """Runs all layers for column j of the row."""
        weights, column = cache.matrices, self._column(cache, j)
        torch.baddbmm(column.link, column.beside, weights.beside[0], out=cache.gates)
        h = torch.addmm(column.stem, column.seen, weights.stem_left, out=column.output[0])
        for (matrix, gates, c, new_c, hidden, joined, up), output in zip(
            column.layers, column.output[1:], strict=True
        ):
            gates.maps.addmm_(h, matrix)
            gates.close(c, new_c, hidden)
            h = torch.addmm(h, joined, up, out=output)

    def _pass_from_right(self, cache: DiagonalBiLSTMCache) -> None:
        """Replaces the states from the right by those of the next row, of all layers at once."""
        weights, width = cache.matrices, self.width
        states = cache.hidden[..., width:-1]  # (L, 1 + W, B, D)
        maps = torch.baddbmm(
            torch.bmm(cache.inputs.flatten(1, 2), weights.from_right),
            states[:, 1:].flatten(1, 2),
            weights.above[1],
        )
        maps = maps.view_as(cache.links).add_(cache.bias[1])
        h = c = torch.zeros_like(states[:, 0])
        for j in reversed(range(maps.shape[1])):
            h, c = cell(torch.baddbmm(maps[:, j], h, weights.beside[1]), c)
            states[:, 1 + j] = h

    def _begin_row(self, x: Tensor, i: int, cache: DiagonalBiLSTMCache) -> None:
        """Computes what is known of all of row i: the row before it is final."""
        weights = cache.matrices
        if i:
            cache.left.fill(self._pixels(x[:, :, i - 1 : i])[:, :, 0].mT)
            if cache.finished < i:
                self._pass_from_left(x.shape[3], cache)
            self._pass_from_right(cache)
            cache.above.push(cache.left.row())
        cache.finished = i
        cache.stem.copy_(cache.above.convolve(*weights.stem_above))
        states = cache.hidden[:, 1:, :, : self.width].flatten(1, 2)
        torch.bmm(states, weights.above[0], out=cache.links.flatten(1, 2))
        cache.links += cache.bias[0]

    def _column(self, cache: DiagonalBiLSTMCache, j: int) -> Column:
        """Returns the views of column j, made once for all rows."""
        if j not in cache.columns:
            weights, width = cache.matrices, self.width
            cache.columns[j] = Column(
                seen=cache.left.seen(j),
                stem=cache.stem[:, j],
                link=cache.links[:, j],
                beside=cache.hidden[:, j, :, :width],
                layers=[
                    (
                        weights.from_left[k],
                        Gates(cache.gates[k]),
                        cache.cells[k, j],
                        cache.cells[k, j + 1],
                        cache.hidden[k, j + 1, :, :width],
                        cache.hidden[k, j + 1],
                        weights.up[k],
                    )
                    for k in range(self.depth)
                ],
                output=[*cache.inputs[:, j], cache.last],
            )
        return cache.columns[j]
