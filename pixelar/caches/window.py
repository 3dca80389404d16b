"""The keys and values that a segment of a Transformer-XL attends to, side by side."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from pixelar.caches.base import Batched
from pixelar.layers.recurrence import Memory, Remembering, Sizes

__all__ = ["Window"]


@dataclass
class Window(Batched):
    """What a segment attends to in a sampling pass: compressed memory, memory, the segment itself.

    Memory is filled from the right end of its buffer, so that all that is filled is contiguous.
    """

    batch_axis: ClassVar = {"keys": 1, "values": 1, "inputs": 0}

    sizes: Sizes
    keys: list[Tensor]  # one per block, (heads, B, D / heads, N): as the product with q reads them
    values: list[Tensor]  # (heads, B, N, D / heads)
    inputs: list[Tensor]  # of memory and segment, (B, M + L, D), where they will be compressed
    number: int = 0  # of the segment

    @property
    def first(self) -> int:
        """The first position that is filled."""
        return self.sizes.slots + self.sizes.memory - sum(self.sizes.filled(self.number))

    def copy(self) -> "Window":
        """Returns a window that does not change with this one."""
        keys, values, inputs = (
            [t.clone() for t in kept] for kept in (self.keys, self.values, self.inputs)
        )
        return replace(self, keys=keys, values=values, inputs=inputs)

    def turn(self, blocks: Sequence[Remembering]) -> None:
        """Turns the segment into memory, in place, and begins the next segment."""
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
        """Compresses the positions that leave the memory of block k; the oldest slots go."""
        slots = self.sizes.slots
        new = block.compress(leaving.mT).mT[:, -slots:]
        kept = slots - new.shape[1]
        added = block.keys_values(new)  # (B, heads, n, D / heads)
        for area, part in zip((self.keys[k].mT, self.values[k]), added, strict=True):
            area[:, :, :kept] = area[:, :, slots - kept : slots].clone()
            area[:, :, kept:slots] = part.transpose(0, 1)

    def fill(self, k: int, block: Remembering, memory: Memory, seen: Tensor) -> None:
        """Fills in what block k remembers, and the last segment of its memory."""
        keys, values = block.keys_values(torch.cat((seen, memory.last), 1))
        filled = slice(self.first, self.first + keys.shape[2])
        self.keys[k][..., filled] = keys.transpose(0, 1).mT
        self.values[k][:, :, filled] = values.transpose(0, 1)
        if self.inputs:
            inputs = torch.cat((memory.recent, memory.last), 1)
            begin = self.sizes.memory - memory.recent.shape[1]
            self.inputs[k][:, begin : begin + inputs.shape[1]] = inputs
