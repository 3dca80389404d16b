"""What a pass of PixelSNAIL keeps: the row so far, what the row above adds to it, keys and values.

    first pixel of row i                        every pixel (i, j)

    row i - 1 of all convolutions               keys and values of the pixel before, in all blocks
        │ upper halves of the kernels               │
        ▼                                           ▼
    what it adds to row i:  □ □ □ □ □           ul ── window (j - 1, j) + □ ── … ── attention ── …

When a row begins, the row above is final in all layers, in spite of the attention between them: so
what it adds is computed then, for all columns. The pixel itself enters keys and values only, which
are therefore computed one step later, when it is known, for all blocks in one product.
"""

from typing import ClassVar, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from pixelar.caches.affine import Affine
from pixelar.caches.base import Cache, Rows
from pixelar.caches.incremental import ColumnsLeft
from pixelar.caches.pixelsnail_matrices import (
    AttentionMatrices,
    attention_matrices,
    gate_bias,
    layer_matrices,
    memory_matrices,
)
from pixelar.layers.activations import elu
from pixelar.nets.pixelsnail import PixelSNAIL

__all__ = ["PixelSNAILCache"]

Column: TypeAlias = list[list[tuple[Tensor, ...]]]


class Maps:
    """A scratch buffer for the maps (*, 2D) of a gate."""

    def __init__(self, both: Tensor) -> None:
        self.both = both
        self.a, self.b = both.chunk(2, -1)

    def add_to(self, h: Tensor) -> Tensor:
        """Returns h + a ⊙ σ(b), and overwrites b."""
        return torch.addcmul(h, self.a, self.b.sigmoid_())


