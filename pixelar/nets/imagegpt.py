"""ImageGPT: a GPT-2 decoder over the sites of an image.

    start, x₀, …, x_{T-2} ── embed + position ── block × depth ── RMSNorm ── head ── parameters

    block:  h ── RMSNorm ── causal attention ──(+)── RMSNorm ── MLP ──(+)
             └──────────────────────────────────┘└────────────────────┘

A learned start vector stands before the first site, and the last site is dropped: position t
predicts site t. The norms have neither mean nor bias, the linear layers no bias unless requested,
the activation is x σ(1.702 x), the head is not tied.

References:
    Generative Pretraining from Pixels (Chen et al., 2020),
    https://proceedings.mlr.press/v119/chen20s.html
"""

import abc
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pixelar.common.modules import module_list
from pixelar.errors import ConfigError
from pixelar.layers.embedding import LabelEmbedding, TokenEmbedding
from pixelar.layers.sparse_attention import AllBefore
from pixelar.nets.base import Net, require_positive
from pixelar.scan import Scan

__all__ = ["GPT", "ImageGPT"]

EPSILON = 1e-5  # added to the mean square, where a vector is normalized
LINEARS = ("qkv", "project", "expand", "contract")  # the layers of a block


class Block(nn.Module):
    """One pre-norm Transformer block."""

    def __init__(self, width: int, heads: int, dropout: float, bias: bool = False) -> None:
        super().__init__()
        self.heads, self.attention = heads, AllBefore()
        self.attention_norm = nn.RMSNorm(width, eps=EPSILON)
        self.qkv = nn.Linear(width, 3 * width, bias=bias)
        self.project = nn.Linear(width, width, bias=bias)
        self.mlp_norm = nn.RMSNorm(width, eps=EPSILON)
        self.expand = nn.Linear(width, 4 * width, bias=bias)
        self.contract = nn.Linear(4 * width, width, bias=bias)
        self.dropout = nn.Dropout(dropout)

    def queries_keys_values(self, h: Tensor) -> tuple[Tensor, ...]:
        """Returns q, k and v of positions (B, L, D), each with shape (B, L, heads, D / heads)."""
        return self.by_head(self.qkv(self.attention_norm(h)))

    def by_head(self, qkv: Tensor) -> tuple[Tensor, ...]:
        """Divides (*, 3D) into queries, keys and values, each with shape (*, heads, D / heads)."""
        return qkv.view(*qkv.shape[:-1], 3, self.heads, -1).unbind(-3)

    def finish(self, h: Tensor, attended: Tensor) -> Tensor:
        """Returns the block's output (B, L, D) from that of its heads (B, L, heads, D / heads)."""
        h = h + self.dropout(self.project(attended.flatten(2)))
        inner = self.expand(self.mlp_norm(h))
        return h + self.dropout(self.contract(inner * (1.702 * inner).sigmoid()))

    def forward(self, h: Tensor) -> Tensor:
        return self.finish(h, self.attention(*self.queries_keys_values(h)))


class GPT(Net):
    """A causal Transformer over the sites of a scan, whose subclasses define how positions enter.

    `ImageGPT` describes the arguments.
    """

    embed: TokenEmbedding

    def __init__(
        self,
        scan: Scan,
        levels: int,
        out_features: int,
        *,
        width: int = 512,
        depth: int = 24,
        heads: int = 8,
        dropout: float = 0.0,
        bias: bool = False,
        classes: int = 0,
    ) -> None:
        super().__init__(scan, levels, out_features, classes)
        require_positive(self, width=width, depth=depth, heads=heads)
        if width % heads:
            raise ConfigError(
                f"net {type(self).__name__}: heads ({heads}) must divide width ({width})"
            )
        self.width, self.depth, self.heads = width, depth, heads
        self.dropout, self.bias = dropout, bias
        self.embed = TokenEmbedding(scan, levels, width)
        self.start = nn.Parameter(torch.zeros(width))
        self.position = nn.Parameter(torch.zeros(scan.sites, width))
        self.label = LabelEmbedding(classes, width)
        self.drop = nn.Dropout(dropout)
        self.blocks: Sequence[Block] = module_list(
            Block(width, heads, dropout, bias) for _ in range(depth)
        )
        self.norm = nn.RMSNorm(width, eps=EPSILON)
        self.out = nn.Linear(width, out_features, bias=False)
        self._initialize()

    def _initialize(self) -> None:
        nn.init.normal_(self.embed.table.weight, std=0.02)
        nn.init.normal_(self.start, std=0.02)
        nn.init.normal_(self.position, std=0.01)
        for block in self.blocks:
            nn.init.normal_(block.qkv.weight, std=1 / math.sqrt(self.width))
            nn.init.normal_(block.project.weight, std=1 / math.sqrt(self.depth * self.width))
            nn.init.normal_(block.expand.weight, std=0.02)
            nn.init.normal_(block.contract.weight, std=0.02)
            for name in LINEARS if self.bias else ():
                nn.init.zeros_(getattr(block, name).bias)
        # nearly zero: from zero, the components of a mixture would never differ from each other
        nn.init.normal_(self.out.weight, std=1e-3)

    @abc.abstractmethod
    def places(self) -> Tensor:
        """Returns what is added to the start and to all sites but the last, with shape (T, D)."""

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.forward_head(self.forward_features(x, labels))

    def forward_features(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        h = self.inputs(self.embed(x)[:, :-1], self.start_vector(x, labels))  # (B, T, D)
        for block in self.blocks:
            h = self.run(block, h)
        return h

    def forward_head(self, features: Tensor) -> Tensor:
        return self.out(self.norm(features))  # (B, T, P)

    def start_vector(self, x: Tensor, labels: Tensor | None) -> Tensor:
        """Returns the vector before the first site, with shape (B, D)."""
        return (self.start + self.label(labels)).expand(x.shape[0], -1)

    def inputs(self, sites: Tensor, start: Tensor) -> Tensor:
        """Returns the vectors (B, L + 1, D) of the start and the first L sites, with positions."""
        h = torch.cat((start[:, None], sites), 1)
        return self.drop(h + self.places()[: h.shape[1]])


class ImageGPT(GPT):
    """A causal Transformer over the sites of any scan: tokens, grey levels, sub-pixels or pixels.

    A label is added to the start vector.

    Arguments:
        width: D, the length of a position's vector.
        depth: The number of blocks.
        heads: The number of attention heads; divides the width.
        dropout: The rate of dropout on the embedding and on what each block adds.
        bias: Whether the linear layers of the blocks have biases. The paper has none.
        classes: The number of class labels; 0 for none.

    Example:
        >>> from pixelar.scan import raster
        >>> net = ImageGPT(raster((1, 8, 8)), 17, 17, width=32, depth=2, heads=4)
        >>> net(torch.zeros(5, 1, 8, 8, dtype=torch.long)).shape
        torch.Size([5, 64, 17])
    """

    def places(self) -> Tensor:
        return self.position
