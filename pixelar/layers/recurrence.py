"""Segment-level recurrence: what the places of a segment see of those before.

    compressed memory       memory              segment
    ▪ ▪ ▪ ▪               ■ ■ ■ ■ ■ ■          □ □ □ ? · ·

Memory holds the inputs of a block in earlier segments. In training (`Memory`) they are kept as they
are; in a walk (`Window`) it is their keys and values that are kept, since these do not depend on
who looks at them. Whatever leaves the memory is compressed, some places to one slot.

References:
    Transformer-XL: Attentive Language Models Beyond a Fixed-Length Context (Dai et al., 2019),
    https://arxiv.org/abs/1901.02860
    Compressive Transformers for Long-Range Sequence Modelling (Rae et al., 2020),
    https://arxiv.org/abs/1911.05507
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Memory", "Remembering", "Sizes", "Window", "by_key", "sinusoids"]


def sinusoids(places: int, width: int) -> Tensor:
    """Returns R of the distances from places - 1 down to 0, with shape (places, D)."""
    frequencies = 10000 ** -(torch.arange(0, width, 2) / width)
    angles = torch.arange(places - 1, -1, -1)[:, None] * frequencies
    return torch.cat((angles.sin(), angles.cos()), 1)[:, :width]


def by_key(scores: Tensor) -> Tensor:
    """Returns scores (…, L, K) of L queries by key, from scores by distance, K - 1 down to 0.

    The last query is at the place of the last key; keys later than a query get anything.
    """
    *_, length, keys = scores.shape
    return F.pad(scores, (1, 0)).flatten(-2)[..., length:].unflatten(-1, (length, keys))


class Remembering(Protocol):
    """A block that looks into a memory."""

    compress: nn.Module  # from (B, D, c · n) to (B, D, n)

    def keys_values(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Returns k and v of places (B, K, D), each with shape (B, heads, K, D / heads)."""
        ...


@dataclass(frozen=True)
class Sizes:
    """How far back a segment sees.

    Arguments:
        segment: L, the places of a segment.
        memory: M, the places that are remembered as they were.
        slots: The slots of compressed memory.
        compression: How many places become one slot; divides the other two.
    """

    segment: int
    memory: int
    slots: int
    compression: int

    @property
    def places(self) -> int:
        """N, the most places that are seen at once."""
        return self.slots + self.memory + self.segment

    def filled(self, number: int) -> tuple[int, int]:
        """Returns how many slots, and places of memory, are in use in a segment."""
        past = number * self.segment
        slots = max(0, past - self.memory) // self.compression
        return min(slots, self.slots), min(past, self.memory)


class Memory:
    """What a block remembers of the segments before: its inputs there, without their gradients.

    Arguments:
        block: The block.
        sizes: How much it remembers.
        nothing: An empty memory, with shape (B, 0, D).
    """

    def __init__(self, block: Remembering, sizes: Sizes, nothing: Tensor) -> None:
        self.block, self.sizes = block, sizes
        self.compressed = self.recent = self.last = nothing

    def before(self, h: Tensor) -> Tensor:
        """Returns what is remembered before the next segment h (B, L, D), with shape (B, ·, D)."""
        recent = torch.cat((self.recent, self.last), 1)
        leaving = max(0, recent.shape[1] - self.sizes.memory)
        if self.sizes.slots and leaving:
            slots = self.block.compress(recent[:, :leaving].mT).mT
            self.compressed = torch.cat((self.compressed, slots), 1)[:, -self.sizes.slots :]
        self.recent, self.last = recent[:, leaving:], h.detach()
        return torch.cat((self.compressed, self.recent), 1)


@dataclass
class Window:
    """What a segment sees in a walk, side by side: compressed memory, memory, the segment.

    Memory stands to the right of its room, so that all that is filled is one piece.
    """

    sizes: Sizes
    keys: list[Tensor]  # one per block, (heads, B, D / heads, N): as the product with q reads them
    values: list[Tensor]  # (heads, B, N, D / heads)
    inputs: list[Tensor]  # of memory and segment, (B, M + L, D), where they will be compressed
    number: int = 0  # of the segment

    @property
    def first(self) -> int:
        """The first place that is filled."""
        return self.sizes.slots + self.sizes.memory - sum(self.sizes.filled(self.number))

    def copy(self) -> "Window":
        """Returns a window that does not change with this one."""
        keys, values, inputs = (
            [t.clone() for t in kept] for kept in (self.keys, self.values, self.inputs)
        )
        return replace(self, keys=keys, values=values, inputs=inputs)

    def select(self, rows: Tensor) -> None:
        """Keeps these rows of the batch."""
        for kept, dim in ((self.keys, 1), (self.values, 1), (self.inputs, 0)):
            for k, tensor in enumerate(kept):  # one after another, to free what is left behind
                kept[k] = tensor.index_select(dim, rows)

    def turn(self, blocks: Sequence[Remembering]) -> None:
        """Makes the segment memory, in place, and begins the next."""
        length, memory, slots = self.sizes.segment, self.sizes.memory, self.sizes.slots
        _, filled = self.sizes.filled(self.number)
        leaving = max(0, filled + length - memory)
        room, moved = slice(slots, slots + memory), slice(slots + length, slots + length + memory)
        for k, block in enumerate(blocks):
            if self.inputs:
                inputs = self.inputs[k]
                if leaving:
                    self._push(k, block, inputs[:, memory - filled :][:, :leaving])
                inputs[:, :memory] = inputs[:, length:].clone()
            for area in (self.keys[k].mT, self.values[k]):
                area[:, :, room] = area[:, :, moved].clone()
        self.number += 1

    def _push(self, k: int, block: Remembering, leaving: Tensor) -> None:
        """Compresses the places that leave the memory of block k; the oldest slots go."""
        slots = self.sizes.slots
        new = block.compress(leaving.mT).mT[:, -slots:]
        kept = slots - new.shape[1]
        added = block.keys_values(new)  # (B, heads, n, D / heads)
        for area, part in zip((self.keys[k].mT, self.values[k]), added, strict=True):
            area[:, :, :kept] = area[:, :, slots - kept : slots].clone()
            area[:, :, kept:slots] = part.transpose(0, 1)

    def fill(self, k: int, block: Remembering, memory: Memory, seen: Tensor) -> None:
        """Writes down what block k sees in the last segment of its memory, and that segment."""
        keys, values = block.keys_values(torch.cat((seen, memory.last), 1))
        filled = slice(self.first, self.first + keys.shape[2])
        self.keys[k][..., filled] = keys.transpose(0, 1).mT
        self.values[k][:, :, filled] = values.transpose(0, 1)
        if self.inputs:
            inputs = torch.cat((memory.recent, memory.last), 1)
            begin = self.sizes.memory - memory.recent.shape[1]
            self.inputs[k][:, begin : begin + inputs.shape[1]] = inputs
