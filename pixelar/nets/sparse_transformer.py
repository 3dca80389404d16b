"""Sparse Transformer: attention factorised into two patterns that together cover everything.

    start, x₀, …, x_{T-2} ── embed + row + column + channel ── A, B, A, B, … ── LayerNorm ── head

    block:  h ── LayerNorm ── attention under A or B ──(+)── LayerNorm ── MLP ──(+)
             └──────────────────────────────────────────┘└──────────────────────┘

Blocks alternate between A and B. What A gathers from near by, B carries far, and with a stride near
√T both attend to about √T positions instead of T:

    strided     A: the last l positions             B: every l-th position
    fixed       A: the own block of l positions     B: the last c positions of every block

The strided pattern is made for images, where l positions are a row or more. Each pattern is one
line of `pixelar.layers.patterns`. Of the three ways in the paper to use two patterns, this is the
one that alternates them.

As in the paper and its released code: biases, the normal distributions of the weights, with those
of residual branches smaller by √(2 depth), a head that starts at zero, and x σ(1.702 x). Assumed: A
attends to l positions, the query's own included, as in the code (the paper's set has one more,
which is in B); B of the fixed pattern includes the query's own position as well, where the paper
leaves the first queries with no keys; the position is that of the site that is predicted.

References:
    Generating Long Sequences with Sparse Transformers (Child et al., 2019),
    https://arxiv.org/abs/1904.10509
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from pixelar.common.modules import module_list
from pixelar.errors import ConfigError
from pixelar.layers.embedding import LabelEmbedding, TokenEmbedding
from pixelar.layers.positions import PlaceEmbedding
from pixelar.layers.sparse_attention import (
    Every,
    Last,
    OwnBlock,
    SparseAttention,
    Summaries,
)
from pixelar.nets.base import Net, require_positive
from pixelar.scan import Scan

__all__ = ["SparseTransformer"]

VARIANCE = 0.125  # of the weights, times their inputs


class Block(nn.Module):
    """One pre-norm Transformer block, whose attention is sparse."""

    def __init__(
        self,
        width: int,
        heads: int,
        key_width: int,
        expansion: int,
        attention: SparseAttention,
        dropout: float,
    ) -> None:
        super().__init__()
        self.heads, self.sizes, self.attention = heads, (key_width, key_width, width), attention
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, sum(self.sizes))
        self.project = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, expansion * width)
        self.contract = nn.Linear(expansion * width, width)
        self.dropout = nn.Dropout(dropout)

    def queries_keys_values(self, h: Tensor) -> list[Tensor]:
        """Returns q, k and v of positions (B, L, D), each with shape (B, L, heads, ·)."""
        return self.by_head(self.qkv(self.attention_norm(h)))

    def by_head(self, qkv: Tensor) -> list[Tensor]:
        """Divides (*, ·) into queries, keys and values, each with shape (*, heads, ·)."""
        parts = qkv.split(self.sizes, -1)
        return [x.view(*x.shape[:-1], self.heads, x.shape[-1] // self.heads) for x in parts]

    def finish(self, h: Tensor, attended: Tensor) -> Tensor:
        """Returns the block's output (B, L, D) from that of its heads (B, L, heads, ·)."""
        h = h + self.dropout(self.project(attended.flatten(2)))
        inner = self.expand(self.mlp_norm(h))
        return h + self.dropout(self.contract(inner * (1.702 * inner).sigmoid()))

    def forward(self, h: Tensor) -> Tensor:
        return self.finish(h, self.attention(*self.queries_keys_values(h)))


