"""What a sampling pass keeps for attention: keys and values by position, of which a step reads
some.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, TypeVar

import torch
from torch import Tensor

from pixelar.caches.base import Batched, Rows, StepsCache
from pixelar.layers.sparse_attention import SparseAttention
from pixelar.nets.base import Net

__all__ = ["KeysAndValues", "Look", "MemoryCache", "look_of"]


N = TypeVar("N", bound=Net)


@dataclass(frozen=True)
class Look:
    """Which keys and values the positions from `first` to `stop` - 1 attend to.

    Attributes:
        first: The first of these query positions.
        stop: The position after the last of them.
        read: Takes keys or values (N, T, ·) of all positions and returns those that any query
            attends to, with shape (N, m, ·).
        hidden: Which of these each query does not attend to, (stop - first, m); None where there
            are none.
    """

    first: int
    stop: int
    read: Callable[[Tensor], Tensor]
    hidden: Tensor | None = None


def look_of(attention: SparseAttention, first: int, stop: int, device: torch.device) -> Look:
    """Returns what the positions from `first` to `stop` - 1 attend to, under a pattern."""
    if stop - first == 1:
        return Look(first, stop, lambda x: attention.read(x, first))
    sees = attention.sees(torch.arange(first, stop)[:, None], torch.arange(stop))
    (found,) = sees.any(0).nonzero(as_tuple=True)
    hidden, seen = ~sees[:, found].to(device), found.to(device)
    return Look(first, stop, lambda x: x[:, seen], hidden)


class AttentionBlock(Protocol):
    """A block of a Transformer whose attention follows a pattern."""

    @property
    def attention(self) -> SparseAttention: ...

    def queries_keys_values(self, h: Tensor) -> Sequence[Tensor]:
        """Returns q, k and v of positions (B, L, D), each with shape (B, L, heads, ·)."""
        ...

    def finish(self, h: Tensor, attended: Tensor) -> Tensor:
        """Returns the block's output (B, L, D) from that of its heads (B, L, heads, ·)."""
        ...


class KeysAndValues(Batched):
    """The keys and values of one layer, in buffers for all positions.

    Arguments:
        size: The batch, the heads and the positions (B, heads, T).
        lengths: The lengths of a head's key and of its value.
        like: A tensor with the type and device to keep them in.
    """

    batch_axis: ClassVar = {"keys": Rows(0, filled=2), "values": Rows(0, filled=2)}

    def __init__(self, size: tuple[int, int, int], lengths: tuple[int, int], like: Tensor) -> None:
        batch, self.heads, sites = size
        self.keys, self.values = (  # (B, heads, T, ·)
            like.new_empty(batch, self.heads, sites, length) for length in lengths
        )
        self.make_views()

    def make_views(self) -> None:
        self._keys, self._values = self.keys.flatten(0, 1), self.values.flatten(0, 1)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, look: Look) -> Tensor:
        """Takes in n positions and returns the result of their attention, with shape (B · n, heads
        · d).

        Arguments:
            q: Their queries, divided by the root of their length, with shape (B, n, heads, ·).
            k: Their keys.
            v: Their values.
            look: What they attend to.
        """
        batch, n = q.shape[:2]
        q, k, v = (x.transpose(1, 2).flatten(0, 1) for x in (q, k, v))  # (B · heads, n, ·)
        self._keys[:, look.first : look.stop] = k
        self._values[:, look.first : look.stop] = v
        self.filled = look.stop
        scores = torch.bmm(q, look.read(self._keys).mT)  # (B · heads, n, m)
        if look.hidden is not None:
            scores.masked_fill_(look.hidden, -math.inf)
        found = torch.bmm(scores.softmax(-1), look.read(self._values))
        return found.view(batch, self.heads, n, -1).transpose(1, 2).reshape(batch * n, -1)

    def fill(self, k: Tensor, v: Tensor) -> None:
        """Takes in the first positions, with shapes (B, n, heads, ·)."""
        self.filled = k.shape[1]
        self._keys[:, : self.filled] = k.transpose(1, 2).flatten(0, 1)
        self._values[:, : self.filled] = v.transpose(1, 2).flatten(0, 1)


class MemoryCache(StepsCache[N]):
    """A cache that keeps the keys and values of each block.

    Attributes:
        blocks: The net's blocks.
        memories: Their keys and values.
    """

    blocks: Sequence[AttentionBlock]
    memories: list[KeysAndValues]

    @torch.no_grad()
    def prefill(self, x: Tensor, stop: int) -> None:
        if stop == 0:
            return
        h = self.inputs(x, 0, stop)
        for block, memory in zip(self.blocks, self.memories, strict=True):
            q, k, v = block.queries_keys_values(h)
            memory.fill(k, v)
            if block is self.blocks[-1]:
                break  # its output would be for known sites only
            h = block.finish(h, block.attention(q, k, v))

    def inputs(self, x: Tensor, first: int, stop: int) -> Tensor:
        """Returns the input vectors of positions, each from the previous site: (B, n, D)."""
        raise NotImplementedError
