"""How PixelCNN++ is sampled: u by row, ul by pixel, cells of coarse grids when they are entered.

A cell of level s is entered at its upper left pixel, whose row and column are multiples of 2^s:

    level 0  ■ ■ ■ ■ ■ ■      level 1  ■ · ■ · ■ ·      level 2  ■ · · · ■ ·
             ■ ■ ■ ■ ■ ■               · · · · · ·               · · · · · ·
             ■ ■ ■ ■ ■ ■               ■ · ■ · ■ ·               · · · · · ·

When a row begins, u is computed for all of it, on every level where a row begins too, and so is
everything that ul takes from u and from the row above. For a pixel, only ul remains: one product
for each convolution, of two columns that are adjacent in memory. What a coarse cell passes to its
four pixels is computed when it is entered.
"""

from collections.abc import Callable
from functools import partial
from typing import ClassVar, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from pixelar.caches.affine import Affine
from pixelar.caches.base import Cache
from pixelar.caches.pixelcnnpp_matrices import LevelMatrices, PairMatrices, StemMatrices
from pixelar.caches.pixelcnnpp_rows import (
    LevelRows,
    PairRows,
    row_of,
    take_row,
    windows,
    write_rows,
)
from pixelar.layers.activations import concat_elu, elu
from pixelar.nets.pixelcnnpp import PixelCNNPP

__all__ = ["PixelCNNPPCache"]

Program: TypeAlias = list[Callable[[], object]]

elu_into: Callable[..., Tensor] = torch.ops.aten.elu.out


