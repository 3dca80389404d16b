"""Row LSTM: a recurrent layer that goes down the image, a whole row at a time.

    x ── 7×7 mask A ── layer × depth ── (ReLU ── 1×1) × … ── parameters

    layer:  x ── k×1 mask B ──(+)── LSTM ──┬── 1×1 mask B ──(+)
            │                  │           h, c              │
            │         k×1 over h of the row above            │
            └────────────────────────────────────────────────┘

What the input tells the gates, input-to-state, is computed for all rows at once. What the row above
tells them, state-to-state, sees k of its pixels, all final, so that it needs no mask between
colours. Row by row, the context widens by k // 2 columns on each side: it is a triangle, and pixels
outside are never seen. In the pixel's own row, each layer sees k // 2 columns further left.

The paper's table 1 has the kernels and their masks. Not in it, and assumed: above the first row
stands a learnt map of the hidden state, and one of the cell state.

References:
    Pixel Recurrent Neural Networks (van den Oord et al., 2016), https://arxiv.org/abs/1601.06759
"""

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
from pixelar.nets.base import Net, keep_rows, require_positive, require_scan
from pixelar.scan import Scan

__all__ = ["RowLSTM"]


def beside(h: Tensor, taps: int) -> Tensor:
    """Returns what a kernel of so many taps sees at every column, with shape (*, W, taps · D).

    Arguments:
        h: A row with shape (*, W, D).
        taps: An odd number; outside the row there are zeros.
    """
    padded, columns = F.pad(h, (0, 0, taps // 2, taps // 2)), h.shape[-2]
    return torch.cat([padded.narrow(-2, tap, columns) for tap in range(taps)], -1)


class RowLayer(nn.Module):
    """One LSTM layer with its residual connection: 2D → D → 2D maps."""

    def __init__(
        self,
        width: int,
        kernel_size: int,
        columns: int,
        colours: int,
        classes: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.input = MaskedConv2d(
            2 * width, GATES * width, (1, kernel_size), "B", colours=colours, halves=GATES
        )
        self.state = nn.Conv1d(width, GATES * width, kernel_size, bias=False)
        self.initial = nn.Parameter(torch.zeros(2, columns, width))  # h and c above the first row
        self.up = MaskedConv2d(width, 2 * width, (1, 1), "B", colours=colours)
        self.label = LabelEmbedding(classes, GATES * width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, labels: Tensor | None) -> Tensor:
        return self.expand(x, self.sweep(x, labels)[0])

    # compiled, the loop would be unrolled: minutes for a layer, and no quicker then
    @outside_graphs
    def sweep(self, x: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """Returns the hidden states (B, D, H, W), and the last row's cell states (B, W, D)."""
        taps = self.state.kernel_size[0]
        to_state = self.input(x) + self.label(labels)[..., None, None]  # (B, 4D, H, W)
        h, c = (s.expand(x.shape[0], -1, -1) for s in self.initial)  # (B, W, D)
        rows = []
        for row in to_state.permute(2, 0, 3, 1).flatten(1, 2):  # (B · W, 4D)
            maps = torch.addmm(row, beside(h, taps).flatten(0, 1), self.state_matrix())
            h, c = cell(maps.view(*c.shape[:2], -1), c)
            rows.append(h)
        return torch.stack(rows, 1).permute(0, 3, 1, 2), c

    def expand(self, x: Tensor, hidden: Tensor) -> Tensor:
        """Returns the layer's output, with shape (B, 2D, H, W)."""
        return x + self.up(self.dropout(hidden))

    def state_matrix(self) -> Tensor:
        """Returns the state-to-state kernel as a matrix (k · D, 4D)."""
        return self.state.weight.permute(2, 1, 0).flatten(0, 1)


@dataclass(frozen=True)
class Matrices:
    """The weights of a walk; all rows of the batch share them."""

    stem_above: tuple[Tensor, Tensor]  # kernel, bias
    stem_left: Tensor  # matrix
    state: Tensor  # of all layers, (L, k · D, 4D)
    input: list[Tensor]  # the columns up to the centre as matrices
    up: list[Tensor]  # matrices whose last row is the bias
    readout: PixelReadout


@dataclass
class RowLSTMCache:
    """The row of the next pixel: inputs and states of all L layers, and what the row above it adds.

    The batch is the second dimension of all of the layers' tensors.
    """

    matrices: Matrices
    labels: Tensor | None
    above: RowsAbove  # of the first convolution
    left: ColumnsLeft
    stem: Tensor  # what the rows above add to the first convolution, (B, W, 2D)
    bias: Tensor  # of the gates, label included: (L, B, 1, 4D)
    links: Tensor  # what the row above adds to the gates, bias included: (L, B, W, 4D)
    inputs: Tensor  # behind zeros that stand left of the image, (L, B, k // 2 + W, 2D)
    hidden: Tensor  # each beside a one, (L, B, W, D + 1)
    cells: Tensor  # (L, B, W, D)
    cells_above: Tensor  # of the row above
    gates: Gates  # room for the gates of a pixel, (B, 4D)
    last: Tensor  # and for what the last layer puts out, (B, 2D)
    columns: dict[int, list[tuple[Tensor, ...]]] = field(default_factory=dict)  # views, by column


class RowLSTM(Net):
    """LSTM layers from row to row; takes the scans `raster` and `subpixel`.

    Its context is a triangle above the pixel, and some columns to the left.

    Arguments:
        width: D, the channels of a layer's state (h in the paper); the residual stream has 2D.
        depth: The number of LSTM layers.
        first_kernel_size: The kernel of the first layer, which looks at pixels.
        kernel_size: k, the width of the layers' kernels.
        readout: The channels of the 1×1 layers before the last.
        dropout: The rate of dropout on what each layer puts out.
        classes: The number of class labels; 0 for none.

    Example:
        >>> from pixelar.scan import raster
        >>> net = RowLSTM(raster((1, 8, 8)), levels=17, out_features=17, width=8, depth=2)
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
        kernel_size: int = 3,
        readout: Sequence[int] = (1024,),
        dropout: float = 0.0,
        classes: int = 0,
    ) -> None:
        super().__init__(scan, levels, out_features, classes)
        require_scan(self, ("raster", "subpixel"))
        require_positive(self, width=width, depth=depth)
        for name, size in (
            ("first_kernel_size", first_kernel_size),
            ("kernel_size", kernel_size),
        ):
            if size < 3 or size % 2 == 0:
                raise ConfigError(
                    f"net RowLSTM: {name} must be odd and at least 3, to see the row above on both "
                    f"sides; got {size}"
                )
        self.width, self.depth, self.dropout = width, depth, dropout
        self.first_kernel_size, self.kernel_size = first_kernel_size, kernel_size
        self.readout = tuple(readout)
        self.colours = colours_of(scan)
        channels, _, columns = scan.shape
        self.embed = PixelValues(levels)
        self.stem = MaskedConv2d(
            channels, 2 * width, (first_kernel_size,) * 2, "A", colours=self.colours
        )
        self.layers: Sequence[RowLayer] = nn.ModuleList(  # type: ignore[assignment]
            RowLayer(width, kernel_size, columns, self.colours, classes, dropout)
            for _ in range(depth)
        )
        self.out = Readout(scan, 2 * width, readout, out_features)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.read(self.features(x, labels))

    def features(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        h = self.stem(self.embed(x))  # (B, 2D, H, W)
        for layer in self.layers:
            h = self.run(layer, h, labels)
        return h

    def read(self, features: Tensor) -> Tensor:
        return self.out(features)  # (B, T, P)

    def reach(self) -> int:
        """The columns of the first layer, in its one row, or of the state above."""
        return max(self.first_kernel_size // 2, self.kernel_size // 2)

    def init_cache(self, x: Tensor, labels: Tensor | None = None) -> RowLSTMCache:
        batch, columns, width = x.shape[0], self.scan.shape[2], self.width
        like, stem, depth = self.stem.weight.detach(), self.stem, self.depth
        taps, channels = stem.kernel_size[1], stem.in_channels
        bias = [layer.input.bias + layer.label(labels) for layer in self.layers]  # (B or 1, 4D)
        initial = torch.stack([layer.initial for layer in self.layers]).detach()  # (L, 2, W, D)
        hidden = like.new_ones(depth, batch, columns, width + 1)
        hidden[..., :-1] = initial[:, :1]
        cells = like.new_empty(depth, batch, columns, width)
        return RowLSTMCache(
            matrices=self._matrices(),
            labels=labels,
            above=RowsAbove(taps // 2, taps, 1, (batch, columns, channels), like),
            left=ColumnsLeft(taps // 2 + 1, 1, (batch, columns, channels), like),
            stem=like.new_zeros(batch, columns, 2 * width),
            bias=torch.stack(bias).detach().expand(-1, batch, -1)[:, :, None].clone(),
            links=like.new_zeros(depth, batch, columns, GATES * width),
            inputs=like.new_zeros(depth, batch, self.kernel_size // 2 + columns, 2 * width),
            hidden=hidden,
            cells=cells.copy_(initial[:, 1:]),
            cells_above=torch.zeros_like(cells),
            gates=Gates(like.new_zeros(batch, GATES * width)),
            last=like.new_zeros(batch, 2 * width),
        )

    @torch.no_grad()
    def step(self, x: Tensor, t: int, cache: RowLSTMCache) -> Tensor:
        self._advance(x, t, cache)
        return cache.matrices.readout(cache.last, t % self.colours)

    @torch.no_grad()
    def prefill(self, x: Tensor, stop: int, cache: RowLSTMCache) -> None:
        per_row = self.colours * x.shape[3]
        i = stop // per_row
        if i:
            pixels = self.embed(x[:, :, :i])
            cache.above.fill(pixels[:, :, :-1])  # the last row is taken in when row i begins
            h = self.stem(pixels)
            for k, layer in enumerate(self.layers):
                hidden, cells = layer.sweep(h, cache.labels)
                cache.hidden[k, ..., :-1] = hidden[:, :, -1].mT
                cache.cells[k] = cells
                h = layer.expand(h, hidden)
        for t in range(i * per_row, stop):
            self._advance(x, t, cache)

    def select(self, cache: RowLSTMCache, rows: Tensor) -> RowLSTMCache:
        cache.above.select(rows)
        cache.left.select(rows)
        bias, links, inputs, hidden, cells, cells_above = keep_rows(
            [
                cache.bias,
                cache.links,
                cache.inputs,
                cache.hidden,
                cache.cells,
                cache.cells_above,
            ],
            rows,
            dim=1,
        )
        return replace(
            cache,
            labels=None if cache.labels is None else cache.labels[rows],
            stem=cache.stem[rows],
            bias=bias,
            links=links,
            inputs=inputs,
            hidden=hidden,
            cells=cells,
            cells_above=cells_above,
            gates=Gates(cache.gates.maps[rows]),
            last=cache.last[rows],
            columns={},
        )

    @torch.no_grad()
    def _matrices(self) -> Matrices:
        return Matrices(
            stem_above=(self.stem.above(), self.stem.bias),
            stem_left=self.stem.left_matrix(),
            state=torch.stack([layer.state_matrix() for layer in self.layers]),
            input=[layer.input.left_matrix() for layer in self.layers],
            up=[torch.cat((layer.up.left_matrix(), layer.up.bias[None])) for layer in self.layers],
            readout=self.out.by_pixel(),
        )

    def _advance(self, x: Tensor, t: int, cache: RowLSTMCache) -> None:
        """Runs all layers for the pixel of site t, up to the readout."""
        pixel, colour = divmod(t, self.colours)
        i, j = divmod(pixel, x.shape[3])
        if j == 0 and colour == 0:
            self._begin_row(x, i, cache)
        else:  # the pixel of the site before is the only one that has changed
            last = j if colour else j - 1
            cache.left.at(last).copy_(self.embed(x[:, :, i, last]))
        (h, pixels, link), *layers = self._column(cache, j)
        torch.addmm(link, pixels, cache.matrices.stem_left, out=h)
        gates = cache.gates
        for h, seen, link, above, c, hidden, joined, matrix, up, output in layers:
            torch.addmm(link, seen, matrix, out=gates.maps)
            gates.close(above, c, hidden)
            torch.addmm(h, joined, up, out=output)

    def _begin_row(self, x: Tensor, i: int, cache: RowLSTMCache) -> None:
        """Computes what is known of all of row i: the row before it is final."""
        if i:
            cache.left.fill(self.embed(x[:, :, i - 1]).mT)
            cache.above.push(cache.left.row())
        cache.stem.copy_(cache.above.convolve(*cache.matrices.stem_above))
        seen = beside(cache.hidden[..., :-1], self.kernel_size).flatten(1, 2)  # (L, B · W, k · D)
        links = cache.links.view(*seen.shape[:2], -1)
        torch.bmm(seen, cache.matrices.state, out=links)
        cache.links += cache.bias
        cache.cells_above.copy_(cache.cells)

    def _column(self, cache: RowLSTMCache, j: int) -> list[tuple[Tensor, ...]]:
        """Returns the views of column j that a step reads and writes, made once for all rows."""
        if j not in cache.columns:
            taps, weights = self.kernel_size // 2 + 1, cache.matrices
            inputs = [*cache.inputs[:, :, j + taps - 1], cache.last]
            found: list[tuple[Tensor, ...]] = [(inputs[0], cache.left.seen(j), cache.stem[:, j])]
            for k, (matrix, up) in enumerate(zip(weights.input, weights.up, strict=True)):
                joined = cache.hidden[k, :, j]
                found.append(
                    (
                        inputs[k],
                        cache.inputs[k, :, j : j + taps].flatten(1),
                        cache.links[k, :, j],
                        cache.cells_above[k, :, j],
                        cache.cells[k, :, j],
                        joined[:, :-1],
                        joined,
                        matrix,
                        up,
                        inputs[k + 1],
                    )
                )
            cache.columns[j] = found
        return cache.columns[j]
