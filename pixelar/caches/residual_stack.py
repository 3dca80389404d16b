"""What the caches of residual stacks have in common: a masked convolution one pixel at a time."""

from typing import ClassVar, Generic, TypeVar

import torch
from torch import Tensor

from pixelar.caches.base import Batched
from pixelar.caches.incremental import ColumnsLeft, RowsAbove
from pixelar.caches.rows import RowCache
from pixelar.layers.masked import MaskedConv2d
from pixelar.nets.residual_stack import ResidualStack

__all__ = ["PixelConv", "ResidualStackCache"]

N = TypeVar("N", bound=ResidualStack)
C = TypeVar("C")


class PixelConv(Batched):
    """A masked convolution of a row that grows pixel by pixel, below rows that are final.

    Attributes:
        above: The rows of its input that the kernel reads above the row.
        left: The row of its input so far.
        link: What the rows above add to every column of the row, bias included: (B, W, out).
        matrix: The kernel's own row as a matrix, (taps · in, out).

    Arguments:
        conv: The convolution; its weights are copied.
        batch: The number of canvases.
        columns: The width of a row.
    """

    batch_axis: ClassVar = {"above": 0, "left": 0, "link": 0}

    @torch.no_grad()
    def __init__(self, conv: MaskedConv2d, batch: int, columns: int) -> None:
        like, taps = conv.weight.detach(), conv.kernel_size[1]
        size = (batch, columns, conv.in_channels)
        self.above = RowsAbove(taps // 2, taps, 1, size, like)
        self.left = ColumnsLeft(taps // 2 + 1, 1, size, like)
        self.link = like.new_zeros(batch, columns, conv.out_channels)
        self.matrix = conv.left_matrix()
        self.kernel = (conv.above(), conv.bias)

    def fill(self, maps: Tensor) -> None:
        """Takes in the last of the rows before the next one, as maps (B, D, R, W), R ≥ 1.

        The last row is final, but joins the rows above when the next row begins.
        """
        self.above.fill(maps[:, :, :-1])
        self.left.fill(maps[:, :, -1].mT)

    def begin_row(self, i: int) -> None:
        """Moves the finished row up, and computes what the rows above add to all of row i."""
        if i:
            self.above.push(self.left.row())
        self.link.copy_(self.above.convolve(*self.kernel))

    def views(self, j: int) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the input at column j (B, D), all that the kernel reads there, and its link."""
        return self.left.at(j), self.left.seen(j), self.link[:, j]


class ResidualStackCache(RowCache[N], Generic[N, C]):
    """What a pass keeps of the first convolution, and the views of each column.

    Attributes:
        stem: The first convolution.
        columns: What a step reads and writes at a column, by column; made once for all rows.
    """

    lazy_views: ClassVar = ("columns",)

    stem: PixelConv
    columns: dict[int, C]

    @torch.no_grad()
    def __init__(self, net: N, x: Tensor, labels: Tensor | None = None) -> None:
        super().__init__(net, x, labels)
        self.readout = net.out.by_pixel()
        self.columns = {}

    def write_pixel(self, symbols: Tensor, column: int) -> None:
        self.stem.left.at(column).copy_(self.net.embed(symbols))

    def column(self, j: int) -> C:
        """Returns the views of column j that a step reads and writes."""
        if j not in self.columns:
            self.columns[j] = self.make_column(j)
        return self.columns[j]

    def make_column(self, j: int) -> C:
        """Creates the views of column j."""
        raise NotImplementedError
