"""How a Transformer-XL is sampled: by a window for each segment at hand."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor

from pixelar.caches.affine import Affine
from pixelar.caches.base import StepsCache
from pixelar.caches.transformer_blocks import PostNormBlock, scaled_queries
from pixelar.caches.window import Window
from pixelar.layers.recurrence import by_key
from pixelar.nets.transformer_xl import Block, TransformerXL

__all__ = ["TransformerXLCache"]


@dataclass(frozen=True)
class BlockMatrices:
    """The weights of a block, with the scale of attention folded in.

    The query includes u. What v changes does not depend on the query: for each distance it is one
    number, in `offset`.
    """

    folded: PostNormBlock
    distances: Tensor  # W_R R of the distances from N - 1 down to 0, (heads, D / heads, N)
    offset: Tensor  # (heads, 1, N)


class TransformerXLCache(StepsCache[TransformerXL]):
    """The windows of the present segment and, while sites are drawn ahead, of later ones."""

    batch_axis: ClassVar = {"start": 0, "label": 0, "windows": 0}

    start: Tensor  # the first position's vector, (B, D)
    label: Tensor  # (B, D)
    matrices: list[BlockMatrices]
    out: Affine
    windows: list[Window]

    @torch.no_grad()
    def __init__(self, net: TransformerXL, x: Tensor, labels: Tensor | None = None) -> None:
        super().__init__(net, x, labels)
        batch, heads, each = x.shape[0], net.heads, net.width // net.heads
        empty, places = net.start.new_empty, net.sizes.places
        compressing = net.blocks if net.compressed else ()
        window = Window(
            net.sizes,
            keys=[empty(heads, batch, each, places) for _ in net.blocks],
            values=[empty(heads, batch, places, each) for _ in net.blocks],
            inputs=[empty(batch, net.memory + net.segment, net.width) for _ in compressing],
        )
        self.label = net.label(labels).expand(batch, -1)
        self.start = net.start + self.label
        self.matrices = [matrices_of(net, block) for block in net.blocks]
        self.out = Affine.of(net.out)
        self.windows = [window]

    @torch.no_grad()
    def steps(self, x: Tensor, first: int, stop: int) -> Tensor:
        net = self.net
        windows, number = self.windows, first // net.segment
        while windows[-1].number > number:
            windows.pop()  # of sites that were drawn ahead and discarded
        del windows[:-1]
        if windows[0].number < number:
            windows[0].turn(net.blocks)
        stops = [*range((number + 1) * net.segment, stop, net.segment), stop]
        params = [self._places(x, first, stops[0])]
        for begin, end in pairwise(stops):
            windows.append(windows[-1].copy())
            windows[-1].turn(net.blocks)
            params.append(self._places(x, begin, end))
        return torch.cat(params, 1) if len(params) > 1 else params[0]

    @torch.no_grad()
    def prefill(self, x: Tensor, stop: int) -> None:
        net = self.net
        if stop == 0:
            return
        inputs = net.inputs(net.embed(x)[:, : stop - 1], self.label)  # (B, stop, D)
        (window,), memories = self.windows, net.memories(inputs)
        window.number = (stop - 1) // net.segment
        for number, h in enumerate(inputs.split(net.segment, 1)):
            for k, (block, memory) in enumerate(zip(net.blocks, memories, strict=True)):
                seen = memory.before(h)
                if number == window.number:
                    window.fill(k, block, memory, seen)
                h = block(h, seen, net.distances_for(seen, h))

    def _places(self, x: Tensor, first: int, stop: int) -> Tensor:
        """Returns the parameters (B, n, P) of sites within the segment of the last window."""
        net = self.net
        h = net.embed.sites(x.flatten(1)[:, net.scan.index[max(first - 1, 0) : stop - 1]])
        h = h + self.label[:, None]
        if first == 0:
            h = torch.cat((self.start[:, None], h), 1)
        batch, n, window = x.shape[0], stop - first, self.windows[-1]
        begin = net.memory + first % net.segment  # in memory and segment
        now = slice(net.compressed + begin, net.compressed + begin + n)
        seen, h = slice(window.first, now.stop), h.flatten(0, 1)  # (B · n, D)
        distances = slice(net.sizes.places - now.stop + window.first, None)
        later = h.new_full((n, n), -math.inf).triu_(1) if n > 1 else None
        for k, weights in enumerate(self.matrices):
            if window.inputs:
                window.inputs[k][:, begin : begin + n] = h.view(batch, n, -1)
            keys, values = window.keys[k], window.values[k]
            qkv = weights.folded.queries_keys_values(h).view(batch, n, 3, net.heads, -1)
            q, keys[..., now], values[:, :, now] = self._by_head(qkv)
            scores = torch.baddbmm(
                weights.offset[..., distances], q, weights.distances[..., distances]
            )  # (heads, B · n, K)
            scores = scores.view(net.heads * batch, n, -1)
            if later is not None:
                scores = by_key(scores)
                scores[..., -n:] += later
            q = q.view(net.heads * batch, n, -1)
            scores = torch.baddbmm(scores, q, keys.flatten(0, 1)[..., seen])
            attended = torch.bmm(scores.softmax(-1), values.flatten(0, 1)[:, seen])
            attended = attended.view(net.heads, h.shape[0], -1).transpose(0, 1).reshape(h.shape)
            h = weights.folded.finish(h, attended)
        return self.out(h).view(batch, n, -1)

    @staticmethod
    def _by_head(qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns q (heads, B · n, D / heads), and k and v as a window keeps them."""
        q, k, v = qkv.permute(2, 3, 0, 1, 4)  # (heads, B, n, D / heads)
        return q.flatten(1, 2).contiguous(), k.mT, v


def matrices_of(net: TransformerXL, block: Block) -> BlockMatrices:
    """Returns the weights in the form that a step reads."""
    u, v = block.content_bias, block.distance_bias
    r = block.by_head(block.distance(net.distances)).mT.contiguous()  # (heads, D / heads, N)
    qkv = Affine(
        torch.cat((block.query.weight, block.key_value.weight)).T.contiguous(),
        torch.cat((u.flatten(), u.new_zeros(2 * net.width))),
    )
    return BlockMatrices(
        folded=PostNormBlock.of(block, scaled_queries(qkv, net.width, net.heads)),
        distances=r,
        offset=(v - u) / math.sqrt(u.shape[-1]) @ r,
    )
