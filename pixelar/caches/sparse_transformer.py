"""How a Sparse Transformer is sampled: from keys and values, some of which a step reads."""

from typing import ClassVar

import torch
from torch import Tensor

from pixelar.caches.affine import Affine
from pixelar.caches.keys_and_values import BlockCache, KeysAndValues, MemoryCache
from pixelar.caches.transformer_blocks import PreNormBlock, normalize
from pixelar.nets.sparse_transformer import SparseTransformer

__all__ = ["SparseTransformerCache"]


class SparseTransformerCache(MemoryCache[SparseTransformer]):
    """Keys and values of the positions so far."""

    batch_axis: ClassVar = {"label": 0, "blocks": 0}

    places: Tensor  # (T, D)
    label: Tensor  # (B, D)
    out: Affine

    @torch.no_grad()
    def __init__(self, net: SparseTransformer, x: Tensor, labels: Tensor | None = None) -> None:
        super().__init__(net, x, labels)
        size = (x.shape[0], net.heads, net.scan.sites)
        keys = net.width if net.key_width is None else net.key_width
        lengths = (keys // net.heads, net.width // net.heads)
        self.places = net.place()
        self.label = net.label(labels).expand(x.shape[0], -1)
        self.out = Affine(net.out.weight.T).after(net.norm)
        self.blocks = [
            BlockCache(block, PreNormBlock.of(block, keys), KeysAndValues(size, lengths, net.start))
            for block in net.blocks
        ]
        self.patterns = net.patterns

    def inputs(self, x: Tensor, first: int, stop: int) -> Tensor:
        net = self.net
        before = net.embed.sites(x.flatten(1)[:, net.scan.index[max(first - 1, 0) : stop - 1]])
        if first == 0:
            before = torch.cat((net.start_vector(x), before), 1)
        return before + self.places[first:stop] + self.label[:, None]

    def readout(self, h: Tensor) -> Tensor:
        return self.out(normalize(h))
