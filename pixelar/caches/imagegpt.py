"""How ImageGPT and AnyOrderGPT are sampled: keys and values of the positions so far."""

import math
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from pixelar.caches.affine import Affine
from pixelar.caches.keys_and_values import BlockCache, KeysAndValues, MemoryCache
from pixelar.caches.transformer_blocks import PreNormBlock
from pixelar.layers.sparse_attention import AllBefore
from pixelar.nets.imagegpt import EPSILON, GPT

__all__ = ["GPTCache"]


def normalize(h: Tensor, floor: Tensor) -> Tensor:
    """Returns vectors (*, D) normalized as in `Block`, before scaling, and divided by √D."""
    return h / torch.hypot(torch.linalg.vector_norm(h, dim=-1, keepdim=True), floor)


class GPTCache(MemoryCache[GPT]):
    """Keys and values of the positions so far."""

    batch_axis: ClassVar = {"start": 0, "blocks": 0}

    start: Tensor  # the first position's vector, (B, D)
    places: Tensor  # what is added at every position, (T, D)
    out: Affine
    floor: Tensor  # √(D ε), of `normalize`

    @torch.no_grad()
    def __init__(self, net: GPT, x: Tensor, labels: Tensor | None = None) -> None:
        super().__init__(net, x, labels)
        size, each = (x.shape[0], net.heads, net.scan.sites), net.width // net.heads
        length = math.sqrt(net.width)
        self.start = net.start_vector(x, labels)
        self.places = net.places()
        self.floor = net.start.new_tensor(math.sqrt(net.width * EPSILON))
        normal = partial(normalize, floor=self.floor)
        self.out = Affine(net.out.weight.T).after(net.norm, divided=length)
        self.blocks = [
            BlockCache(
                block,
                PreNormBlock.of(block, net.width, normal, divided=length),
                KeysAndValues(size, (each, each), net.start, columns=True),
            )
            for block in net.blocks
        ]
        self.patterns = (AllBefore(),)

    def inputs(self, x: Tensor, first: int, stop: int) -> Tensor:
        net = self.net
        before = net.embed.sites(x.flatten(1)[:, net.scan.index[max(first - 1, 0) : stop - 1]])
        if first == 0:
            before = torch.cat((self.start[:, None], before), 1)
        return before + self.places[first:stop]

    def readout(self, h: Tensor) -> Tensor:
        return self.out(normalize(h, self.floor))
