"""Attention along one axis of a grid at a time, with what a walk keeps of it.

References:
    Axial Attention in Multidimensional Transformers (Ho et al., 2019),
    https://arxiv.org/abs/1912.12180
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["AxialBlock", "BlockStep", "Places", "RowsThenColumns", "folded"]


class AxialBlock(nn.Module):
    """One pre-norm Transformer block over sequences (N, L, D): rows of grids, or columns.

    Arguments:
        width: D, the length of a place's vector.
        heads: The number of attention heads.
        expansion: How many times wider the MLP is inside.
        dropout: The rate of dropout on what the block adds.
        masked: Whether a place sees only itself and those before it.
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
        """Returns q, k and v of places (N, L, D), each with shape (N, heads, L, D / heads)."""
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
        masked: Whether the columns are masked: a row is then told of itself and the rows above.
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
        """Returns the output for a row of the grid, or for all rows from the first.

        Arguments:
            h: The rows, with shape (B, R, W, D).
            first: The number of the first of them.
            above: Keys and values along the columns, which are added to: (2, B, W, heads, H, ·).
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


def folded(norm: nn.LayerNorm, linear: nn.Linear) -> tuple[Tensor, Tensor]:
    """Returns matrix (in, out) and bias of a linear layer, the norm's scale and shift inside."""
    assert linear.bias is not None
    return linear.weight.T * norm.weight[:, None], linear.bias + linear.weight @ norm.bias


class BlockStep:
    """A masked block, one place at a time, with the keys and values of the places so far.

    The scales of norms and of attention are inside its matrices, and so is the factor of the quick
    GELU: x σ(1.702 x) = SiLU(1.702 x) / 1.702.

    Arguments:
        block: The block.
        batch: The number of sequences.
        length: Their length.
    """

    def __init__(self, block: AxialBlock, batch: int, length: int) -> None:
        self.qkv, self.qkv_bias = folded(block.attention_norm, block.qkv)
        width, each = len(self.qkv), len(self.qkv) // block.heads
        self.shape, self.size = (batch, 3, block.heads, each), (width,)
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
        """Returns the block's output (B, D) for place j, from its input (B, D)."""
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
        """Takes in the first places (B, L, D), and returns the block's output for them."""
        q, k, v = block.queries_keys_values(h)
        self.keys[..., : h.shape[1]], self.values[:, :, : h.shape[1]] = k.mT, v
        return block.finish(h, F.scaled_dot_product_attention(q, k, v, is_causal=True))

    def select(self, rows: Tensor) -> None:
        """Keeps these rows of the batch."""
        self.keys, self.values = self.keys[rows], self.values[rows]
        self.shape = (len(rows), *self.shape[1:])
