"""How an Image Transformer is sampled: from keys and values, of which a step reads some near by."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from pixelar.caches.affine import Affine
from pixelar.caches.keys_and_values import BlockCache, KeysAndValues, MemoryCache
from pixelar.caches.transformer_blocks import PostNormBlock, scaled_queries
from pixelar.nets.image_transformer import ImageTransformer

__all__ = ["ImageTransformerCache"]


class ImageTransformerCache(MemoryCache[ImageTransformer]):
    """Keys and values of the positions so far."""

    batch_axis: ClassVar = {"label": 0, "blocks": 0}

    label: Tensor  # (B, D)
    out: Affine

    @torch.no_grad()
    def __init__(self, net: ImageTransformer, x: Tensor, labels: Tensor | None = None) -> None:
        super().__init__(net, x, labels)
        size, each = (x.shape[0], net.heads, net.scan.sites), net.width // net.heads
        self.label = net.label(labels).expand(x.shape[0], -1)
        self.out = Affine.of(net.out)
        self.blocks = [
            BlockCache(
                block,
                PostNormBlock.of(
                    block, scaled_queries(Affine(block.qkv.weight.T), net.width, net.heads)
                ),
                KeysAndValues(size, (each, each), self.out.weight),
            )
            for block in net.blocks
        ]
        self.patterns = (net.attention,)

    def inputs(self, x: Tensor, first: int, stop: int) -> Tensor:
        net = self.net
        before = net.embed.sites(x, max(first - 1, 0), stop - 1)
        if first == 0:
            before = F.pad(before, (0, 0, 1, 0))
        return before + net.signal[first:stop] + self.label[:, None]

    def readout(self, h: Tensor) -> Tensor:
        return self.out(h)
