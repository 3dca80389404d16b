"""A masked axial block one position at a time, with keys and values of the positions so far."""

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixelar.caches.base import Batched
from pixelar.layers.axial import AxialBlock

__all__ = ["BlockStep", "folded"]


def folded(norm: nn.LayerNorm, linear: nn.Linear) -> tuple[Tensor, Tensor]:
    """Returns the matrix (in, out) and bias of a linear layer, with the norm's scale and shift
    folded in.
    """
    assert linear.bias is not None
    return linear.weight.T * norm.weight[:, None], linear.bias + linear.weight @ norm.bias


class BlockStep(Batched):
    """A masked block, one position at a time, with keys and values of the positions so far.

    The scales of norms and of attention are folded into its matrices, and so is the factor of the
    quick GELU: x σ(1.702 x) = SiLU(1.702 x) / 1.702.

    Arguments:
        block: The block.
        batch: The number of sequences.
        length: Their length.
    """

    batch_axis: ClassVar = {"keys": 0, "values": 0}

    def __init__(self, block: AxialBlock, batch: int, length: int) -> None:
        self.qkv, self.qkv_bias = folded(block.attention_norm, block.qkv)
        width, each = len(self.qkv), len(self.qkv) // block.heads
        self.shape, self.size = (-1, 3, block.heads, each), (width,)
        for part in (self.qkv, self.qkv_bias):
            part[..., :width] /= math.sqrt(each)
        expand, bias = folded(block.mlp_norm, block.expand)
        self.expand, self.expand_bias = expand * 1.702, bias * 1.702
        self.project, self.project_bias = block.project.weight.T.contiguous(), block.project.bias
        self.contract = block.contract.weight.T / 1.702
        self.contract_bias = block.contract.bias
        self.keys = expand.new_empty(batch, block.heads, each, length)
        self.values = expand.new_empty(batch, block.heads, length, each)

    def __call__(self, h: Tensor, j: int) -> Tensor:
        """Returns the block's output (B, D) for position j, from its input (B, D)."""
        qkv = torch.addmm(self.qkv_bias, F.layer_norm(h, self.size), self.qkv).view(self.shape)
        q, self.keys[..., j], self.values[:, :, j] = qkv.unbind(1)
        q = q.reshape(-1, 1, q.shape[-1])  # (B · heads, 1, D / heads)
        scores = torch.bmm(q, self.keys.flatten(0, 1)[..., : j + 1]).softmax(-1)
        attended = torch.bmm(scores, self.values.flatten(0, 1)[:, : j + 1]).view(h.shape)
        h = torch.addmm(h, attended, self.project).add_(self.project_bias)
        inner = torch.addmm(self.expand_bias, F.layer_norm(h, self.size), self.expand)
        inner = F.silu(inner, inplace=True)
        return torch.addmm(h, inner, self.contract).add_(self.contract_bias)

    def fill(self, block: AxialBlock, h: Tensor) -> Tensor:
        """Takes in the first positions (B, L, D), and returns the block's output for them."""
        q, k, v = block.queries_keys_values(h)
        self.keys[..., : h.shape[1]], self.values[:, :, : h.shape[1]] = k.mT, v
        return block.finish(h, F.scaled_dot_product_attention(q, k, v, is_causal=True))
