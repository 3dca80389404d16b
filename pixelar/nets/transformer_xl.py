"""Transformer-XL: a Transformer over segments of the sites that remembers the segments before.

    start, x₀, …, x_{T-2} ── embed ── segments h of L positions, one after another:

    compressed ∘ memory ──┐                    (earlier inputs of this block, gradients stopped)
    h ─┬──────────────────┴─ attention ──(+)── LayerNorm ─┬── MLP ──(+)── LayerNorm ──► h'
       └──────────────────────────────────┘               └──────────┘

    when the segment ends     memory      ◄─ the last M positions of memory ∘ h
                              compressed  ◄─ those that leave the memory, c of them in one slot

Keys and values come from the memory as well, so each block carries information one memory further,
and a site depends on sites far before its segment; gradients stop where the segment begins.
Positions are distinguished by distance alone: query i scores key j with

    (qᵢ + u)ᵀ kⱼ + (qᵢ + v)ᵀ W_R R_{i-j}          R sinusoids, u and v learned

References:
    Transformer-XL: Attentive Language Models Beyond a Fixed-Length Context (Dai et al., 2019),
    https://arxiv.org/abs/1901.02860
    Compressive Transformers for Long-Range Sequence Modelling (Rae et al., 2020),
    https://arxiv.org/abs/1911.05507
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pixelar.common.modules import module_list
from pixelar.errors import ConfigError
from pixelar.layers.embedding import LabelEmbedding, TokenEmbedding
from pixelar.layers.recurrence import Memory, Sizes, by_key, sinusoids
from pixelar.nets.base import Net, require_positive
from pixelar.scan import Scan

__all__ = ["TransformerXL"]


class Block(nn.Module):
    """A post-norm Transformer block that attends back beyond its segment.

    Arguments:
        width: D, the length of a position's vector.
        heads: The number of attention heads.
        dropout: The rate of dropout.
        compression: How many positions become one slot; 0 where none do.
    """

    compress: nn.Module

    def __init__(self, width: int, heads: int, dropout: float, compression: int) -> None:
        super().__init__()
        self.heads, each = heads, width // heads
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.distance = nn.Linear(width, width, bias=False)  # W_R
        self.content_bias = nn.Parameter(torch.empty(heads, 1, each))  # u
        self.distance_bias = nn.Parameter(torch.empty(heads, 1, each))  # v
        self.project = nn.Linear(width, width, bias=False)
        self.attention_norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 4 * width)
        self.contract = nn.Linear(4 * width, width)
        self.mlp_norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        if compression:
            self.compress = nn.Conv1d(width, width, compression, stride=compression)

    def keys_values(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Returns k and v of positions (B, K, D), each with shape (B, heads, K, D / heads)."""
        k, v = self.key_value(places).chunk(2, -1)
        return self.by_head(k), self.by_head(v)

    def by_head(self, vectors: Tensor) -> Tensor:
        """Returns vectors (…, K, D) with shape (…, heads, K, D / heads)."""
        return vectors.unflatten(-1, (self.heads, -1)).transpose(-3, -2)

    def forward(self, h: Tensor, seen: Tensor, distances: Tensor) -> Tensor:
        """Returns the block's output for a segment.

        Arguments:
            h: The segment, with shape (B, L, D).
            seen: What is remembered before it, with shape (B, K - L, D).
            distances: R of the distances from K - 1 down to 0, with shape (K, D).
        """
        q = self.by_head(self.query(h))  # (B, heads, L, D / heads)
        k, v = self.keys_values(torch.cat((seen, h), 1))
        r = self.by_head(self.distance(distances))  # (heads, K, D / heads)
        content = (q + self.content_bias) @ k.mT
        distance = by_key((q + self.distance_bias) @ r.mT)
        scores = (content + distance) / math.sqrt(q.shape[-1])  # (B, heads, L, K)
        later = torch.ones_like(scores[0, 0], dtype=torch.bool).triu(1 + seen.shape[1])
        attended = scores.masked_fill(later, -math.inf).softmax(-1) @ v
        attended = self.project(attended.transpose(1, 2).flatten(2))
        h = self.attention_norm(h + self.dropout(attended))
        inner = self.dropout(self.expand(h).relu())
        return self.mlp_norm(h + self.dropout(self.contract(inner)))


