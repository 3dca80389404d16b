"""What a sampling pass keeps for attention: keys and values by position, of which a step reads
some.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import torch
from torch import Tensor

from pixelar.caches.base import Batched, Rows, StepsCache
from pixelar.caches.transformer_blocks import Block, PostNormBlock, PreNormBlock
from pixelar.layers.sparse_attention import SparseAttention
from pixelar.nets.base import Net

__all__ = ["BlockCache", "KeysAndValues", "Look", "MemoryCache", "fill", "look_of"]


N = TypeVar("N", bound=Net)


@dataclass(frozen=True)
class Look:
    """Which keys and values the positions from `first` to `stop` - 1 attend to.

    Attributes:
        first: The first of these query positions.
        stop: The position after the last of them.
        read: Takes keys or values (N, T, ·) of all positions and returns those that any query
            attends to, with shape (N, m, ·).
        hidden: Which of the last h of these each query does not attend to, (stop - first, h); all
            attend to the others. None where there are none.
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
    found = sees.any(0).nonzero()[:, 0]
    hidden = ~sees[:, found]
    hidden = hidden[:, int(hidden.any(0).byte().argmax()) :].to(device)
    begin = int(found[0])
    if len(found) == stop - begin:  # a range of positions, which is a view
        return Look(first, stop, lambda x: x[:, begin:stop], hidden)
    seen = found.to(device)
    return Look(first, stop, lambda x: x[:, seen], hidden)


class KeysAndValues(Batched):
    """The keys and values of one layer, in buffers for all positions.

    Arguments:
        size: The batch, the heads and the positions (B, heads, T).
        lengths: The lengths of a head's key and of its value.
        like: A tensor with the type and device to keep them in.
        columns: Whether keys are kept as the columns of a matrix, as the product with queries reads
            them: quicker where a step reads all of them, slower where it reads some here and there.
    """

    batch_axis: ClassVar = {
        "rows": Rows(0, filled=2),
        "columns": Rows(0, filled=3),
        "values": Rows(0, filled=2),
    }

    rows: Tensor | None  # keys, (B, heads, T, ·)
    columns: Tensor | None  # or keys, (B, heads, ·, T)
    values: Tensor  # (B, heads, T, ·)

    def __init__(
        self,
        size: tuple[int, int, int],
        lengths: tuple[int, int],
        like: Tensor,
        *,
        columns: bool = False,
    ) -> None:
        batch, self.heads, sites = size
        key, value = lengths
        self.rows = None if columns else like.new_empty(batch, self.heads, sites, key)
        self.columns = like.new_empty(batch, self.heads, key, sites) if columns else None
        self.values = like.new_empty(batch, self.heads, sites, value)
        self.make_views()

    @property
    def keys(self) -> Tensor:
        """The keys as rows, with shape (B, heads, T, ·)."""
        if self.columns is not None:
            return self.columns.mT
        assert self.rows is not None
        return self.rows

    def make_views(self) -> None:
        self._keys, self._values = self.keys, self.values
        self._keys_by_head, self._values_by_head = (
            x.flatten(0, 1) for x in (self._keys, self._values)
        )

    def attend(self, q: Tensor, k: Tensor, v: Tensor, look: Look) -> Tensor:
        """Takes in n positions and returns the result of their attention, with shape (B · n, heads
        · d).

        Arguments:
            q: Their queries, divided by the root of their length, with shape (B · n, heads, ·).
            k: Their keys.
            v: Their values.
            look: What they attend to.
        """
        positions, n = len(q), look.stop - look.first
        if n == 1:  # fewer views
            self._keys.select(2, look.first).copy_(k)
            self._values.select(2, look.first).copy_(v)
            q = q.reshape(-1, 1, q.shape[-1])
        else:
            q, k, v = (x.unflatten(0, (-1, n)).transpose(1, 2) for x in (q, k, v))
            self._keys.narrow(2, look.first, n).copy_(k)
            self._values.narrow(2, look.first, n).copy_(v)
            q = q.flatten(0, 1)
        self.filled = look.stop
        scores = torch.bmm(q, look.read(self._keys_by_head).mT)  # (B · heads, n, m)
        if look.hidden is not None:
            scores[..., -look.hidden.shape[1] :].masked_fill_(look.hidden, -math.inf)
        found = torch.bmm(scores.softmax(-1), look.read(self._values_by_head))
        if n > 1:
            found = found.unflatten(0, (-1, self.heads)).transpose(1, 2)
        return found.reshape(positions, -1)

    def fill(self, k: Tensor, v: Tensor) -> None:
        """Takes in the first positions, with shapes (B, n, heads, ·)."""
        self.filled = k.shape[1]
        self._keys[:, :, : self.filled] = k.transpose(1, 2)
        self._values[:, :, : self.filled] = v.transpose(1, 2)


@dataclass
class BlockCache(Batched):
    """A block in a sampling pass.

    Attributes:
        block: The net's block.
        folded: The same, with constants folded in.
        memory: Its keys and values.
    """

    batch_axis: ClassVar = {"memory": 0}

    block: Block
    folded: PreNormBlock | PostNormBlock
    memory: KeysAndValues

    def __call__(self, h: Tensor, look: Look) -> Tensor:
        """Returns the block's output for n positions, in the shape of its input (B · n, D)."""
        q, k, v = self.block.by_head(self.folded.queries_keys_values(h))
        return self.folded.finish(h, self.memory.attend(q, k, v, look))


def fill(blocks: Sequence[BlockCache], h: Tensor) -> None:
    """Fills the memories of successive blocks with the first positions (B, L, D)."""
    for cache in blocks:
        q, k, v = cache.block.queries_keys_values(h)
        cache.memory.fill(k, v)
        if cache is blocks[-1]:
            break  # its output would be for known sites only
        h = cache.block.finish(h, cache.block.attention(q, k, v))


class MemoryCache(StepsCache[N]):
    """A cache that keeps the keys and values of each block.

    Attributes:
        blocks: The net's blocks.
        patterns: The patterns of their attention, between which they alternate.
    """

    batch_axis: ClassVar = {"blocks": 0}

    blocks: list[BlockCache]
    patterns: Sequence[SparseAttention]

    @torch.no_grad()
    def steps(self, x: Tensor, first: int, stop: int) -> Tensor:
        h = self.inputs(x, first, stop).flatten(0, 1)  # (B · n, D)
        looks = [look_of(pattern, first, stop, h.device) for pattern in self.patterns]
        for k, block in enumerate(self.blocks):
            h = block(h, looks[k % len(looks)])
        return self.readout(h).unflatten(0, (x.shape[0], -1))  # (B, n, P)

    @torch.no_grad()
    def prefill(self, x: Tensor, stop: int) -> None:
        if stop:
            fill(self.blocks, self.inputs(x, 0, stop))

    def inputs(self, x: Tensor, first: int, stop: int) -> Tensor:
        """Returns the input vectors of positions, each from the previous site: (B, n, D)."""
        raise NotImplementedError

    def readout(self, h: Tensor) -> Tensor:
        """Returns the parameters (N, P) of sites from the outputs of the last block (N, D)."""
        raise NotImplementedError
