"""Row LSTM: a recurrent layer that goes down the image, a whole row at a time.

    x ── 7×7 mask A ── layer × depth ── (ReLU ── 1×1) × … ── parameters

    layer:  x ── k×1 mask B ──(+)── LSTM ──┬── 1×1 mask B ──(+)
            │                  │           h, c              │
            │         k×1 over h of the row above            │
            └────────────────────────────────────────────────┘

What the input adds to the gates, input-to-state, is computed for all rows at once. What the row
above adds to them, state-to-state, depends on k of its pixels, all final, so that it needs no mask
between colours. Row by row, the context widens by k // 2 columns on each side: it is a triangle,
and pixels outside are never read. In the pixel's own row, each layer reads k // 2 columns further
left.

The paper's table 1 has the kernels and their masks. Assumed beyond it: learnt maps of the hidden
state and of the cell state stand for the row above the first.

References:
    Pixel Recurrent Neural Networks (van den Oord et al., 2016), https://arxiv.org/abs/1601.06759
"""

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
from pixelar.nets.base import require_odd
from pixelar.nets.residual_stack import ResidualStack
from pixelar.scan import Scan

__all__ = ["RowLSTM"]


def beside(h: Tensor, taps: int) -> Tensor:
    """Returns what a kernel of `taps` columns reads at every column, with shape (*, W, taps · D).

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

    # compiling would unroll the loop, which takes minutes for a layer and makes it no faster
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


class RowLSTM(ResidualStack):
    """LSTM layers from row to row; takes the scans `raster` and `subpixel`.

    Its context is a triangle above the pixel, and some columns to the left.

    Arguments:
        width: D, the channels of a layer's state (h in the paper); the residual stream has 2D.
        depth: The number of LSTM layers.
        first_kernel_size: The kernel of the first layer, which reads pixels.
        kernel_size: k, the width of the layers' kernels.
        readout: The channels of the 1×1 layers before the last.
        dropout: The rate of dropout on the output of each layer.
        classes: The number of class labels; 0 for none.

    Example:
        >>> from pixelar.scan import raster
        >>> net = RowLSTM(raster((1, 8, 8)), levels=17, out_features=17, width=8, depth=2)
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
        kernel_size: int = 3,
        readout: Sequence[int] = (1024,),
        dropout: float = 0.0,
        classes: int = 0,
    ) -> None:
        require_odd(
            self,
            "to read the row above on both sides",
            first_kernel_size=first_kernel_size,
            kernel_size=kernel_size,
        )
        super().__init__(
            scan, levels, out_features, width, depth, first_kernel_size, readout, dropout, classes
        )
        self.kernel_size = kernel_size
        self.layers: Sequence[RowLayer] = module_list(
            RowLayer(width, kernel_size, scan.shape[2], self.colours, classes, dropout)
            for _ in range(depth)
        )
        self.out = Readout(scan, 2 * width, readout, out_features)

    def forward_features(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        h = self.stem(self.embed(x))  # (B, 2D, H, W)
        for layer in self.layers:
            h = self.run(layer, h, labels)
        return h

    def reach(self) -> int:
        """Returns the larger reach of the first layer, in its one row, and of the state above."""
        return max(self.first_kernel_size // 2, self.kernel_size // 2)
