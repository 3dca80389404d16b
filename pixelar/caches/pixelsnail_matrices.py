"""The weights of a PixelSNAIL as matrices, in the form that a step reads."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixelar.caches.affine import Affine
from pixelar.nets.pixelsnail import Block, GatedBlock

__all__ = [
    "AttentionMatrices",
    "LayerMatrices",
    "MemoryMatrices",
    "attention_matrices",
    "gate_bias",
    "halves",
    "layer_matrices",
    "memory_matrices",
]


@dataclass(frozen=True)
class LayerMatrices:
    """A gated 2×2 block. Each convolution is divided into a kernel, which reads the row above, and
    a matrix, which reads its own row.
    """

    into_above: Tensor  # (D, D, 1, 2)
    into_bias: Tensor
    into: Tensor  # (2D, D)
    gates_above: Tensor  # (2D, D, 1, 2)
    gates: Tensor  # (2D, 2D)


@dataclass(frozen=True)
class AttentionMatrices:
    """A block's attention. The gated blocks of the query and of the mixing begin with one product,
    since both read ELU of ul. The scale of attention is folded into the query's matrix.
    """

    first: Affine  # (D + 2, (D + 2) + D)
    question: Tensor  # (D + 2, 2 (D + 2))
    query: Affine
    seen: Tensor  # (D / 2, D)
    mix: Tensor  # (D, 2D)


@dataclass(frozen=True)
class MemoryMatrices:
    """The weights of keys and values of all blocks, from [x, ul, place] with E = C + D + 2
    channels.
    """

    into: Tensor  # (depth, E, E)
    into_bias: Tensor
    gates: Tensor  # (depth, E, 2E)
    key_value: Tensor  # (depth, E, key_width + D / 2)
    key_value_bias: Tensor


def layer_matrices(layer: GatedBlock) -> LayerMatrices:
    """Returns the matrices of a gated 2×2 block."""
    into_above, into = halves(layer.into)
    gates_above, gates = halves(layer.gates)
    return LayerMatrices(into_above, bias_of(layer.into), into, gates_above, gates)


def attention_matrices(block: Block) -> AttentionMatrices:
    """Returns the matrices of a block's attention."""
    question, mix = block.question, block.mix
    assert mix.extra is not None
    from_ul = F.pad(matrix(mix.into), (0, 0, 0, 2))  # zeros: the position does not enter
    mix_bias = bias_of(mix.into) + bias_of(mix.extra)
    return AttentionMatrices(
        first=Affine(
            torch.cat((matrix(question.into), from_ul), 1),
            torch.cat((bias_of(question.into), mix_bias)),
        ),
        question=matrix(question.gates),
        query=Affine.of(block.query).scaled(1 / math.sqrt(block.query.out_channels)),
        seen=matrix(mix.extra),
        mix=matrix(mix.gates),
    )


def memory_matrices(blocks: Sequence[Block]) -> MemoryMatrices:
    """Returns the matrices of the keys and values of all blocks."""
    return MemoryMatrices(
        into=torch.stack([matrix(block.memory.into) for block in blocks]),
        into_bias=torch.stack([bias_of(block.memory.into)[None] for block in blocks]),
        gates=torch.stack([matrix(block.memory.gates) for block in blocks]),
        key_value=torch.stack([matrix(block.key_value) for block in blocks]),
        key_value_bias=torch.stack([bias_of(block.key_value)[None] for block in blocks]),
    )


def gate_bias(block: GatedBlock, labels: Tensor | None) -> Tensor:
    """Returns the bias of a gated block's maps (B, 2D), label included."""
    told: Tensor = block.label(labels)
    return bias_of(block.gates) + told


def bias_of(conv: nn.Conv2d) -> Tensor:
    assert conv.bias is not None
    return conv.bias.detach()


def matrix(conv: nn.Conv2d) -> Tensor:
    """Returns a 1×1 convolution as a matrix (in, out), without its bias."""
    return Affine.of(conv).weight


def halves(conv: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Returns the upper row of a 2×2 kernel, with shape (out, in, 1, 2), and the lower as a matrix
    (2 · in, out).
    """
    kernel = conv.weight.detach()
    above = kernel[:, :, :1].contiguous(memory_format=torch.channels_last)
    return above, kernel[:, :, 1].permute(2, 1, 0).flatten(0, 1)