class PixelSNAILCache(Cache[PixelSNAIL]):
    """The state of a pass over some canvases.

    The biases of gates include the label: one row for each canvas.
    """

    batch_axis: ClassVar = {
        "layer_biases": 0,
        "question_biases": 0,
        "mix_biases": 0,
        "memory_bias": 1,
        "left": 0,
        "above": 0,
        "stem": 0,
        "content": 1,
        "keys": Rows(1, filled=3),
        "values": Rows(1, filled=2),
    }

    @torch.no_grad()
    def __init__(self, net: PixelSNAIL, x: Tensor, labels: Tensor | None = None) -> None:
        super().__init__(net, x, labels)
        batch = x.shape[0]
        self.width, self.key_width = net.width, net.key_width
        channels, height, columns = net.scan.shape
        layers = [layer for block in net.blocks for layer in block.layers]
        self.stem_left = net.stem.left.weight[:, :-1, 1, 0].T.contiguous()  # (C, D)
        self.layers = [layer_matrices(layer) for layer in layers]
        self.attention = [attention_matrices(block) for block in net.blocks]
        self.memory = memory_matrices(net.blocks)
        self.out = Affine.of(net.out)
        self.layer_biases = [
            gate_bias(layer, labels).expand(batch, -1) for layer in layers
        ]  # (B, 2D)
        self.question_biases = [
            gate_bias(block.question, labels).expand(batch, -1) for block in net.blocks
        ]
        self.mix_biases = [gate_bias(block.mix, labels).expand(batch, -1) for block in net.blocks]
        memory = [gate_bias(block.memory, labels).expand(batch, -1) for block in net.blocks]
        self.memory_bias = torch.stack(memory)  # (depth, B, 2E)

        like, sizes = self.out.weight, [self.width, 2 * self.width] * len(layers)
        # what the convolutions read in this row: of each layer `into` and `gates`
        self.left = [ColumnsLeft(2, 1, (batch, columns, self.width), like) for _ in sizes]
        # and what they add from the row above, bias included: (B, W, D or 2D)
        self.above = [like.new_zeros(batch, columns, size) for size in sizes]
        self.stem = like.new_zeros(batch, columns, self.width)  # the same of the stem
        # [x, ul, place] of the newest position, (depth, B, E); its x is known at the next step
        self.content = like.new_zeros(net.depth, batch, channels + self.width + 2)
        self.rows, self.along = net.places[0, 0, :, 0].tolist(), net.places[0, 1, 0].tolist()
        sites = height * columns
        self.keys = like.new_empty(net.depth, batch, self.key_width, sites)  # as q reads them
        self.values = like.new_empty(net.depth, batch, sites, self.width // 2)
        self.filled = 0  # positions that have keys and values
        self.zero, self.one = like.new_zeros(()), like.new_ones(())
        self.make_views()

    @torch.no_grad()
    def step(self, x: Tensor, t: int) -> Tensor:
        net = self.net
        i, j = divmod(t, x.shape[3])
        pixel = None
        if t:
            row, column = divmod(t - 1, x.shape[3])
            pixel = net.embed(x[:, :, row, column])  # (B, C)
            self.remember(pixel, t - 1)
        if j == 0:
            pixels = net.embed(x[:, :, max(i - 1, 0) : i + 1])
            pixels[:, :, -1] = 0  # not known yet: `advance` adds their contribution
            self.begin_row(net.stem(pixels)[:, :, -1].mT, i)
        return self.advance(pixel if j else None, j)

    @torch.no_grad()
    def prefill(self, x: Tensor, stop: int) -> None:
        net = self.net
        i = stop // x.shape[3]
        filled = self.filled = i * x.shape[3]
        if i:
            pixels = net.embed(x[:, :, :i])
            places = net.places[:, :, :i].expand(x.shape[0], -1, -1, -1)
            ul, left = net.stem(pixels), iter(self.left)
            for k, block in enumerate(net.blocks):
                for layer in block.layers:
                    inner = layer.inner(ul)
                    next(left).fill(elu(ul[:, :, -1]).mT)
                    next(left).fill(inner[:, :, -1].mT)
                    ul = layer.finish(ul, inner, self.labels)
                content = torch.cat((pixels, ul, places), 1)
                keys, values = block.keys_values(content, self.labels)
                self.keys[k, ..., :filled], self.values[k, :, :filled] = keys.mT, values
                self.content[k] = content[:, :, -1, -1]
                if k + 1 < net.depth:
                    ul = block.attend(ul, content, self.labels)
        for t in range(filled, stop):
            self.step(x, t)

    def make_views(self) -> None:
        """Allocates the scratch buffers of a step, and makes the views that it writes to."""
        width, (depth, batch, size) = self.width, self.content.shape
        here, room = width + 2, self.content.new_empty
        self.maps = Maps(room(batch, 2 * width))
        self.query_maps = Maps(room(batch, 2 * here))
        self.memory_maps = Maps(room(depth, batch, 2 * size))
        self.first = room(batch, here + width)
        self.inner, self.joined = self.first.split((here, width), 1)
        self.pixel, ul, self.row, self.column = self.content.split((size - here, width, 1, 1), 2)
        contents = self.content[..., size - here :].unbind()
        attention = (self.attention, self.question_biases, self.mix_biases)
        self.blocks = list(zip(contents, ul.unbind(), *attention, strict=True))
        self.columns: dict[int, Column] = {}  # what a step reads and writes in the row, by column
        # for few numbers, or on a GPU, `F.elu` takes less time than calling its parts one by one
        few = batch * width <= 192 or self.content.device.type != "cpu"
        self.elu = elu_of_few if few else self._elu_of_many

    def remember(self, pixel: Tensor, t: int) -> None:
        """Computes the keys and values of all blocks at site t, whose pixel (B, C) is known now."""
        weights, maps = self.memory, self.memory_maps
        self.pixel.copy_(pixel)
        inner = torch.baddbmm(weights.into_bias, self.elu(self.content), weights.into)
        torch.baddbmm(self.memory_bias, self.elu(inner), weights.gates, out=maps.both)
        gated = maps.add_to(self.content)
        made = torch.baddbmm(weights.key_value_bias, gated, weights.key_value)
        self.keys[..., t], self.values[:, :, t] = made.split((self.key_width, self.width // 2), 2)
        self.filled = t + 1

    def begin_row(self, stem: Tensor, i: int) -> None:
        """Computes what row i - 1 adds to row i, for all columns and convolutions.

        Arguments:
            stem: The stem's maps of row i, as far as they come from above, with shape (B, W, D).
            i: The row.
        """
        self.row.fill_(self.rows[i])
        self.stem.copy_(stem)
        for k, (layer, bias) in enumerate(zip(self.layers, self.layer_biases, strict=True)):
            into, gates = self.left[2 * k : 2 * k + 2]
            torch.add(seen_below(into, layer.into_above), layer.into_bias, out=self.above[2 * k])
            below = seen_below(gates, layer.gates_above)
            torch.add(below, bias[:, None], out=self.above[2 * k + 1])

    def advance(self, pixel: Tensor | None, j: int) -> Tensor:
        """Returns the parameters (B, P) of the pixel at column j.

        Arguments:
            pixel: The pixel to the left, with shape (B, C); None at the first column.
            j: The column.
        """
        self.column.fill_(self.along[j])
        ul = self.stem[:, j]
        if pixel is not None:
            ul = torch.addmm(ul, pixel, self.stem_left)
        maps, elu = self.maps, self.elu
        blocks = zip(
            self._column(j),
            self.keys[..., : self.filled].unbind(),
            self.values[:, :, : self.filled].unbind(),
            self.blocks,
            strict=True,
        )
        for layers, keys, values, block in blocks:
            for before, window, above, into, inner, inner_window, gates_above, gates in layers:
                elu(ul, before)
                torch.addmm(above, window, into, out=inner)
                elu(inner, inner)
                torch.addmm(gates_above, inner_window, gates, out=maps.both)
                ul = maps.add_to(ul)
            ul = self._attend(ul, keys, values, *block)
        return self.out(elu(ul))

    def _attend(
        self,
        ul: Tensor,
        keys: Tensor,
        values: Tensor,
        content: Tensor,
        newest: Tensor,
        weights: AttentionMatrices,
        question_bias: Tensor,
        mix_bias: Tensor,
    ) -> Tensor:
        """Returns the stream (B, D) after a block's attention, and keeps the one before it.

        Arguments:
            ul: The stream, with shape (B, D).
            keys: With shape (B, key_width, t).
            values: With shape (B, t, D / 2).
            content: [ul, place], with shape (B, D + 2).
            newest: The part of `content` that ul is written to.
            weights: The block's matrices.
            question_bias: What the query's gate adds.
            mix_bias: What the last gate adds.
        """
        newest.copy_(ul)
        weights.first(self.elu(content), out=self.first)
        joined = self.joined
        if keys.shape[-1]:
            maps = self.query_maps
            torch.addmm(question_bias, self.elu(self.inner), weights.question, out=maps.both)
            q = weights.query(maps.add_to(content))
            seen = torch.bmm(torch.bmm(q[:, None], keys).softmax(-1), values)[:, 0]
            joined = torch.addmm(joined, self.elu(seen), weights.seen)
        torch.addmm(mix_bias, self.elu(joined), weights.mix, out=self.maps.both)
        return self.maps.add_to(ul)

    def _elu_of_many(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """Returns ELU of x, written to `out`; as in `layers.activations`, but without gradients."""
        return torch.maximum(torch.minimum(x, self.zero).exp_().sub_(self.one), x, out=out)

    def _column(self, j: int) -> Column:
        """Returns the views of column j that a step reads and writes, made once for all rows."""
        if j not in self.columns:
            found: list[tuple[Tensor, ...]] = []
            for k, layer in enumerate(self.layers):
                into, gates = self.left[2 * k : 2 * k + 2]
                above, gates_above = self.above[2 * k : 2 * k + 2]
                first = (into.at(j), into.seen(j), above[:, j], layer.into)
                found.append((*first, gates.at(j), gates.seen(j), gates_above[:, j], layer.gates))
            each = len(found) // len(self.attention)
            self.columns[j] = [found[k : k + each] for k in range(0, len(found), each)]
        return self.columns[j]


def elu_of_few(x: Tensor, out: Tensor | None = None) -> Tensor:
    """Returns ELU of x, written to `out`, which may be x."""
    return F.elu(x) if out is None else F.elu_(x if out is x else out.copy_(x))


def seen_below(row: ColumnsLeft, kernel: Tensor) -> Tensor:
    """Returns what a row adds to the row below through the upper half of a kernel: (B, W, out)."""
    return F.conv2d(row.buffer.permute(0, 3, 1, 2), kernel)[:, :, 0].mT
