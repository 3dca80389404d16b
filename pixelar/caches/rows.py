"""Caches of convolutional nets: by row for what the rows above add, then by pixel and colour."""

from typing import TypeVar

import torch
from torch import Tensor

from pixelar.caches.base import Cache
from pixelar.layers.readout import PixelReadout, colours_of
from pixelar.nets.base import Net

__all__ = ["RowCache"]

N = TypeVar("N", bound=Net)


class RowCache(Cache[N]):
    """A cache that computes what the rows above add to a row when it begins, for all columns.

    Attributes:
        readout: Maps the features of a pixel to the parameters of its colours.
    """

    readout: PixelReadout

    def __init__(self, net: N, x: Tensor, labels: Tensor | None = None) -> None:
        super().__init__(net, x, labels)
        self.colours = colours_of(net.scan)

    @torch.no_grad()
    def step(self, x: Tensor, t: int) -> Tensor:
        return self.readout(self.advance(x, t), t % self.colours)

    @torch.no_grad()
    def prefill(self, x: Tensor, stop: int) -> None:
        per_row = self.colours * x.shape[3]
        i = stop // per_row
        if i:
            self.fill_rows(x, i)
        for t in range(i * per_row, stop):
            self.advance(x, t)

    def enter(self, x: Tensor, t: int) -> int:
        """Begins a row of the canvas, or writes its newest pixel; returns the column of site t."""
        pixel, colour = divmod(t, self.colours)
        i, j = divmod(pixel, x.shape[3])
        if j == 0 and colour == 0:
            self.begin_row(x, i)
        else:  # only the pixel of the previous site has changed
            last = j if colour else j - 1
            self.write_pixel(x[:, :, i, last], last)
        return j

    def advance(self, x: Tensor, t: int) -> Tensor:
        """Returns the features (B, D) of the pixel of site t, and keeps what later pixels read."""
        raise NotImplementedError

    def fill_rows(self, x: Tensor, i: int) -> None:
        """Brings a fresh cache, in one pass, to where the steps of the first i ≥ 1 rows would."""
        raise NotImplementedError

    def begin_row(self, x: Tensor, i: int) -> None:
        """Computes what is known of all of row i: the row before it is final."""
        raise NotImplementedError

    def write_pixel(self, symbols: Tensor, column: int) -> None:
        """Writes the symbols (B, C) of a pixel of the row."""
        raise NotImplementedError
