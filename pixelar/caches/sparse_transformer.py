"""How a Sparse Transformer is sampled: from keys and values, some of which a step reads."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixelar.caches.keys_and_values import KeysAndValues, MemoryCache, look_of
from pixelar.nets.sparse_transformer import Block, SparseTransformer

__all__ = ["SparseTransformerCache"]


def normalize(h: Tensor) -> Tensor:
    """Returns vectors (*, D) normalized as by a LayerNorm, before scale and shift."""
    return F.layer_norm(h, h.shape[-1:])


def folded(norm: nn.LayerNorm, layer: nn.Linear) -> tuple[Tensor, Tensor]:
    """Returns the bias and the matrix (in, out) of a layer with its norm folded in."""
    bias = layer.weight @ norm.bias
    if layer.bias is not None:
        bias = bias + layer.bias
    return bias, layer.weight.T * norm.weight[:, None]


@dataclass(frozen=True)
class BlockMatrices:
    """The weights of a block, each as a bias and a matrix from inputs to outputs.

    The scales and shifts of norms are folded into them, the scale of attention, and the factor of
        the quick GELU: x σ(1.702 x) = SiLU(1.702 x) / 1.702.
    """

    qkv: tuple[Tensor, Tensor]
    project: tuple[Tensor, Tensor]
    expand: tuple[Tensor, Tensor]
    contract: tuple[Tensor, Tensor]


class SparseTransformerCache(MemoryCache[SparseTransformer]):
    """Keys and values of the positions so far."""

    batch_axis: ClassVar = {"label": 0, "memories": 0}

    places: Tensor  # (T, D)
    label: Tensor  # (B, D)
    matrices: list[BlockMatrices]
    out: tuple[Tensor, Tensor]

    @torch.no_grad()
    def __init__(self, net: SparseTransformer, x: Tensor, labels: Tensor | None = None) -> None:
        super().__init__(net, x, labels)
        size, value = (x.shape[0], net.heads, net.scan.sites), net.width // net.heads
        key = value if net.key_width is None else net.key_width // net.heads
        self.places = net.place()
        self.label = net.label(labels).expand(x.shape[0], -1)
        self.matrices = [matrices_of(net, block) for block in net.blocks]
        self.out = folded(net.norm, net.out)
        self.blocks = net.blocks
        self.memories = [KeysAndValues(size, (key, value), net.start) for _ in net.blocks]

    @torch.no_grad()
    def steps(self, x: Tensor, first: int, stop: int) -> Tensor:
        net = self.net
        h = self.inputs(x, first, stop).flatten(0, 1)  # (B · n, D)
        looks = [look_of(pattern, first, stop, h.device) for pattern in net.patterns]
        for k, (block, weights) in enumerate(zip(net.blocks, self.matrices, strict=True)):
            qkv = torch.addmm(weights.qkv[0], normalize(h), weights.qkv[1])
            q, keys, values = block.by_head(qkv.view(x.shape[0], stop - first, -1))
            attended = self.memories[k].attend(q, keys, values, looks[k % 2])
            h = h + torch.addmm(weights.project[0], attended, weights.project[1])
            inner = torch.addmm(weights.expand[0], normalize(h), weights.expand[1])
            inner = F.silu(inner, inplace=True)
            h = h + torch.addmm(weights.contract[0], inner, weights.contract[1])
        params = torch.addmm(self.out[0], normalize(h), self.out[1])
        return params.unflatten(0, (x.shape[0], -1))  # (B, n, P)

    def inputs(self, x: Tensor, first: int, stop: int) -> Tensor:
        net = self.net
        before = net.embed.sites(x.flatten(1)[:, net.scan.index[max(first - 1, 0) : stop - 1]])
        if first == 0:
            before = torch.cat((net.start_vector(x), before), 1)
        return before + self.places[first:stop] + self.label[:, None]


def matrices_of(net: SparseTransformer, block: Block) -> BlockMatrices:
    """Returns the weights in the form that a step reads."""
    bias, qkv = folded(block.attention_norm, block.qkv)
    inner = folded(block.mlp_norm, block.expand)
    for x in (bias, qkv):
        x[..., : block.sizes[0]] /= math.sqrt(block.sizes[0] // net.heads)
    return BlockMatrices(
        qkv=(bias, qkv),
        project=(block.project.bias, block.project.weight.T.contiguous()),
        expand=(1.702 * inner[0], 1.702 * inner[1]),
        contract=(block.contract.bias, block.contract.weight.T / 1.702),
    )
