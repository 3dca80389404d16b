"""How an Image Transformer is sampled: from keys and values, of which a step reads some near by."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from pixelar.caches.keys_and_values import KeysAndValues, MemoryCache, look_of
from pixelar.nets.image_transformer import Block, ImageTransformer

__all__ = ["ImageTransformerCache"]


@dataclass(frozen=True)
class BlockMatrices:
    """The weights of a block as matrices from inputs to outputs, with the scale of attention folded
    in.
    """

    qkv: Tensor
    project: Tensor
    expand: Tensor
    contract: Tensor


class ImageTransformerCache(MemoryCache[ImageTransformer]):
    """Keys and values of the positions so far."""

    batch_axis: ClassVar = {"label": 0, "memories": 0}

    label: Tensor  # (B, D)
    matrices: list[BlockMatrices]
    out: Tensor  # (D, P)

    @torch.no_grad()
    def __init__(self, net: ImageTransformer, x: Tensor, labels: Tensor | None = None) -> None:
        super().__init__(net, x, labels)
        size, each = (x.shape[0], net.heads, net.scan.sites), net.width // net.heads
        self.label = net.label(labels).expand(x.shape[0], -1)
        self.matrices = [matrices_of(net, block) for block in net.blocks]
        self.out = net.out.weight.T.contiguous()
        self.blocks = net.blocks
        self.memories = [KeysAndValues(size, (each, each), net.out.weight) for _ in net.blocks]

    @torch.no_grad()
    def steps(self, x: Tensor, first: int, stop: int) -> Tensor:
        net = self.net
        h = self.inputs(x, first, stop).flatten(0, 1)  # (B · n, D)
        by_head, size = (x.shape[0], stop - first, 3, net.heads, -1), (net.width,)
        look = look_of(net.attention, first, stop, h.device)
        for block, weights, memory in zip(net.blocks, self.matrices, self.memories, strict=True):
            q, k, v = (h @ weights.qkv).view(by_head).unbind(2)
            h = torch.addmm(h, memory.attend(q, k, v, look), weights.project)
            h = F.layer_norm(h, size, block.attention_norm.weight, block.attention_norm.bias)
            inner = torch.addmm(block.expand.bias, h, weights.expand).relu_()
            h = torch.addmm(h, inner, weights.contract).add_(block.contract.bias)
            h = F.layer_norm(h, size, block.mlp_norm.weight, block.mlp_norm.bias)
        return torch.addmm(net.out.bias, h, self.out).unflatten(0, (x.shape[0], -1))  # (B, n, P)

    def inputs(self, x: Tensor, first: int, stop: int) -> Tensor:
        net = self.net
        before = net.embed.sites(x, max(first - 1, 0), stop - 1)
        if first == 0:
            before = F.pad(before, (0, 0, 1, 0))
        return before + net.signal[first:stop] + self.label[:, None]


def matrices_of(net: ImageTransformer, block: Block) -> BlockMatrices:
    """Returns the weights in the form that a step reads."""
    scale = torch.ones_like(block.qkv.weight[:, 0])
    scale[: net.width] /= math.sqrt(net.width // net.heads)
    return BlockMatrices(
        qkv=block.qkv.weight.T * scale,
        project=block.project.weight.T.contiguous(),
        expand=block.expand.weight.T.contiguous(),
        contract=block.contract.weight.T.contiguous(),
    )
