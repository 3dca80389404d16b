"""The blocks of Transformers in a sampling pass, for vectors (N, D), with constants folded in.

A block's attention lies between its two methods, in which it differs from other blocks:

    qkv = block.queries_keys_values(h) ── attention ── h = block.finish(h, attended)
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from pixelar.caches.affine import Affine
from pixelar.layers.axial import AxialBlock
from pixelar.nets import image_transformer, imagegpt, sparse_transformer, transformer_xl

__all__ = ["Block", "PostNormBlock", "PreNormBlock", "normalize", "scaled_queries"]

PreNorm: TypeAlias = imagegpt.Block | sparse_transformer.Block | AxialBlock
PostNorm: TypeAlias = image_transformer.Block | transformer_xl.Block
Block: TypeAlias = PreNorm | image_transformer.Block  # with attention to earlier positions alone


def normalize(h: Tensor) -> Tensor:
    """Returns vectors (*, D) normalized as by a LayerNorm, before scale and shift."""
    return F.layer_norm(h, h.shape[-1:])


def scaled_queries(qkv: Affine, queries: int, heads: int) -> Affine:
    """Divides the first outputs, the queries, by the root of a head's length, for attention."""
    scale = torch.ones_like(qkv.weight[0])
    scale[:queries] /= math.sqrt(queries // heads)
    return qkv.scaled(scale)


@dataclass(frozen=True)
class PreNormBlock:
    """A block whose norms come before its layers, with a quick GELU: as SiLU(1.702 x) / 1.702."""

    normalize: Callable[[Tensor], Tensor]
    qkv: Affine
    project: Affine
    expand: Affine
    contract: Affine

    @classmethod
    @torch.no_grad()
    def of(
        cls,
        block: PreNorm,
        queries: int,
        normalize: Callable[[Tensor], Tensor] = normalize,
        divided: float = 1,
    ) -> "PreNormBlock":
        """Returns a net's block.

        Arguments:
            block: The block.
            queries: The length of all heads' queries together.
            normalize: Computes its norms, before scale and shift.
            divided: What `normalize` divides by beyond that.
        """
        # views, of which folding makes copies
        qkv, expand, contract = (
            Affine(layer.weight.T, layer.bias)
            for layer in (block.qkv, block.expand, block.contract)
        )
        return cls(
            normalize=normalize,
            qkv=scaled_queries(qkv.after(block.attention_norm, divided), queries, block.heads),
            project=Affine.of(block.project),
            expand=expand.after(block.mlp_norm, divided).scaled(1.702),
            contract=contract.undoing(1.702),
        )

    def queries_keys_values(self, h: Tensor) -> Tensor:
        """Returns queries, divided by the root of their length, keys and values, (N, ·)."""
        return self.qkv(self.normalize(h))

    def finish(self, h: Tensor, attended: Tensor) -> Tensor:
        """Returns the block's output (N, D) from that of its heads, (N, D)."""
        h = self.project.added_to(h, attended)
        inner = F.silu(self.expand(self.normalize(h)), inplace=True)
        return self.contract.added_to(h, inner)


@dataclass(frozen=True)
class PostNormBlock:
    """A block whose norms come after its sums, with a ReLU.

    The bias of the MLP's second layer is folded into that of the norm before it.
    """

    qkv: Affine
    project: Affine
    attention_norm: tuple[Tensor, Tensor]
    expand: Affine
    contract: Affine
    mlp_norm: tuple[Tensor, Tensor]

    @classmethod
    @torch.no_grad()
    def of(cls, block: PostNorm, qkv: Affine) -> "PostNormBlock":
        """Returns a net's block, given its map to queries, keys and values."""
        expand, contract = Affine.of(block.expand), Affine.of(block.contract)
        norms, bias = (block.attention_norm, block.mlp_norm), contract.offset
        return cls(
            qkv=qkv,
            project=Affine.of(block.project),
            attention_norm=(norms[0].weight, norms[0].bias + bias),
            expand=Affine(expand.weight, expand.offset - bias @ expand.weight),
            contract=Affine(contract.weight),
            mlp_norm=(norms[1].weight, norms[1].bias),
        )

    def queries_keys_values(self, h: Tensor) -> Tensor:
        """Returns queries, divided by the root of their length, keys and values, (N, ·)."""
        return self.qkv(h)

    def finish(self, h: Tensor, attended: Tensor) -> Tensor:
        """Returns the block's output (N, D) from that of its heads, (N, D)."""
        size = h.shape[1:]
        h = F.layer_norm(self.project.added_to(h, attended), size, *self.attention_norm)
        inner = self.expand(h).relu_()
        return F.layer_norm(self.contract.added_to(h, inner), size, *self.mlp_norm)
