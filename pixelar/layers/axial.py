"""Attention along one axis of a grid at a time, with what a sampling pass keeps of it.

References:
    Axial Attention in Multidimensional Transformers (Ho et al., 2019),
    https://arxiv.org/abs/1912.12180
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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
        self.heads, self.masked = heads, masked
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, expansion * width)
        self.contract = nn.Linear(expansion * width, width)
        self.dropout = nn.Dropout(dropout)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.contract.weight)

    def queries_keys_values(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns q, k and v of positions (N, L, D), each with shape (N, heads, L, D / heads)."""
        qkv = self.qkv(self.attention_norm(h)).unflatten(-1, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        return q, k, v

    def finish(self, h: Tensor, attended: Tensor) -> Tensor:
        """Returns the block's output (N, L, D) from that of its heads (N, heads, L, D / heads)."""
        h = h + self.dropout(self.project(attended.transpose(1, 2).flatten(2)))
        inner = self.expand(self.mlp_norm(h))
        return h + self.dropout(self.contract(inner * (1.702 * inner).sigmoid()))

    def forward(self, h: Tensor) -> Tensor:
        q, k, v = self.queries_keys_values(h)
        return self.finish(h, F.scaled_dot_product_attention(q, k, v, is_causal=self.masked))


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

    def extend(self, h: Tensor, first: int, above: Tensor) -> Tensor:
        """Returns the output for one row of the grid, or for its first R rows at once.

        Arguments:
            h: The rows, with shape (B, R, W, D).
            first: The index of the first of these rows.
            above: Keys and values along the columns, with shape (2, B, W, heads, H, ·); those of
                the given rows are written to it.
        """
        batch, rows, columns, _ = h.shape
        h = self.row(h.flatten(0, 1)).unflatten(0, (batch, rows)).transpose(1, 2).flatten(0, 1)
        q, k, v = self.column.queries_keys_values(h)  # (B · W, heads, R, D / heads)
        keys, values = above.flatten(1, 2)
        keys[:, :, first : first + rows], values[:, :, first : first + rows] = k, v
        seen = slice(first + rows)
        attended = F.scaled_dot_product_attention(
            q, keys[:, :, seen], values[:, :, seen], is_causal=first == 0
        )
        return self.column.finish(h, attended).unflatten(0, (batch, columns)).transpose(1, 2)


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
