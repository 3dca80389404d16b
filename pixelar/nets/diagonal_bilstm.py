"""Diagonal BiLSTM: a recurrent layer that crosses the image along its diagonals, from both sides.

    x ── 7×7 mask A ── layer × depth ── (ReLU ── 1×1) × … ── parameters

    layer:  x ──┬── 1×1 mask B ── LSTM from the left ───────────────────┬── 1×1 mask B ──(+)
            │   └── 1×1 mask B ── LSTM from the right ── a row down ───(+)               │
            └────────────────────────────────────────────────────────────────────────────┘

A pixel's state is computed from the state above it and the one beside it. Both lie in the previous
diagonal, so that a whole diagonal is one step (in the paper, rows are skewed to make it a column):

    a0 a1 a2        step   0    1    2    3    4
    b0 b1 b2   ─►          a0   a1   a2   b2   c2        b1 reads a1 and b0
    c0 c1 c2                    b0   b1   c1
                                     c0

From the left, the state depends on all that lies above and to the left. From the right, it depends
on what lies above and to the right, including the rest of the pixel's own row; so it is passed to
the pixel below instead. Both states then depend on earlier pixels only, in all colours, and
state-to-state needs no mask.

One pixel would still be missing. With mask A, the maps at a position depend on the pixels before
it, so the last pixel of a row enters only maps further right. The maps therefore have one more
column, to the right of the image, in which the LSTM from the right begins: the context is then
every earlier pixel.

The paper's table 1 has the kernels and their masks. Assumed beyond it: that column, which adds no
parameters; zeros for the states outside of the image.

References:
    Pixel Recurrent Neural Networks (van den Oord et al., 2016), https://arxiv.org/abs/1601.06759
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixelar.common.graphs import outside_graphs
from pixelar.common.modules import module_list
from pixelar.layers.convlstm import GATES, cell
from pixelar.layers.embedding import LabelEmbedding
from pixelar.layers.masked import MaskedConv2d
from pixelar.layers.readout import Readout
from pixelar.layers.shifted import shift_down
from pixelar.nets.base import require_odd
from pixelar.nets.residual_stack import ResidualStack
from pixelar.scan import Scan

__all__ = ["DiagonalBiLSTM"]


def by_diagonal(height: int, width: int, device: torch.device) -> tuple[Tensor, list[int]]:
    """Returns the pixels of an image (H·W,) diagonal by diagonal, each from the top, and the
    lengths of the diagonals.

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

    # compiling would unroll the loop, which takes minutes for a layer and makes it no faster
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
            # the last diagonal's states, with zeros outside of the image; the first is the one
            # above the first pixel of this diagonal, which from diagonal W on is one row lower
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


class DiagonalBiLSTM(ResidualStack):
    """LSTM layers along both diagonals; takes the scans `raster` and `subpixel`.

    Arguments:
        width: D, the channels of a layer's state (h in the paper); the residual stream has 2D.
        depth: The number of layers, each with an LSTM from the left and one from the right.
        first_kernel_size: The kernel of the first layer, which reads pixels.
        readout: The channels of the 1×1 layers before the last.
        dropout: The rate of dropout on the output of each layer.
        classes: The number of class labels; 0 for none.

    Example:
        >>> from pixelar.scan import raster
        >>> net = DiagonalBiLSTM(raster((1, 8, 8)), levels=17, out_features=17, width=8, depth=2)
        >>> net(torch.zeros(5, 1, 8, 8, dtype=torch.long)).shape
        torch.Size([5, 64, 17])
    """

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
        require_odd(
            self, "to read the pixels beside and above", first_kernel_size=first_kernel_size
        )
        super().__init__(
            scan, levels, out_features, width, depth, first_kernel_size, readout, dropout, classes
        )
        self.layers: Sequence[DiagonalLayer] = module_list(
            DiagonalLayer(width, self.colours, classes, dropout) for _ in range(depth)
        )
        self.out = Readout(scan, 2 * width, readout, out_features)

    def forward_features(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        h = self.stem(self.pixels(x))  # (B, 2D, H, W + 1)
        for layer in self.layers:
            h = self.run(layer, h, labels)
        return h[..., :-1]

    def pixels(self, x: Tensor) -> Tensor:
        """Returns the pixels' values with the extra column at the right, (B, C, R, W + 1)."""
        return F.pad(self.embed(x), (0, 1))
