"""How ImageGPT and AnyOrderGPT are sampled: keys and values of the positions so far."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from pixelar.caches.base import Rows, StepsCache
from pixelar.nets.imagegpt import EPSILON, GPT, LINEARS, Block

__all__ = ["GPTCache"]


def normalize(h: Tensor, floor: Tensor) -> Tensor:
    """Returns vectors (*, D) normalized as in `Block`, before scaling, and divided by √D."""
    return h / torch.hypot(torch.linalg.vector_norm(h, dim=-1, keepdim=True), floor)


def linear(x: Tensor, matrix: Tensor, bias: Tensor | None) -> Tensor:
    """Applies a layer with a matrix (in, out), and a bias if there is one, to x (N, in)."""
    return x @ matrix if bias is None else torch.addmm(bias, x, matrix)


def add_linear(h: Tensor, x: Tensor, matrix: Tensor, bias: Tensor | None) -> Tensor:
    """Returns h (N, out) plus the output of such a layer for x."""
    return torch.addmm(h if bias is None else h + bias, x, matrix)


@dataclass(frozen=True)
class BlockMatrices:
    """The weights of a block as matrices from inputs to outputs.

    The scales of norms and of attention are folded into them, √D for `normalize` as well, and so is
    the factor of the quick GELU: x σ(1.702 x) = SiLU(1.702 x) / 1.702.
    """

    qkv: Tensor
    project: Tensor
    expand: Tensor
    contract: Tensor
    qkv_bias: Tensor | None = None  # None where the block has no biases
    project_bias: Tensor | None = None
    expand_bias: Tensor | None = None
    contract_bias: Tensor | None = None


class GPTCache(StepsCache[GPT]):
    """Keys and values of the positions so far."""

    batch_axis: ClassVar = {"start": 0, "keys": Rows(0, filled=3), "values": Rows(0, filled=2)}

    start: Tensor  # the first position's vector, (B, D)
    places: Tensor  # what is added at every position, (T, D)
    matrices: list[BlockMatrices]
    out: Tensor  # (D, P)
    floor: Tensor  # √(D ε), of `normalize`
    keys: list[Tensor]  # one per block, (B, heads, D / heads, T): as the product with q reads them
    values: list[Tensor]  # (B, heads, T, D / heads)
    filled: int  # positions that have keys and values

    def __init__(self, net: GPT, x: Tensor, labels: Tensor | None = None) -> None:
        super().__init__(net, x, labels)
        batch, each, sites = x.shape[0], net.width // net.heads, net.scan.sites
        keys, values = (
            [net.start.new_empty(batch, net.heads, *shape) for _ in net.blocks]
            for shape in ((each, sites), (sites, each))
        )
        with torch.no_grad():
            matrices = [matrices_of(net, block) for block in net.blocks]
            out = net.out.weight.T * (math.sqrt(net.width) * net.norm.weight[:, None])
            places = net.places()
        floor = net.start.new_tensor(math.sqrt(net.width * EPSILON))
        self.start = net.start_vector(x, labels)
        self.places = places
        self.matrices = matrices
        self.out = out
        self.floor = floor
        self.keys = keys
        self.values = values
        self.filled = 0

    @torch.no_grad()
    def steps(self, x: Tensor, first: int, stop: int) -> Tensor:
        net = self.net
        before = net.embed.sites(x.flatten(1)[:, net.scan.index[max(first - 1, 0) : stop - 1]])
        if first == 0:
            before = torch.cat((self.start[:, None], before), 1)
        h = (before + self.places[first:stop]).flatten(0, 1)  # (B · n, D)
        n = stop - first
        by_head = (x.shape[0], n, 3, net.heads, -1)
        later = h.new_full((n, n), -math.inf).triu_(1) if n > 1 else None
        for weights, keys, values in zip(self.matrices, self.keys, self.values, strict=True):
            qkv = linear(normalize(h, self.floor), weights.qkv, weights.qkv_bias)
            q, k, v = qkv.view(by_head).permute(2, 0, 3, 1, 4)
            keys[..., first:stop], values[:, :, first:stop] = k.mT, v
            scores = torch.bmm(q.flatten(0, 1), keys.flatten(0, 1)[..., :stop])
            if later is not None:
                scores[..., first:] += later
            attended = torch.bmm(scores.softmax(-1), values.flatten(0, 1)[:, :stop])
            attended = attended.unflatten(0, (x.shape[0], net.heads)).transpose(1, 2)
            attended = attended.reshape(h.shape)
            h = add_linear(h, attended, weights.project, weights.project_bias)
            inner = linear(normalize(h, self.floor), weights.expand, weights.expand_bias)
            inner = F.silu(inner, inplace=True)
            h = add_linear(h, inner, weights.contract, weights.contract_bias)
        self.filled = stop
        return (normalize(h, self.floor) @ self.out).unflatten(0, (x.shape[0], -1))  # (B, n, P)

    @torch.no_grad()
    def prefill(self, x: Tensor, stop: int) -> None:
        net = self.net
        if stop == 0:
            return
        self.filled = stop
        h = net.inputs(net.embed(x)[:, : stop - 1], self.start)  # (B, stop, D)
        for block, keys, values in zip(net.blocks, self.keys, self.values, strict=True):
            q, k, v = block.queries_keys_values(h)
            keys[..., :stop], values[:, :, :stop] = k.mT, v
            if block is net.blocks[-1]:
                break  # its output would be for known sites only
            h = block.finish(h, F.scaled_dot_product_attention(q, k, v, is_causal=True))


def matrices_of(net: GPT, block: Block) -> BlockMatrices:
    """Returns the weights in the form that a step reads."""
    length = math.sqrt(net.width)
    qkv = block.qkv.weight.T * (length * block.attention_norm.weight[:, None])
    per_head = math.sqrt(net.width // net.heads)
    qkv[:, : net.width] /= per_head
    biases: dict[str, Tensor] = {}
    if net.bias:
        biases = {f"{name}_bias": getattr(block, name).bias.clone() for name in LINEARS}
        biases["qkv_bias"][: net.width] /= per_head
        biases["expand_bias"] *= 1.702
    return BlockMatrices(
        qkv=qkv,
        project=block.project.weight.T.contiguous(),
        expand=block.expand.weight.T * (1.702 * length * block.mlp_norm.weight[:, None]),
        contract=block.contract.weight.T / 1.702,
        **biases,
    )
