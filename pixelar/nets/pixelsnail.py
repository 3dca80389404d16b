"""PixelSNAIL: causal convolutions for what is near, attention for all that came before.

One stream ul, which sees what is above and to the left, at full resolution:

    x ── shifted down, right ── ul ── block × depth ── ELU ── 1×1 ── parameters

    block:  ul ── gated 2×2 × layers ──┬──────────────────────────── gated 1×1 ── ul'
                                       ├── [x, ul, place] ─ k, v ┐      │
                                       └── [ul, place] ──── q ── attention

    gated:  h ── ELU ── conv ──(+)── ELU ── conv ── a ⊙ σ(b) ──(+)── h'
             │                 1×1 of what attention saw        │
             └──────────────────────────────────────────────────┘

The 2×2 convolutions are shifted, down and to the right, so that ul never holds the pixel of its own
place. Keys and values do hold it, and so attention is strict: place t looks at the places before t,
and the first one sees nothing, which is zero. Keys, values and queries go through gated 1×1 blocks
of their own; `place` is the row and the column, from -½ to ½.

Two things are as in the authors' program, with which the net has the 46 M parameters that it is
known for: activations are ELU (concatenated ELU would make it 85 M), and attention has one head.
Assumed: each coordinate is one plane, where the program repeats it for every colour; there is no
weight normalisation, so the second convolution of a gated block begins at a tenth of the usual
size, as theirs does.

References:
    PixelSNAIL: An Improved Autoregressive Generative Model (Chen et al., 2018),
    https://arxiv.org/abs/1712.09763
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixelar.errors import PixelarError
from pixelar.layers.embedding import LabelEmbedding, PixelValues
from pixelar.layers.incremental import ColumnsLeft
from pixelar.layers.shifted import (
    DownRightShiftedConv2d,
    DownShiftedConv2d,
    shift_down,
    shift_right,
)
from pixelar.nets.base import Net, keep_rows, require_positive, require_scan
from pixelar.scan import Scan

__all__ = ["PixelSNAIL"]


class Stem(nn.Module):
    """What is above and to the left of a pixel; a plane of ones tells the image from its padding."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.above = DownShiftedConv2d(channels + 1, width, (1, 3))
        self.left = DownRightShiftedConv2d(channels + 1, width, (2, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """Returns maps (B, D, H, W) from values (B, C, H, W)."""
        marked = F.pad(pixels, (0, 0, 0, 0, 0, 1), value=1.0)
        return shift_down(self.above(marked)) + shift_right(self.left(marked))


class GatedBlock(nn.Module):
    """The gated residual block of PixelCNN++, with convolutions of choice.

    Arguments:
        width: The channels of input and output.
        conv: Makes a convolution from its channels in and out.
        dropout: The rate of dropout between the two convolutions.
        classes: The number of class labels.
        extra: The channels of a second input, which the first convolution is joined by.
    """

    def __init__(
        self,
        width: int,
        conv: Callable[[int, int], nn.Conv2d],
        dropout: float,
        classes: int,
        extra: int = 0,
    ) -> None:
        super().__init__()
        self.into = conv(width, width)
        self.extra = pointwise(extra, width) if extra else None
        self.gates = conv(width, 2 * width)
        self.label = LabelEmbedding(classes, 2 * width)
        self.dropout = nn.Dropout(dropout)
        with torch.no_grad():
            for parameter in self.gates.parameters():
                parameter.mul_(0.1)

    def forward(self, h: Tensor, labels: Tensor | None, extra: Tensor | None = None) -> Tensor:
        return self.finish(h, self.inner(h, extra), labels)

    def inner(self, h: Tensor, extra: Tensor | None = None) -> Tensor:
        """Returns what the second convolution reads, with the shape of h."""
        inner = self.into(F.elu(h))
        if self.extra is not None and extra is not None:
            inner = inner + self.extra(F.elu(extra))
        return self.dropout(F.elu(inner))

    def finish(self, h: Tensor, inner: Tensor, labels: Tensor | None) -> Tensor:
        """Returns the block's output, with the shape of h."""
        a, b = (self.gates(inner) + self.label(labels)[..., None, None]).chunk(2, 1)
        return h + a * b.sigmoid()


def pointwise(in_channels: int, out_channels: int) -> nn.Conv2d:
    """Returns a 1×1 convolution."""
    return nn.Conv2d(in_channels, out_channels, 1)


def attend_before(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Returns what each place sees of the values (B, T, F) of the places before it; the first sees
    zero.
    """
    seen = F.scaled_dot_product_attention(q[:, 1:], k[:, :-1], v[:, :-1], is_causal=True)
    return F.pad(seen, (0, 0, 1, 0))


class Block(nn.Module):
    """Gated 2×2 convolutions, then attention to all places before."""

    def __init__(
        self,
        channels: int,
        width: int,
        layers: int,
        key_width: int,
        dropout: float,
        classes: int,
    ) -> None:
        super().__init__()
        self.channels, self.split = channels, (key_width, width // 2)
        self.layers: Sequence[GatedBlock] = nn.ModuleList(  # type: ignore[assignment]
            GatedBlock(width, DownRightShiftedConv2d, dropout, classes) for _ in range(layers)
        )
        self.memory = GatedBlock(channels + width + 2, pointwise, dropout, classes)
        self.key_value = pointwise(channels + width + 2, sum(self.split))
        self.question = GatedBlock(width + 2, pointwise, dropout, classes)
        self.query = pointwise(width + 2, key_width)
        self.mix = GatedBlock(width, pointwise, dropout, classes, extra=width // 2)

    def forward(self, ul: Tensor, pixels: Tensor, places: Tensor, labels: Tensor | None) -> Tensor:
        """Returns the stream ul (B, D, H, W) after this block.

        Arguments:
            ul: The stream before, with shape (B, D, H, W).
            pixels: Values with shape (B, C, H, W).
            places: Coordinates with shape (B, 2, H, W).
            labels: Classes with shape (B,).
        """
        for layer in self.layers:
            ul = layer(ul, labels)
        return self.attend(ul, torch.cat((pixels, ul, places), 1), labels)

    def attend(self, ul: Tensor, content: Tensor, labels: Tensor | None) -> Tensor:
        """Returns ul joined by what attention sees of [x, ul, place] at the places before."""
        k, v = self.keys_values(content, labels)
        q = self.query(self.question(content[:, self.channels :], labels)).flatten(2).mT
        seen = attend_before(q, k, v)  # (B, T, D / 2)
        return self.mix(ul, labels, seen.mT.unflatten(2, ul.shape[2:]))

    def keys_values(self, content: Tensor, labels: Tensor | None) -> Sequence[Tensor]:
        """Returns keys (B, T, key_width) and values (B, T, D / 2)."""
        return self.key_value(self.memory(content, labels)).flatten(2).mT.split(self.split, -1)


@dataclass(frozen=True)
class LayerMatrices:
    """A gated 2×2 block. Of each convolution: what it sees of the row above, as a kernel, and of
    its own row, as a matrix.
    """

    into_above: Tensor  # (D, D, 1, 2)
    into_bias: Tensor
    into: Tensor  # (2D, D)
    gates_above: Tensor  # (2D, D, 1, 2)
    gates: Tensor  # (2D, 2D)


@dataclass(frozen=True)
class AttentionMatrices:
    """A block's attention. The blocks of the query and of the mixing begin with the same product:
    both read ELU of ul. The scale of attention is inside the query's.
    """

    first: Tensor  # (D + 2, (D + 2) + D)
    first_bias: Tensor
    question: Tensor  # (D + 2, 2 (D + 2))
    query: Tensor
    query_bias: Tensor
    seen: Tensor  # (D / 2, D)
    mix: Tensor  # (D, 2D)


@dataclass(frozen=True)
class Matrices:
    """The weights as a step uses them; keys and values of all blocks are made together."""

    stem: Tensor  # what the pixel to the left adds, (C, D)
    layers: list[LayerMatrices]
    attention: list[AttentionMatrices]
    memory: tuple[Tensor, ...]  # of E = C + D + 2: (depth, E, E), bias, (depth, E, 2E)
    key_value: tuple[Tensor, Tensor]  # (depth, E, key_width + D / 2), bias
    out: Tensor
    out_bias: Tensor


@dataclass(frozen=True)
class GateBiases:
    """The biases of all gates, with the label in them: one row, or one for each canvas."""

    layers: list[Tensor]  # (B, 2D)
    question: list[Tensor]  # (B, 2 (D + 2))
    mix: list[Tensor]  # (B, 2D)
    memory: Tensor  # (depth, B, 2E)


Column: TypeAlias = list[list[tuple[Tensor, ...]]]


@dataclass
class PixelSNAILCache:
    """The row so far, what the row above adds to it, and keys and values of all places before."""

    matrices: Matrices
    biases: GateBiases
    labels: Tensor | None
    left: list[ColumnsLeft]  # what convolutions read in this row: of each layer `into`, `gates`
    above: list[Tensor]  # what they add from the row above, bias included: (B, W, D or 2D)
    stem: Tensor  # the same of the stem, (B, W, D)
    content: Tensor  # [x, ul, place] of the newest place, (depth, B, E); x comes with the next step
    keys: Tensor  # (depth, B, key_width, T): as the product with q reads them
    values: Tensor  # (depth, B, T, D / 2)
    maps: Tensor  # room for the maps of a gate, (B, 2D)
    filled: int = 0  # places that have keys and values
    columns: dict[int, Column] = field(default_factory=dict)  # views of these, by column


class PixelSNAIL(Net):
    """Shifted convolutions and causal attention; takes the scan `raster`.

    A label moves the gates of every block.

    Arguments:
        width: D, the channels of the stream; even.
        depth: The number of blocks.
        layers: The gated 2×2 convolutional blocks in each block, before its attention.
        key_width: The length of keys and queries; values have half the width.
        dropout: The rate of dropout inside the gated blocks.
        classes: The number of class labels; 0 for none.

    Example:
        >>> from pixelar.scan import raster
        >>> net = PixelSNAIL(raster((3, 8, 8)), 256, 100, width=16, depth=2, layers=2)
        >>> net(torch.zeros(5, 3, 8, 8, dtype=torch.long)).shape
        torch.Size([5, 64, 100])
    """

    embed: PixelValues

    def __init__(
        self,
        scan: Scan,
        levels: int,
        out_features: int,
        *,
        width: int = 256,
        depth: int = 12,
        layers: int = 4,
        key_width: int = 16,
        dropout: float = 0.0,
        classes: int = 0,
    ) -> None:
        super().__init__(scan, levels, out_features, classes)
        require_scan(self, ("raster",))
        require_positive(self, width=width, depth=depth, layers=layers, key_width=key_width)
        if width % 2:
            raise PixelarError(
                f"net PixelSNAIL: width must be even, for values of half the width; got {width}"
            )
        self.width, self.depth, self.layers = width, depth, layers
        self.key_width, self.dropout = key_width, dropout
        channels, height, columns = scan.shape
        self.embed = PixelValues(levels)
        self.stem = Stem(channels, width)
        self.blocks: Sequence[Block] = nn.ModuleList(  # type: ignore[assignment]
            Block(channels, width, layers, key_width, dropout, classes) for _ in range(depth)
        )
        self.out = pointwise(width, out_features)
        places = torch.meshgrid(
            torch.arange(height) / height - 0.5, torch.arange(columns) / columns - 0.5, indexing="ij"
        )
        self.register_buffer("places", torch.stack(places)[None], persistent=False)
        self.places: Tensor  # (1, 2, H, W)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.read(self.features(x, labels))

    def features(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        pixels = self.embed(x)  # (B, C, H, W)
        places = self.places.expand(len(x), -1, -1, -1)
        ul = self.stem(pixels)  # (B, D, H, W)
        for block in self.blocks:
            ul = self.run(block, ul, pixels, places, labels)
        return ul

    def read(self, features: Tensor) -> Tensor:
        return self.out(F.elu(features)).flatten(2).mT  # (B, T, P)

    @torch.no_grad()
    def init_cache(self, x: Tensor, labels: Tensor | None = None) -> PixelSNAILCache:
        batch, columns, width = len(x), self.scan.shape[2], self.width
        sizes = [width, 2 * width] * (self.depth * self.layers)
        like, sites = self.out.weight, (self.depth, batch, self.scan.sites)
        return PixelSNAILCache(
            matrices=self._matrices(),
            biases=self._biases(labels),
            labels=labels,
            left=[ColumnsLeft(2, 1, (batch, columns, width), like) for _ in sizes],
            above=[like.new_zeros(batch, columns, size) for size in sizes],
            stem=like.new_zeros(batch, columns, width),
            content=like.new_zeros(self.depth, batch, x.shape[1] + width + 2),
            keys=like.new_empty(*sites[:2], self.key_width, sites[2]),
            values=like.new_empty(*sites, width // 2),
            maps=like.new_zeros(batch, 2 * width),
        )

    @torch.no_grad()
    def step(self, x: Tensor, t: int, cache: PixelSNAILCache) -> Tensor:
        i, j = divmod(t, x.shape[3])
        if t:
            last = divmod(t - 1, x.shape[3])
            pixel = self.embed(x[:, :, last[0], last[1]])  # (B, C)
            self._remember(pixel, t - 1, cache)
        if j == 0:
            self._begin_row(x, i, cache)
        cache.content[:, :, -2:] = self.places[0, :, i, j]
        ul, matrices, biases = cache.stem[:, j], cache.matrices, cache.biases
        if j:
            ul = torch.addmm(ul, pixel, matrices.stem)
        maps, a, b = cache.maps, cache.maps[:, : self.width], cache.maps[:, self.width :]
        blocks = zip(
            self._column(cache, j),
            cache.content[:, :, x.shape[1] :].unbind(),
            cache.keys[..., :t].unbind(),
            cache.values[:, :, :t].unbind(),
            zip(matrices.attention, biases.question, biases.mix, strict=True),
            strict=True,
        )
        for layers, content, keys, values, attention in blocks:
            for before, window, above, into, inner, inner_window, gates_above, gates in layers:
                before.copy_(F.elu(ul))
                torch.addmm(above, window, into, out=inner)
                F.elu_(inner)
                torch.addmm(gates_above, inner_window, gates, out=maps)
                ul = torch.addcmul(ul, a, b.sigmoid_())
            content[:, : self.width] = ul
            ul = self._attend(content, keys, values, *attention)
        return torch.addmm(matrices.out_bias, F.elu(ul), matrices.out)  # (B, P)

    @torch.no_grad()
    def prefill(self, x: Tensor, stop: int, cache: PixelSNAILCache) -> None:
        columns = x.shape[3]
        i = stop // columns
        if i:
            pixels = self.embed(x[:, :, :i])
            places = self.places[:, :, :i].expand(len(x), -1, -1, -1)
            cache.filled = i * columns
            ul, left = self.stem(pixels), iter(cache.left)
            for k, block in enumerate(self.blocks):
                for layer in block.layers:
                    inner = layer.inner(ul)
                    next(left).fill(F.elu(ul[:, :, -1]).mT)
                    next(left).fill(inner[:, :, -1].mT)
                    ul = layer.finish(ul, inner, cache.labels)
                content = torch.cat((pixels, ul, places), 1)
                keys, values = block.keys_values(content, cache.labels)
                cache.keys[k, ..., : cache.filled] = keys.mT
                cache.values[k, :, : cache.filled] = values
                cache.content[k] = content[:, :, -1, -1]
                if k + 1 < self.depth:
                    ul = block.attend(ul, content, cache.labels)
        for t in range(i * columns, stop):
            self.step(x, t, cache)

    @torch.no_grad()
    def select(self, cache: PixelSNAILCache, rows: Tensor) -> PixelSNAILCache:
        for left in cache.left:
            left.select(rows)
        keys, values = (
            tensor.new_empty(self.depth, len(rows), *tensor.shape[2:])
            for tensor in (cache.keys, cache.values)
        )
        keys[..., : cache.filled] = cache.keys[:, rows, :, : cache.filled]
        values[:, :, : cache.filled] = cache.values[:, rows, : cache.filled]
        labels = None if cache.labels is None else cache.labels[rows]
        return replace(
            cache,
            biases=cache.biases if labels is None else self._biases(labels),
            labels=labels,
            above=keep_rows(cache.above, rows),
            stem=cache.stem[rows],
            content=cache.content[:, rows],
            keys=keys,
            values=values,
            maps=cache.maps[rows],
            columns={},
        )

    def _begin_row(self, x: Tensor, i: int, cache: PixelSNAILCache) -> None:
        """Computes what the row above adds to row i, for all columns and convolutions."""
        pixels = self.embed(x[:, :, max(i - 1, 0) : i + 1])
        pixels[:, :, -1] = 0  # not known yet; a step adds its left neighbour's
        cache.stem.copy_(self.stem(pixels)[:, :, -1].mT)
        for k, (layer, bias) in enumerate(
            zip(cache.matrices.layers, cache.biases.layers, strict=True)
        ):
            into, gates = cache.left[2 * k : 2 * k + 2]
            cache.above[2 * k].copy_(seen_below(into, layer.into_above) + layer.into_bias)
            cache.above[2 * k + 1].copy_(seen_below(gates, layer.gates_above) + bias[:, None])

    def _remember(self, pixel: Tensor, t: int, cache: PixelSNAILCache) -> None:
        """Makes the keys and values of all blocks at site t, whose pixel (B, C) is known now."""
        content, (into, into_bias, gates) = cache.content, cache.matrices.memory
        key_value, key_value_bias = cache.matrices.key_value
        content[:, :, : pixel.shape[1]] = pixel
        inner = F.elu_(torch.baddbmm(into_bias, F.elu(content), into))
        a, b = torch.baddbmm(cache.biases.memory, inner, gates).chunk(2, -1)
        made = torch.baddbmm(key_value_bias, torch.addcmul(content, a, b.sigmoid_()), key_value)
        cache.keys[..., t] = made[..., : self.key_width]
        cache.values[:, :, t] = made[..., self.key_width :]
        cache.filled = t + 1

    def _attend(
        self,
        content: Tensor,
        keys: Tensor,
        values: Tensor,
        matrices: AttentionMatrices,
        question_bias: Tensor,
        mix_bias: Tensor,
    ) -> Tensor:
        """Returns the stream (B, D) after a block's attention, from [ul, place] (B, D + 2)."""
        first = torch.addmm(matrices.first_bias, F.elu(content), matrices.first)
        inner, joined = first.split((self.width + 2, self.width), 1)
        a, b = torch.addmm(question_bias, F.elu(inner), matrices.question).chunk(2, 1)
        asked = torch.addcmul(content, a, b.sigmoid_())
        q = torch.addmm(matrices.query_bias, asked, matrices.query)
        if keys.shape[-1]:
            seen = torch.bmm(torch.bmm(q[:, None], keys).softmax(-1), values)[:, 0]
            joined = torch.addmm(joined, F.elu_(seen), matrices.seen)
        a, b = torch.addmm(mix_bias, F.elu(joined), matrices.mix).chunk(2, 1)
        return torch.addcmul(content[:, : self.width], a, b.sigmoid_())

    def _column(self, cache: PixelSNAILCache, j: int) -> Column:
        """Returns the views of column j that a step reads and writes, made once for all rows."""
        if j not in cache.columns:
            found = []
            for k, layer in enumerate(cache.matrices.layers):
                (into, gates), (above, gates_above) = (
                    pair[2 * k : 2 * k + 2] for pair in (cache.left, cache.above)
                )
                found.append(
                    (into.at(j), into.seen(j), above[:, j], layer.into)
                    + (gates.at(j), gates.seen(j), gates_above[:, j], layer.gates)
                )
            cache.columns[j] = [
                found[k : k + self.layers] for k in range(0, len(found), self.layers)
            ]
        return cache.columns[j]

    def _biases(self, labels: Tensor | None) -> GateBiases:
        def bias(block: GatedBlock) -> Tensor:
            assert block.gates.bias is not None
            return block.gates.bias + block.label(labels)

        return GateBiases(
            layers=[bias(layer) for block in self.blocks for layer in block.layers],
            question=[bias(block.question) for block in self.blocks],
            mix=[bias(block.mix) for block in self.blocks],
            memory=torch.stack([bias(block.memory) for block in self.blocks]),
        )

    def _matrices(self) -> Matrices:
        layers = []
        for layer in (layer for block in self.blocks for layer in block.layers):
            (into_above, into), (gates_above, gates) = map(halves, (layer.into, layer.gates))
            layers.append(LayerMatrices(into_above, layer.into.bias, into, gates_above, gates))
        memory = [block.memory for block in self.blocks]
        key_value = [block.key_value for block in self.blocks]
        return Matrices(
            stem=self.stem.left.weight[:, :-1, 1, 0].T.contiguous(),
            layers=layers,
            attention=[self._attention(block) for block in self.blocks],
            memory=(
                *stacked([block.into for block in memory]),
                stacked([block.gates for block in memory])[0],
            ),
            key_value=stacked(key_value),
            out=matrix(self.out),
            out_bias=self.out.bias,
        )

    def _attention(self, block: Block) -> AttentionMatrices:
        question, mix = block.question, block.mix
        assert mix.extra is not None
        reads_ul = F.pad(matrix(mix.into), (0, 0, 0, 2))  # and nothing of its place
        scale = 1 / math.sqrt(self.key_width)
        return AttentionMatrices(
            first=torch.cat((matrix(question.into), reads_ul), 1),
            first_bias=torch.cat((question.into.bias, mix.into.bias + mix.extra.bias)),
            question=matrix(question.gates),
            query=matrix(block.query) * scale,
            query_bias=block.query.bias * scale,
            seen=matrix(mix.extra),
            mix=matrix(mix.gates),
        )


def matrix(conv: nn.Conv2d) -> Tensor:
    """Returns a 1×1 convolution as a matrix (in, out)."""
    return conv.weight[:, :, 0, 0].T.contiguous()


def stacked(convs: Sequence[nn.Conv2d]) -> tuple[Tensor, Tensor]:
    """Returns 1×1 convolutions as matrices (n, in, out) and biases (n, 1, out)."""
    biases = [conv.bias[None] for conv in convs if conv.bias is not None]
    return torch.stack([matrix(conv) for conv in convs]), torch.stack(biases)


def halves(conv: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Returns the upper row of a 2×2 kernel, with shape (out, in, 1, 2), and the lower as a matrix
    (2 · in, out).
    """
    above = conv.weight[:, :, :1].contiguous(memory_format=torch.channels_last)
    return above, conv.weight[:, :, 1].permute(2, 1, 0).flatten(0, 1)


def seen_below(row: ColumnsLeft, kernel: Tensor) -> Tensor:
    """Returns what the row below sees of a row through the upper half of a kernel: (B, W, out)."""
    return F.conv2d(row.buffer.permute(0, 3, 1, 2), kernel)[:, :, 0].mT
