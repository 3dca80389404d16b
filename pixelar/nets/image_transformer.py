"""Image Transformer: attention to a neighbourhood, in one dimension or two.

    0, x₀, …, x_{T-2} ── embed by colour + sines and cosines of position ── block × depth ── head

    block:  h ── local attention ──(+)── LayerNorm ── MLP ──(+)── LayerNorm
             └──────────────────────┘             └──────────┘

Sites are divided into query blocks, and all queries of a block attend to one memory:

    local 1-D    blocks of the sequence; the memory is the block so far, and the one before it
    local 2-D    rectangles of the image; the memory extends as far again up and to both sides

The paper generates 2-D blocks one after another, each in raster order. Here the scan's order is the
order of generation: rows of the whole image. So the memory is the same rectangle, a block's height
up and a block's width to both sides, and a query attends to what is generated of it: all of the
rows above, and its own row on the left.

Norms come after the sums ("dan": dropout, add, norm), the attention has no biases and the MLP has,
as in the released code. Half of the dimensions encode the row, half the column and colour, by sines
and cosines, which were as good as learned vectors in the paper. Assumed: 2-D memory margins as
large as the block, the position of the site that is predicted, Glorot initialisation.

References:
    Image Transformer (Parmar et al., 2018), https://arxiv.org/abs/1802.05751
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixelar.common.modules import module_list
from pixelar.errors import ConfigError
from pixelar.layers.embedding import ColourEmbedding, LabelEmbedding
from pixelar.layers.positions import places, sinusoids
from pixelar.layers.sparse_attention import Rectangle, SparseAttention, TwoBlocks
from pixelar.nets.base import Net, require_positive, require_scan
from pixelar.scan import Scan

__all__ = ["ImageTransformer"]


class Block(nn.Module):
    """One post-norm Transformer block, whose attention is local."""

    def __init__(
        self, width: int, heads: int, expansion: int, attention: SparseAttention, dropout: float
    ) -> None:
        super().__init__()
        self.heads, self.attention = heads, attention
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.project = nn.Linear(width, width, bias=False)
        self.attention_norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, expansion * width)
        self.contract = nn.Linear(expansion * width, width)
        self.mlp_norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def queries_keys_values(self, h: Tensor) -> tuple[Tensor, ...]:
        """Returns q, k and v of positions (B, L, D), each with shape (B, L, heads, D / heads)."""
        return self.by_head(self.qkv(h))

    def by_head(self, qkv: Tensor) -> tuple[Tensor, ...]:
        """Divides (*, 3D) into queries, keys and values, each with shape (*, heads, D / heads)."""
        return qkv.view(*qkv.shape[:-1], 3, self.heads, -1).unbind(-3)

    def finish(self, h: Tensor, attended: Tensor) -> Tensor:
        """Returns the block's output (B, L, D) from that of its heads (B, L, heads, D / heads)."""
        h = self.attention_norm(h + self.dropout(self.project(attended.flatten(2))))
        inner = self.contract(self.expand(h).relu())
        return self.mlp_norm(h + self.dropout(inner))

    def forward(self, h: Tensor) -> Tensor:
        return self.finish(h, self.attention(*self.queries_keys_values(h)))


class ImageTransformer(Net):
    """A causal Transformer over sites with local attention, which reaches further with each block.

    Local 1-D takes any scan; local 2-D takes `raster` and `subpixel`, where a row has W · C sites.
    A label is added at every position.

    Arguments:
        width: D, the length of a position's vector.
        depth: The number of blocks.
        heads: The number of attention heads; divides the width.
        pattern: "local_1d" or "local_2d".
        block: The number of sites in a query block.
        rows: The number of rows that these form, for local 2-D; divides `block`.
        expansion: The width of the MLP's hidden layer, divided by D.
        dropout: The rate of dropout on the embedding and on what each block adds.
        classes: The number of class labels; 0 for none.

    Example:
        >>> from pixelar.scan import raster
        >>> net = ImageTransformer(raster((1, 8, 8)), 17, 17, width=32, depth=2, heads=4, block=16)
        >>> net(torch.zeros(5, 1, 8, 8, dtype=torch.long)).shape
        torch.Size([5, 64, 17])
    """

    embed: ColourEmbedding
    signal: Tensor

    def __init__(
        self,
        scan: Scan,
        levels: int,
        out_features: int,
        *,
        width: int = 512,
        depth: int = 12,
        heads: int = 4,
        pattern: Literal["local_1d", "local_2d"] = "local_1d",
        block: int = 256,
        rows: int = 8,
        expansion: int = 4,
        dropout: float = 0.0,
        classes: int = 0,
    ) -> None:
        super().__init__(scan, levels, out_features, classes)
        require_positive(
            self, width=width, depth=depth, heads=heads, block=block, rows=rows, expansion=expansion
        )
        if width % heads:
            raise ConfigError(f"net ImageTransformer: heads ({heads}) must divide width ({width})")
        self.width, self.depth, self.heads, self.dropout = width, depth, heads, dropout
        self.pattern, self.block, self.rows, self.expansion = pattern, block, rows, expansion
        self.attention = self._attention()
        self.embed = ColourEmbedding(scan, levels, width)
        self.register_buffer("signal", self._signal(), persistent=False)
        self.label = LabelEmbedding(classes, width)
        self.drop = nn.Dropout(dropout)
        self.blocks: Sequence[Block] = module_list(
            Block(width, heads, expansion, self.attention, dropout) for _ in range(depth)
        )
        self.out = nn.Linear(width, out_features)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def _attention(self) -> SparseAttention:
        if self.pattern == "local_1d":
            return TwoBlocks(self.block)
        if self.pattern != "local_2d":
            raise ConfigError(
                f"net ImageTransformer: pattern must be local_1d or local_2d; got {self.pattern!r}"
            )
        require_scan(self, ("raster", "subpixel"))
        if self.block % self.rows:
            raise ConfigError(
                f"net ImageTransformer: rows ({self.rows}) must divide block ({self.block})"
            )
        return Rectangle(self.scan.sites // self.scan.shape[1], self.rows, self.block // self.rows)

    def _signal(self) -> Tensor:
        """Returns the encoding of each site's position, with shape (T, D)."""
        row, column, channel = places(self.scan).T
        return sinusoids(torch.stack((row, column * self.scan.shape[0] + channel), -1), self.width)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.forward_head(self.forward_features(x, labels))

    def forward_features(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        before = F.pad(self.embed(x)[:, :-1], (0, 0, 1, 0))  # (B, T, D)
        h = self.drop(before + self.signal + self.label(labels)[:, None])
        for block in self.blocks:
            h = self.run(block, h)
        return h

    def forward_head(self, features: Tensor) -> Tensor:
        return self.out(features)  # (B, T, P)