class SparseTransformer(Net):
    """A causal Transformer over the sites of any scan, with sparse attention.

    A label is added at every position.

    Arguments:
        width: D, the length of a position's vector.
        depth: The number of blocks, which alternate between the two patterns.
        heads: The number of attention heads; divides the width.
        pattern: "strided", made for images, or "fixed".
        stride: l, the positions in a block; about √T, or a row.
        summaries: c, the positions of a block that all later ones attend to, in the fixed pattern.
        key_width: The length of all heads' keys and queries together; D if it is not given.
        expansion: The width of the MLP's hidden layer, divided by D.
        dropout: The rate of dropout on the embedding and on what each block adds.
        classes: The number of class labels; 0 for none.

    Example:
        >>> from pixelar.scan import raster
        >>> net = SparseTransformer(raster((1, 8, 8)), 17, 17, width=32, depth=2, heads=4, stride=8)
        >>> net(torch.zeros(5, 1, 8, 8, dtype=torch.long)).shape
        torch.Size([5, 64, 17])
    """

    embed: TokenEmbedding

    def __init__(
        self,
        scan: Scan,
        levels: int,
        out_features: int,
        *,
        width: int = 256,
        depth: int = 32,
        heads: int = 4,
        pattern: Literal["strided", "fixed"] = "strided",
        stride: int = 128,
        summaries: int = 8,
        key_width: int | None = None,
        expansion: int = 4,
        dropout: float = 0.0,
        classes: int = 0,
    ) -> None:
        super().__init__(scan, levels, out_features, classes)
        keys = width if key_width is None else key_width
        require_positive(self, width=width, depth=depth, heads=heads, key_width=keys)
        require_positive(self, stride=stride, expansion=expansion)
        self.width, self.depth, self.heads, self.dropout = width, depth, heads, dropout
        self.pattern, self.stride, self.summaries = pattern, stride, summaries
        self.key_width, self.expansion = key_width, expansion
        self.patterns = self._patterns()
        for name, value in (("width", width), ("key_width", keys)):
            if value % heads:
                raise ConfigError(
                    f"net SparseTransformer: heads ({heads}) must divide {name} ({value})"
                )
        self.embed = TokenEmbedding(scan, levels, width)
        self.start = nn.Parameter(torch.zeros(width))
        self.place = PlaceEmbedding(scan, width)
        self.label = LabelEmbedding(classes, width)
        self.drop = nn.Dropout(dropout)
        self.blocks: Sequence[Block] = module_list(
            Block(width, heads, keys, expansion, self.patterns[k % 2], dropout)
            for k in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, out_features, bias=False)
        self._initialize()

    def _patterns(self) -> tuple[SparseAttention, SparseAttention]:
        """Returns A and B."""
        if self.pattern == "strided":
            return Last(self.stride), Every(self.stride)
        if self.pattern != "fixed":
            raise ConfigError(
                f"net SparseTransformer: pattern must be strided or fixed; got {self.pattern!r}"
            )
        if not 1 <= self.summaries <= self.stride:
            raise ConfigError(
                f"net SparseTransformer: summaries must be from 1 to stride ({self.stride}); "
                f"got {self.summaries}"
            )
        return OwnBlock(self.stride), Summaries(self.stride, self.summaries)

    def _initialize(self) -> None:
        usual = math.sqrt(VARIANCE / self.width)
        nn.init.normal_(self.embed.table.weight, std=usual)
        nn.init.normal_(self.start, std=usual)
        for table in self.place.tables:
            nn.init.normal_(table.weight, std=usual / math.sqrt(len(self.place.tables)))
        for block in self.blocks:
            for layer in (block.qkv, block.project, block.expand, block.contract):
                nn.init.normal_(layer.weight, std=math.sqrt(VARIANCE / layer.in_features))
                nn.init.zeros_(layer.bias)
            for layer in (block.project, block.contract):
                with torch.no_grad():
                    layer.weight.div_(math.sqrt(2 * self.depth))
        # nearly zero: from zero, the components of a mixture would never differ from each other
        nn.init.normal_(self.out.weight, std=1e-3)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.forward_head(self.forward_features(x, labels))

    def forward_features(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        before = torch.cat((self.start_vector(x), self.embed(x)[:, :-1]), 1)  # (B, T, D)
        h = self.drop(before + self.place() + self.label(labels)[:, None])
        for block in self.blocks:
            h = self.run(block, h)
        return h

    def forward_head(self, features: Tensor) -> Tensor:
        return self.out(self.norm(features))  # (B, T, P)

    def start_vector(self, x: Tensor) -> Tensor:
        """Returns what stands before the first site, with shape (B, 1, D)."""
        return self.start.expand(x.shape[0], 1, -1)
