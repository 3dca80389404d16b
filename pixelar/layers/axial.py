"""Attention along one axis of a grid at a time.

References:
    Axial Attention in Multidimensional Transformers (Ho et al., 2019),
    https://arxiv.org/abs/1912.12180
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixelar.layers.sparse_attention import AllBefore

__all__ = ["AxialBlock", "Places", "RowsThenColumns"]


class AxialBlock(nn.Module):
    """One pre-norm Transformer block over sequences (N, L, D): rows of grids, or columns.

    Arguments:
        width: D, the length of a position's vector.
        heads: The number of attention heads.
        expansion: The width of the MLP's hidden layer, divided by D.
        dropout: The rate of dropout on what the block adds.
        masked: Whether a position attends only to itself and those before it.
    """

    def __init__(
        self, width: int, heads: int, expansion: int, dropout: float, *, masked: bool
    ) -> None:
        super().__init__()
        self.heads = heads
        self.attention: Callable[[Tensor, Tensor, Tensor], Tensor]
        self.attention = AllBefore() if masked else everywhere
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, expansion * width)
        self.contract = nn.Linear(expansion * width, width)
        self.dropout = nn.Dropout(dropout)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.contract.weight)

    def queries_keys_values(self, h: Tensor) -> tuple[Tensor, ...]:
        """Returns q, k and v of positions (N, L, D), each with shape (N, L, heads, D / heads)."""
        return self.by_head(self.qkv(self.attention_norm(h)))

    def by_head(self, qkv: Tensor) -> tuple[Tensor, ...]:
        """Divides (*, 3D) into queries, keys and values, each with shape (*, heads, D / heads)."""
        return qkv.view(*qkv.shape[:-1], 3, self.heads, -1).unbind(-3)

    def finish(self, h: Tensor, attended: Tensor) -> Tensor:
        """Returns the block's output (N, L, D) from that of its heads (N, L, heads, D / heads)."""
        h = h + self.dropout(self.project(attended.flatten(2)))
        inner = self.expand(self.mlp_norm(h))
        return h + self.dropout(self.contract(inner * (1.702 * inner).sigmoid()))

    def forward(self, h: Tensor) -> Tensor:
        return self.finish(h, self.attention(*self.queries_keys_values(h)))


def everywhere(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Returns attention of (N, L, heads, ·) to all positions, later ones included."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2)


class RowsThenColumns(nn.Module):
    """Attention along the rows of grids (B, H, W, D), then along their columns.

    Arguments:
        width, heads, expansion, dropout: As for a block.
        masked: Whether the columns are masked: a row then depends on itself and the rows above.
    """

    def __init__(
        self, width: int, heads: int, expansion: int, dropout: float, *, masked: bool
    ) -> None:
        super().__init__()
        self.row = AxialBlock(width, heads, expansion, dropout, masked=False)
        self.column = AxialBlock(width, heads, expansion, dropout, masked=masked)

    def forward(self, h: Tensor) -> Tensor:
        batch, height, columns, _ = h.shape
        h = self.row(h.flatten(0, 1)).unflatten(0, (batch, height))
        h = self.column(h.transpose(1, 2).flatten(0, 1)).unflatten(0, (batch, columns))
        return h.transpose(1, 2)


class Places(nn.Module):
    """A learned vector per row plus one per column, with shape (H, W, D)."""

    def __init__(self, height: int, columns: int, width: int) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.empty(height, 1, width))
        self.columns = nn.Parameter(torch.empty(columns, width))
        for vectors in (self.rows, self.columns):
            nn.init.normal_(vectors, std=5 / math.sqrt(width))

    def forward(self) -> Tensor:
        return self.rows + self.columns