class TransformerXL(Net):
    """A causal Transformer over segments of any scan, each with a memory of those before.

    Assumed beyond the papers: a label is added at every position, since the memory may not reach
    back to the start; every block has its own u and v; the memory is empty at first, rather than
    zeros; a compressed slot counts as a distance of one; compressions learn from the likelihood of
    the segments that attend to them, without an auxiliary loss; the embedding is not scaled and the
    head not tied.

    Arguments:
        width: D, the length of a position's vector.
        depth: The number of blocks.
        heads: The number of attention heads; divides the width.
        segment: L, the length of a segment in sites: one or more rows of the image.
        memory: M, how many positions before the segment each block remembers.
        compressed: How many slots of compressed memory follow; 0 for none.
        compression: c, how many positions become one slot; divides segment and memory.
        dropout: The rate of dropout on embedding and features, in MLPs, on what blocks add.
        classes: The number of class labels; 0 for none.

    Example:
        >>> from pixelar.scan import raster
        >>> args = {"width": 32, "depth": 2, "heads": 4, "segment": 16, "memory": 16}
        >>> net = TransformerXL(raster((1, 8, 8)), 17, 17, **args)
        >>> net(torch.zeros(5, 1, 8, 8, dtype=torch.long)).shape
        torch.Size([5, 64, 17])
    """

    embed: TokenEmbedding
    distances: Tensor

    def __init__(
        self,
        scan: Scan,
        levels: int,
        out_features: int,
        *,
        width: int = 512,
        depth: int = 12,
        heads: int = 8,
        segment: int = 64,
        memory: int = 64,
        compressed: int = 0,
        compression: int = 4,
        dropout: float = 0.0,
        classes: int = 0,
    ) -> None:
        super().__init__(scan, levels, out_features, classes)
        require_positive(
            self, width=width, depth=depth, heads=heads, segment=segment, compression=compression
        )
        self.width, self.depth, self.heads, self.dropout = width, depth, heads, dropout
        self.segment, self.memory = segment, memory
        self.compressed, self.compression = compressed, compression
        self._check()
        self.sizes = Sizes(segment, memory, compressed, compression)
        self.embed = TokenEmbedding(scan, levels, width)
        self.start = nn.Parameter(torch.zeros(width))
        self.label = LabelEmbedding(classes, width)
        self.drop = nn.Dropout(dropout)
        self.blocks: Sequence[Block] = module_list(
            Block(width, heads, dropout, compression if compressed else 0) for _ in range(depth)
        )
        self.out = nn.Linear(width, out_features)
        self.register_buffer("distances", sinusoids(self.sizes.places, width), persistent=False)
        self._initialize()

    def _check(self) -> None:
        fault = ""
        if self.width % self.heads:
            fault = f"heads ({self.heads}) must divide width ({self.width})"
        elif self.segment > self.scan.sites:
            fault = (
                f"segment must be at most the number of sites of an image, {self.scan.sites}; "
                f"got {self.segment}"
            )
        elif min(self.memory, self.compressed) < 0:
            fault = (
                "memory and compressed must not be negative; "
                f"got {self.memory} and {self.compressed}"
            )
        elif self.compressed and (
            self.segment % self.compression or self.memory % self.compression
        ):
            fault = (
                f"compression ({self.compression}) must divide segment ({self.segment}) and memory "
                f"({self.memory}), so that positions fill slots"
            )
        if fault:
            raise ConfigError(f"net TransformerXL: {fault}")

    def _initialize(self) -> None:
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1 and not name.startswith("label."):
                nn.init.normal_(parameter, std=0.02)
        nn.init.normal_(self.start, std=0.02)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.forward_head(self.forward_features(x, labels))

    def forward_features(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        inputs = self.inputs(self.embed(x)[:, :-1], self.label(labels))  # (B, T, D)
        memories, segments = self.memories(inputs), []
        for h in inputs.split(self.segment, 1):
            for block, memory in zip(self.blocks, memories, strict=True):
                seen = memory.before(h)
                h = self.run(block, h, seen, self.distances_for(seen, h))
            segments.append(h)
        return self.drop(torch.cat(segments, 1))

    def forward_head(self, features: Tensor) -> Tensor:
        return self.out(features)  # (B, T, P)

    def inputs(self, sites: Tensor, label: Tensor) -> Tensor:
        """Returns the vectors (B, n + 1, D) of the start and the first n sites, with the label."""
        start = self.start.expand(sites.shape[0], 1, -1)
        return self.drop(torch.cat((start, sites), 1) + label[:, None])

    def memories(self, inputs: Tensor) -> list[Memory]:
        nothing = inputs.new_empty(inputs.shape[0], 0, self.width)
        return [Memory(block, self.sizes, nothing) for block in self.blocks]

    def distances_for(self, seen: Tensor, h: Tensor) -> Tensor:
        return self.distances[self.sizes.places - seen.shape[1] - h.shape[1] :]
