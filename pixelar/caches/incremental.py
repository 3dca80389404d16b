"""Convolutions one position at a time: the part of its input that each keeps, laid out so that the
next position is one product of a view with a matrix.

A causal k×k kernel reads the rows above, which are final when a row begins, and the row of the
pixel, which grows from the left:

    1 1 1     RowsAbove      all columns of a row in one product, when the row begins
    1 1       ColumnsLeft    one column

Where the row above is needed only a few columns further right, pixels of several rows can be
computed at once, each a fixed number of columns behind the one above it (Diagonals).

All keep channels last, and only as many rows, columns or diagonals as the kernel reads, however
large the image is.
"""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from pixelar.caches.base import Batched

__all__ = ["ColumnsLeft", "Diagonals", "RowsAbove", "last_rows"]


def last_rows(maps: Tensor, count: int) -> Tensor:
    """Returns the last rows of maps (B, D, R, W), all where there are fewer."""
    return maps[:, :, max(0, maps.shape[2] - count) :]


class RowsAbove(Batched):
    """The newest rows of a convolution's input, with zeros beside and above the image.

    Arguments:
        rows: How many rows the kernel reads: its taps in height.
        taps: Its taps in width.
        dilation: The distance between taps.
        size: The batch, the width of a row and the channels (B, W, D).
        like: A tensor with the data type and device of the buffer.
    """

    batch_axis: ClassVar = {"buffer": 0}

    def __init__(
        self, rows: int, taps: int, dilation: int, size: tuple[int, int, int], like: Tensor
    ) -> None:
        batch, self.width, self.channels = size
        self.taps, self.rows, self.dilation = taps, rows, dilation
        self.margin = dilation * (taps // 2)
        kept = dilation * (rows - 1) + 1 if rows else 0
        self.buffer = like.new_zeros(batch, kept, self.width + 2 * self.margin, self.channels)

    def push(self, row: Tensor) -> None:
        """Takes in a row (B, W, D); the others move up, and the oldest is dropped."""
        if self.rows == 0:
            return
        if self.buffer.shape[1] > 1:
            self.buffer[:, :-1] = self.buffer[:, 1:].clone()
        self.buffer[:, -1, self.margin : self.margin + self.width] = row

    def convolve(self, kernel: Tensor, bias: Tensor) -> Tensor:
        """Returns the result for the newest row, with shape (B, W, out).

        Arguments:
            kernel: With shape (out, D, rows, taps); quickest if channels come last in memory.
            bias: With shape (out,).
        """
        if self.rows == 0:
            return bias.expand(len(self.buffer), self.width, -1)
        maps = self.buffer.permute(0, 3, 1, 2)  # (B, D, rows, W + margins), channels last
        return F.conv2d(maps, kernel, bias, dilation=self.dilation)[:, :, 0].mT

    def fill(self, maps: Tensor) -> None:
        """Takes in the last of consecutive rows, given as maps (B, D, R, W), R ≥ 0."""
        kept = self.buffer.shape[1]
        last = F.pad(maps, (0, 0, kept, 0))[:, :, maps.shape[2] :]
        self.buffer[:, :, self.margin : self.margin + self.width] = last.permute(0, 2, 3, 1)


class ColumnsLeft(Batched):
    """A row of a convolution's input, with zeros to the left of the image.

    Columns that are one dilation apart are adjacent in memory, so that what the kernel reads is a
    view.

    Arguments:
        taps: How many columns the kernel reads, the pixel's own included.
        dilation: The distance between taps.
        size: The batch, the width of a row and the channels (B, W, D).
        like: A tensor with the data type and device of the buffer.
    """

    batch_axis: ClassVar = {"buffer": 0}

    def __init__(self, taps: int, dilation: int, size: tuple[int, int, int], like: Tensor) -> None:
        batch, self.width, channels = size
        self.taps, self.dilation = taps, dilation
        length = taps - 1 + -(-self.width // dilation)
        self.buffer = like.new_zeros(batch, dilation, length, channels)

    def at(self, j: int) -> Tensor:
        """Returns column j as a view (B, D), which may be written to."""
        place, phase = divmod(j, self.dilation)
        return self.buffer[:, phase, place + self.taps - 1]

    def seen(self, j: int) -> Tensor:
        """Returns what the kernel reads at column j as a view (B, taps · D)."""
        place, phase = divmod(j, self.dilation)
        return self.buffer[:, phase, place : place + self.taps].flatten(1)

    def row(self) -> Tensor:
        """Returns the whole row, with shape (B, W, D)."""
        columns = self.buffer[:, :, self.taps - 1 :].transpose(1, 2).flatten(1, 2)
        return columns[:, : self.width]

    def fill(self, row: Tensor) -> None:
        """Takes in a whole row (B, W, D)."""
        missing = -self.width % self.dilation
        columns = F.pad(row, (0, 0, 0, missing)).unflatten(1, (-1, self.dilation))
        self.buffer[:, :, self.taps - 1 :] = columns.transpose(1, 2)


class Diagonals:
    """A convolution's input along a wavefront: pixel (i, j) is in wave j + skew · i.

    Within a wave, pixels are held by row. A tap di rows up and dj columns to the right is in the
    row di above of an earlier wave, by skew · di - dj waves.

    Arguments:
        kernel_size: The kernel's height and width, odd; its live taps are the rows above, the
            columns to the left and the centre.
        skew: How many columns the wave lags in each row, relative to the row above it.
        size: The batch, the height of the image and the channels (B, H, D).
        like: A tensor with the data type and device of the buffer.
    """

    def __init__(
        self, kernel_size: int, skew: int, size: tuple[int, int, int], like: Tensor
    ) -> None:
        batch, height, channels = size
        side = self.margin = kernel_size // 2
        taps = [(di, dj) for di in range(side, 0, -1) for dj in range(-side, side + 1)]
        taps += [(0, dj) for dj in range(-side, 1)]
        self.taps = [(di, skew * di - dj) for di, dj in taps]
        self.kept = max(lag for _, lag in self.taps) + 1
        self.buffer = like.new_zeros(self.kept, batch, side + height, channels)

    def begin(self, wave: int) -> None:
        """Replaces the oldest wave by a new one, which is zero until it is written."""
        self.buffer[wave % self.kept].zero_()

    def at(self, wave: int, rows: slice) -> Tensor:
        """Returns the pixels of a wave in these rows as a view (B, n, D) to be written to."""
        return self.buffer[wave % self.kept, :, self._shifted(rows, 0)]

    def seen(self, wave: int, rows: slice) -> Tensor:
        """Returns what the kernel reads at the pixels of a wave, with shape (B, n, taps · D)."""
        return torch.cat(
            [
                self.buffer[(wave - lag) % self.kept, :, self._shifted(rows, di)]
                for di, lag in self.taps
            ],
            -1,
        )

    def _shifted(self, rows: slice, up: int) -> slice:
        return slice(rows.start + self.margin - up, rows.stop + self.margin - up)
