"""Segment-level recurrence: what the positions of a segment attend to before it.

    compressed memory       memory              segment
    ▪ ▪ ▪ ▪               ■ ■ ■ ■ ■ ■          □ □ □ ? · ·

Memory holds the inputs of a block in earlier segments. In training (`Memory`) they are kept as they
are; in a sampling pass (`Window`) their keys and values are kept instead, since these do not depend
on the query. Whatever leaves the memory is compressed, several positions to one slot.

References:
    Transformer-XL: Attentive Language Models Beyond a Fixed-Length Context (Dai et al., 2019),
    https://arxiv.org/abs/1901.02860
    Compressive Transformers for Long-Range Sequence Modelling (Rae et al., 2020),
    https://arxiv.org/abs/1911.05507
"""

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Memory", "Remembering", "Sizes", "by_key", "sinusoids"]


def sinusoids(places: int, width: int) -> Tensor:
    """Returns the encodings R of distances from places - 1 down to 0, with shape (places, D)."""
    frequencies = 10000 ** -(torch.arange(0, width, 2) / width)
    angles = torch.arange(places - 1, -1, -1)[:, None] * frequencies
    return torch.cat((angles.sin(), angles.cos()), 1)[:, :width]


def by_key(scores: Tensor) -> Tensor:
    """Sorts scores (…, L, K) of L queries by key, given scores by distance, K - 1 down to 0.

    The last query is at the position of the last key; scores of keys after a query are arbitrary.
    """
    *_, length, keys = scores.shape
    return F.pad(scores, (1, 0)).flatten(-2)[..., length:].unflatten(-1, (length, keys))


class Remembering(Protocol):
    """A block that attends to a memory."""

    compress: nn.Module  # from (B, D, c · n) to (B, D, n)

    def keys_values(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Returns k and v of positions (B, K, D), each with shape (B, heads, K, D / heads)."""
        ...


@dataclass(frozen=True)
class Sizes:
    """How far back a segment attends.

    Arguments:
        segment: L, the positions of a segment.
        memory: M, the positions that are remembered uncompressed.
        slots: The slots of compressed memory.
        compression: How many positions become one slot; divides `segment` and `memory`.
    """

    segment: int
    memory: int
    slots: int
    compression: int

    @property
    def places(self) -> int:
        """N, the largest number of positions that are attended to at once."""
        return self.slots + self.memory + self.segment

    def filled(self, number: int) -> tuple[int, int]:
        """Returns how many slots, and positions of memory, are in use in a segment."""
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
