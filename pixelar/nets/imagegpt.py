"""ImageGPT: a GPT-2 decoder over the sites of an image.

    start, x₀, …, x_{T-2} ── embed + position ── block × depth ── RMSNorm ── head ── parameters

    block:  h ── RMSNorm ── causal attention ──(+)── RMSNorm ── MLP ──(+)
             └──────────────────────────────────┘└────────────────────┘

A learned start vector stands before the first site, and the last site is dropped: position t
predicts site t. The norms have neither mean nor bias, the linear layers no bias unless asked for,
the activation is x σ(1.702 x), the head is not tied.

References:
    Generative Pretraining from Pixels (Chen et al., 2020),
    https://proceedings.mlr.press/v119/chen20s.html
"""

import abc
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixelar.errors import ConfigError
from pixelar.layers.embedding import LabelEmbedding, TokenEmbedding
from pixelar.nets.base import Net, require_positive
from pixelar.scan import Scan

__all__ = ["GPT", "ImageGPT"]

EPSILON = 1e-5  # beside the mean square, where a vector is normalised
LINEARS = ("qkv", "project", "expand", "contract")  # the layers of a block


class Block(nn.Module):
    """One pre-norm Transformer block."""

    def __init__(self, width: int, heads: int, dropout: float, bias: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.RMSNorm(width, eps=EPSILON)
        self.qkv = nn.Linear(width, 3 * width, bias=bias)
        self.project = nn.Linear(width, width, bias=bias)
        self.mlp_norm = nn.RMSNorm(width, eps=EPSILON)
        self.expand = nn.Linear(width, 4 * width, bias=bias)
        self.contract = nn.Linear(4 * width, width, bias=bias)
        self.dropout = nn.Dropout(dropout)

    def queries_keys_values(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns q, k and v of positions (B, L, D), each with shape (B, heads, L, D / heads)."""
        qkv = self.qkv(self.attention_norm(h)).unflatten(-1, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        return q, k, v

    def finish(self, h: Tensor, attended: Tensor) -> Tensor:
        """Returns the block's output (B, L, D) from that of its heads (B, heads, L, D / heads)."""
        h = h + self.dropout(self.project(attended.transpose(1, 2).flatten(2)))
        inner = self.expand(self.mlp_norm(h))
        return h + self.dropout(self.contract(inner * (1.702 * inner).sigmoid()))

    def forward(self, h: Tensor) -> Tensor:
        q, k, v = self.queries_keys_values(h)
        return self.finish(h, F.scaled_dot_product_attention(q, k, v, is_causal=True))


def normalise(h: Tensor, floor: Tensor) -> Tensor:
    """Returns vectors (*, D) as `Block`'s norms before scaling, divided by √D."""
    return h / torch.hypot(torch.linalg.vector_norm(h, dim=-1, keepdim=True), floor)


def linear(x: Tensor, matrix: Tensor, bias: Tensor | None) -> Tensor:
    """Returns x (N, in) through a layer with shape (in, out), with the bias if there is one."""
    return x @ matrix if bias is None else torch.addmm(bias, x, matrix)


def add_linear(h: Tensor, x: Tensor, matrix: Tensor, bias: Tensor | None) -> Tensor:
    """Returns h (N, out) with what such a layer makes of x added."""
    return torch.addmm(h if bias is None else h + bias, x, matrix)


@dataclass(frozen=True)
class BlockMatrices:
    """The weights of a block as matrices from inputs to outputs.

    The scales of norms and of attention are inside them, √D for `normalise` as well, and so is the
    factor of the quick GELU: x σ(1.702 x) = SiLU(1.702 x) / 1.702.
    """

    qkv: Tensor
    project: Tensor
    expand: Tensor
    contract: Tensor
    qkv_bias: Tensor | None = None  # None where the block has no biases
    project_bias: Tensor | None = None
    expand_bias: Tensor | None = None
    contract_bias: Tensor | None = None


@dataclass
class GPTCache:
    """Keys and values of the positions so far."""

    start: Tensor  # the first position's vector, (B, D)
    places: Tensor  # what is added at every place, (T, D)
    matrices: list[BlockMatrices]
    out: Tensor  # (D, P)
    floor: Tensor  # √(D ε), of `normalise`
    keys: list[Tensor]  # one per block, (B, heads, D / heads, T): as the product with q reads them
    values: list[Tensor]  # (B, heads, T, D / heads)
    filled: int = 0  # positions that have keys and values


class GPT(Net):
    """A causal Transformer over the sites of a scan, whose subclasses say how it knows places.

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
        self.blocks: Sequence[Block] = nn.ModuleList(  # type: ignore[assignment]
            Block(width, heads, dropout, bias) for _ in range(depth)
        )
        self.norm = nn.RMSNorm(width, eps=EPSILON)
        self.out = nn.Linear(width, out_features, bias=False)
        self._initialise()

    def _initialise(self) -> None:
        nn.init.normal_(self.embed.table.weight, std=0.02)
        nn.init.normal_(self.start, std=0.02)
        nn.init.normal_(self.position, std=0.01)
        nn.init.zeros_(self.out.weight)
        for block in self.blocks:
            nn.init.normal_(block.qkv.weight, std=1 / math.sqrt(self.width))
            nn.init.normal_(block.project.weight, std=1 / math.sqrt(self.depth * self.width))
            nn.init.normal_(block.expand.weight, std=0.02)
            nn.init.normal_(block.contract.weight, std=0.02)
            for name in LINEARS if self.bias else ():
                nn.init.zeros_(getattr(block, name).bias)

    @abc.abstractmethod
    def places(self) -> Tensor:
        """Returns what is added to the start and to the sites but the last, with shape (T, D)."""

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.read(self.features(x, labels))

    def features(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        h = self._inputs(self.embed(x)[:, :-1], self._start(x, labels))  # (B, T, D)
        for block in self.blocks:
            h = self.run(block, h)
        return h

    def read(self, features: Tensor) -> Tensor:
        return self.out(self.norm(features))  # (B, T, P)

    def init_cache(self, x: Tensor, labels: Tensor | None = None) -> GPTCache:
        batch, each, sites = x.shape[0], self.width // self.heads, self.scan.sites
        keys, values = (
            [self.start.new_empty(batch, self.heads, *shape) for _ in self.blocks]
            for shape in ((each, sites), (sites, each))
        )
        with torch.no_grad():
            matrices = [self._matrices(block) for block in self.blocks]
            out = self.out.weight.T * (math.sqrt(self.width) * self.norm.weight[:, None])
            places = self.places()
        floor = self.start.new_tensor(math.sqrt(self.width * EPSILON))
        return GPTCache(self._start(x, labels), places, matrices, out, floor, keys, values)

    def step(self, x: Tensor, t: int, cache: GPTCache) -> Tensor:
        return self.steps(x, t, t + 1, cache)[:, 0]

    @torch.no_grad()
    def steps(self, x: Tensor, first: int, stop: int, cache: GPTCache) -> Tensor:
        before = self.embed.sites(x.flatten(1)[:, self.scan.index[max(first - 1, 0) : stop - 1]])
        if first == 0:
            before = torch.cat((cache.start[:, None], before), 1)
        h = (before + cache.places[first:stop]).flatten(0, 1)  # (B · n, D)
        n = stop - first
        by_head = (x.shape[0], n, 3, self.heads, -1)
        later = h.new_full((n, n), -math.inf).triu_(1) if n > 1 else None
        for weights, keys, values in zip(cache.matrices, cache.keys, cache.values, strict=True):
            qkv = linear(normalise(h, cache.floor), weights.qkv, weights.qkv_bias)
            q, k, v = qkv.view(by_head).permute(2, 0, 3, 1, 4)
            keys[..., first:stop], values[:, :, first:stop] = k.mT, v
            scores = torch.bmm(q.flatten(0, 1), keys.flatten(0, 1)[..., :stop])
            if later is not None:
                scores[..., first:] += later
            attended = torch.bmm(scores.softmax(-1), values.flatten(0, 1)[:, :stop])
            attended = attended.unflatten(0, (x.shape[0], self.heads)).transpose(1, 2)
            attended = attended.reshape(h.shape)
            h = add_linear(h, attended, weights.project, weights.project_bias)
            inner = linear(normalise(h, cache.floor), weights.expand, weights.expand_bias)
            inner = F.silu(inner, inplace=True)
            h = add_linear(h, inner, weights.contract, weights.contract_bias)
        cache.filled = stop
        return (normalise(h, cache.floor) @ cache.out).unflatten(0, (x.shape[0], -1))  # (B, n, P)

    @torch.no_grad()
    def prefill(self, x: Tensor, stop: int, cache: GPTCache) -> None:
        if stop == 0:
            return
        cache.filled = stop
        h = self._inputs(self.embed(x)[:, : stop - 1], cache.start)  # (B, stop, D)
        for block, keys, values in zip(self.blocks, cache.keys, cache.values, strict=True):
            q, k, v = block.queries_keys_values(h)
            keys[..., :stop], values[:, :, :stop] = k.mT, v
            if block is self.blocks[-1]:
                break  # what it puts out is of sites that are known
            h = block.finish(h, F.scaled_dot_product_attention(q, k, v, is_causal=True))

    def select(self, cache: GPTCache, rows: Tensor) -> GPTCache:
        filled = slice(cache.filled)
        for kept, places in (
            (cache.keys, (..., filled)),
            (cache.values, (slice(None),) * 2 + (filled,)),
        ):
            for k, tensor in enumerate(kept):  # one after another, to free what is left behind
                kept[k] = tensor.new_empty(len(rows), *tensor.shape[1:])
                kept[k][places] = tensor[places][rows]
        return replace(cache, start=cache.start[rows])

    def _matrices(self, block: Block) -> BlockMatrices:
        length = math.sqrt(self.width)
        qkv = block.qkv.weight.T * (length * block.attention_norm.weight[:, None])
        per_head = math.sqrt(self.width // self.heads)
        qkv[:, : self.width] /= per_head
        biases: dict[str, Tensor] = {}
        if self.bias:
            biases = {f"{name}_bias": getattr(block, name).bias.clone() for name in LINEARS}
            biases["qkv_bias"][: self.width] /= per_head
            biases["expand_bias"] *= 1.702
        return BlockMatrices(
            qkv=qkv,
            project=block.project.weight.T.contiguous(),
            expand=block.expand.weight.T * (1.702 * length * block.mlp_norm.weight[:, None]),
            contract=block.contract.weight.T / 1.702,
            **biases,
        )

    def _start(self, x: Tensor, labels: Tensor | None) -> Tensor:
        """Returns the vector before the first site, with shape (B, D)."""
        return (self.start + self.label(labels)).expand(x.shape[0], -1)

    def _inputs(self, sites: Tensor, start: Tensor) -> Tensor:
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