class PixelCNNPPCache(Cache[PixelCNNPP]):
    """Weights as matrices, which all rows of the batch share, and what is kept of rows."""

    batch_axis: ClassVar = {"rows": 0, "stem_u": 0, "pixel": 0, "x": 0, "maps": 0}
    lazy_views: ClassVar = ("programs",)

    stem: StemMatrices
    levels: list[LevelMatrices]
    rows: list[LevelRows]
    stem_u: Tensor  # what the row above adds to u's stem, bias included: (B, W, D)
    pixel: Tensor  # the symbols to the left, (B, C)
    x: Tensor  # scratch buffer for ul and minus ul at a pixel, (B, 2D)
    maps: Tensor  # scratch buffer for the maps of its gate, (B, 2D)
    programs: dict[tuple[int, ...], Program]

    @torch.no_grad()
    def __init__(self, net: PixelCNNPP, x: Tensor, labels: Tensor | None = None) -> None:
        super().__init__(net, x, labels)
        batch, channels, _, width = x.shape
        self.levels = [LevelMatrices.of(net, s) for s in range(net.stages)]
        self.stem = StemMatrices.of(net)
        like = self.stem.u.bias
        self.rows = [
            LevelRows.new(level, (batch, width >> s), labels) for s, level in enumerate(self.levels)
        ]
        self.stem_u = like.expand(batch, width, -1).clone()
        self.pixel = like.new_zeros(batch, channels)
        self.x = like.new_zeros(batch, 2 * len(like))
        self.maps = like.new_zeros(batch, 2 * len(like))
        self.programs = {}

    @torch.no_grad()
    def step(self, x: Tensor, t: int) -> Tensor:
        i, j = divmod(t, x.shape[3])
        self.visit(x, i, j)
        return self.run_pixel(i, j)

    @torch.no_grad()
    def prefill(self, x: Tensor, stop: int) -> None:
        i, columns = divmod(stop, x.shape[3])
        if i:
            self.fill(x, i)
        for j in range(columns):
            self.visit(x, i, j)
            self.run_pixel(i, j)

    def visit(self, x: Tensor, i: int, j: int) -> None:
        """Takes in what is new of the canvas at pixel (i, j): a row, or a pixel."""
        if j == 0:
            self.begin_row(x, i)
        else:
            self.pixel.copy_(x[:, :, i, j - 1])

    def begin_row(self, x: Tensor, i: int) -> None:
        """Runs u for row i of the canvas."""
        coarsest = entered(len(self.levels), i)
        u = self._begin_stem(x, i)
        stream = u, concat_elu(u, -1)
        mirrored = []
        for s, (level, rows) in enumerate(zip(self.levels, self.rows, strict=True)):
            if s:
                assert level.halve_u and level.halve_ul
                u = take_row(rows.halved_u, level.halve_u, stream[0], 2)
                if s > coarsest:
                    break
                stream = u, concat_elu(u, -1)
                above = self.rows[s - 1].top[:, :-1].reshape(*u.shape[:2], -1)
                write_rows(rows.entry, level.halve_ul.above, above)
            mirrored.append(stream[1])
            for weights, kept in zip(level.up, rows.up, strict=True):
                stream = kept.begin_row(weights, stream, None, self.labels)
                mirrored.append(stream[1])
        if coarsest == len(self.levels) - 1:
            mirrored.pop()
        for s in range(coarsest, -1, -1):
            level, rows = self.levels[s], self.rows[s]
            if s + 1 < len(self.levels):
                upper, lower = self.rows[s + 1].doubled_u.chunk(2, -1)
                u = (lower if s == coarsest else upper).reshape(stream[0].shape[0], -1, u.shape[-1])
                stream = u, concat_elu(u, -1)
            for weights, kept in zip(level.down, rows.down, strict=True):
                stream = kept.begin_row(weights, stream, mirrored.pop(), self.labels)
            if level.double_u:
                self._double_row(stream[0], level.double_u, rows.doubled_u)

    def run_pixel(self, i: int, j: int) -> Tensor:
        """Runs ul for pixel (i, j), and returns the parameters (B, P)."""
        coarsest = entered(len(self.levels), i | j)
        for s in range(coarsest + 1):
            for operation in self._program(s, j >> s):
                operation()
        for s in range(coarsest, -1, -1):
            for operation in self._program(s, j >> s, i >> s & 1):
                operation()
        return self.stem.out(elu(self.x.chunk(2, 1)[0]))

    def fill(self, x: Tensor, i: int) -> None:
        """Brings the state, in one parallel pass, to where sampling the rows before i would leave
        it.
        """
        net, side = self.net, 1 << (len(self.levels) - 1)
        u, ul = net.stem(x[:, :, : -(-i // side) * side])
        if i > 1:
            take_row(self.stem_u, self.stem.u, self._pixels(x, i - 2))
        mirrored = []
        for s, (level, rows) in enumerate(zip(self.levels, self.rows, strict=True)):
            last = (i - 1) >> s
            if s:
                finer = (i - 1) >> (s - 1)
                if finer % 2 and level.halve_u:
                    take_row(rows.halved_u, level.halve_u, row_of(u, finer), 2)
                u, ul = net.halve_u[s - 1](u), net.halve_ul[s - 1](ul)
            mirrored.append((u, ul))
            for pair, weights, kept in zip(net.up[s], level.up, rows.up, strict=True):
                u, ul = kept.fill(pair, weights, (u, ul), (None, None), self.labels, last)
                mirrored.append((u, ul))
            rows.top[:, 1:] = row_of(ul, last)
        mirrored.pop()
        for k, stage in enumerate(net.down):
            s = len(self.levels) - 1 - k
            level, rows, last = self.levels[s], self.rows[s], (i - 1) >> s
            if k:
                u, ul = net.double_u[k - 1](u), net.double_ul[k - 1](ul)
            for pair, weights, kept in zip(stage, level.down, rows.down, strict=True):
                u, ul = kept.fill(pair, weights, (u, ul), mirrored.pop(), self.labels, last)
            if level.double_u and level.double_ul:
                self._double_row(row_of(u, last), level.double_u, rows.doubled_u)
                write_rows(rows.doubled_ul, level.double_ul, row_of(ul, last))

    def _pixels(self, x: Tensor, i: int) -> Tensor:
        """Returns the values of a row of the canvas, and ones, with shape (B, W, C + 1)."""
        return F.pad(self.stem.embed(x[:, :, i]).mT, (0, 1), value=1)

    def _begin_stem(self, x: Tensor, i: int) -> Tensor:
        """Returns the input of u in row i (B, W, D), and adds up what ul takes from above."""
        entry, stem = self.rows[0].entry, self.stem
        if i == 0:
            u = torch.zeros_like(entry)
        else:
            pixels = self._pixels(x, i - 1)
            u = take_row(self.stem_u, stem.u, pixels)
            write_rows(entry, stem.above, windows(pixels))
            entry[:, 1:] += pixels[:, :-1] @ stem.left_above
        entry[:, 1:] += stem.left.offset
        return u

    def _double_row(self, u: Tensor, weights: Affine, into: Tensor) -> None:
        following = F.pad(u[:, 1:], (0, 0, 0, 1))
        write_rows(into, weights, torch.cat((u, following), -1))

    def _program(self, s: int, c: int, *odd: int) -> Program:
        """Returns the operations of ul in column c of level s: of the up pass, or, given `odd`, of
        the down pass in an odd or an even row. They are made once for all rows.
        """
        key = (s, c, *odd)
        if key not in self.programs:
            self.programs[key] = self._down(s, c, *odd) if odd else self._up(s, c)
        return self.programs[key]

    def _up(self, s: int, c: int) -> Program:
        level, rows = self.levels[s], self.rows[s]
        x, entry = self.x.chunk(2, 1)[0], rows.entry[:, c]
        if level.halve_ul:
            seen = self.rows[s - 1].top[:, 2 * c : 2 * c + 2].flatten(1)
            program: Program = [partial(torch.addmm, entry, seen, level.halve_ul.here, out=x)]
        elif c:
            program = [partial(torch.addmm, entry, self.pixel, self.stem.left.weight, out=x)]
        else:
            program = [partial(x.copy_, entry)]
        program += self._tell(self._told(s, 0, c))
        for k, (weights, kept) in enumerate(zip(level.up, rows.up, strict=True)):
            program += self._block(weights, kept, c, None)
            program += self._tell(self._told(s, k + 1, c))
        if s + 1 < len(self.levels):
            program.append(partial(rows.top[:, c + 1].copy_, x))
        return program

    def _down(self, s: int, c: int, odd: int) -> Program:
        level, rows = self.levels[s], self.rows[s]
        x = self.x.chunk(2, 1)[0]
        program: Program = []
        last = len(level.up) - 1  # on the coarsest level, the down pass begins with the very last
        if s + 1 < len(self.levels):
            quarter = 2 * odd + c % 2
            coarse = self.rows[s + 1].doubled_ul[:, c // 2].chunk(4, 1)[quarter]
            program += [partial(x.copy_, coarse), *self._tell(rows.down[0].seen[:, c + 1])]
            last += 1
        for k, (weights, kept) in enumerate(zip(level.down, rows.down, strict=True)):
            program += self._block(weights, kept, c, self._told(s, last - k, c))
            if k + 1 < len(rows.down):
                program += self._tell(rows.down[k + 1].seen[:, c + 1])
        if level.double_ul:
            program.append(partial(level.double_ul, x, out=rows.doubled_ul[:, c]))
        return program

    def _told(self, s: int, k: int, c: int) -> Tensor:
        """Returns the buffer for the concatenated ELU of ul after k blocks of the up pass: where
        the next convolution reads it, if there is one.
        """
        rows = self.rows[s]
        if k < len(rows.up):
            return rows.up[k].seen[:, c + 1]
        return rows.told if s + 1 < len(self.levels) else rows.down[0].seen[:, c + 1]

    def _tell(self, place: Tensor) -> Program:
        """Returns the operations that write the concatenated ELU of ul to a buffer."""
        x, minus = self.x.chunk(2, 1)
        return [partial(torch.neg, x, out=minus), partial(elu_into, self.x, out=place)]

    def _block(
        self, weights: PairMatrices, kept: PairRows, c: int, mirrored: Tensor | None
    ) -> Program:
        x, (a, b) = self.x.chunk(2, 1)[0], self.maps.chunk(2, 1)
        seen, between = (row[:, c : c + 2].flatten(1) for row in (kept.seen, kept.between))
        told = kept.between[:, c + 1]
        h, minus = told.chunk(2, 1)
        program: Program = [
            partial(torch.addmm, kept.inner[:, c], seen, weights.ul_inner.here, out=h)
        ]
        if mirrored is not None and weights.ul_short is not None:
            program.append(partial(h.addmm_, mirrored, weights.ul_short))
        return [
            *program,
            partial(torch.neg, h, out=minus),
            partial(torch.celu_, told),
            partial(torch.addmm, kept.outer[:, c], between, weights.ul_outer.here, out=self.maps),
            b.sigmoid_,
            partial(torch.addcmul, x, a, b, out=x),
        ]


def entered(levels: int, at: int) -> int:
    """Returns the coarsest level with a row that begins at this row, or a cell at this pixel."""
    bits = at | 1 << (levels - 1)
    return (bits & -bits).bit_length() - 1
