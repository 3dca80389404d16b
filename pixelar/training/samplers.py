"""Which images are in which batch, as a function of its number: a run can stop and resume anywhere.

epoch e:   permutation(mix(seed, e)) of n images
batch b:   ├── rank 0 ──┼── rank 1 ──┤├── rank 0 ──┼── rank 1 ──┤ … ┊ tail, left out
                    b = 0                      b = 1

Where a run continues with batches of another size, their numbers continue as well, from an
`Origin`: the position among the images that earlier batches had reached. No image of that epoch is
then used twice.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Sampler

from pixelar.errors import DataError
from pixelar.rng import mix

__all__ = ["Origin", "ShardSampler", "StepSampler"]


class Origin(NamedTuple):
    """The position among the images where a batch begins; it determines all later batches.

    Attributes:
        batch: The number of the batch.
        epoch: The epoch of its images.
        image: How many images of that epoch's permutation come before.
    """

    batch: int = 0
    epoch: int = 0
    image: int = 0

    def at(self, batch: int, n: int, together: int) -> "Origin":
        """Returns where the images before a later batch end.

        At the end of an epoch, that position is in this epoch, not in the next: smaller batches may
        still fit into its tail.

        Arguments:
            batch: The number of the later batch, at least this one's.
            n: The number of images.
            together: The images in a batch of all ranks.
        """
        passed, rest = batch - self.batch, (n - self.image) // together
        if passed <= rest:
            return Origin(batch, self.epoch, self.image + passed * together)
        epochs, batches = divmod(passed - rest - 1, n // together)
        return Origin(batch, self.epoch + 1 + epochs, (batches + 1) * together)


FIRST = Origin()


class StepSampler(Sampler[list[int]]):
    """The batches of a run: batch k is a pure function of (seed, origin, k), rank and world.

    Within an epoch no image is repeated and no batch padded, on any rank. The tail of an epoch's
    permutation that does not fill a batch on every rank, fewer than batch_size·world images, is
    left out of that epoch; every epoch draws a new permutation, and so leaves out others.

    Arguments:
        n: The number of images.
        batch_size: The images in a batch of one rank.
        total: The batches of the whole run, including those before `start`; the sampler's length.
        seed: Seed of the permutations.
        rank: This process.
        world: The number of processes.
        start: The batch to begin with.
        origin: Where the batches are counted from, at `start` or before.
        repeat: How many batches, from the first on, are repeated over and over; 0 repeats none.

    Example:
        >>> run = list(StepSampler(n=10, batch_size=4, total=5, seed=0))
        >>> run[3:] == list(StepSampler(n=10, batch_size=4, total=5, seed=0, start=3))
        True
    """

    def __init__(
        self,
        n: int,
        batch_size: int,
        total: int,
        seed: int,
        *,
        rank: int = 0,
        world: int = 1,
        start: int = 0,
        origin: Origin = FIRST,
        repeat: int = 0,
    ) -> None:
        if n < batch_size * world:
            raise DataError(
                f"a batch takes {batch_size} images on each of {world} processes, but there are "
                f"only {n} to train on; choose a batch_size of at most {n // world}"
            )
        self.n, self.batch_size, self.total, self.seed = n, batch_size, total, seed
        self.rank, self.world, self.start = rank, world, start
        self.origin, self.repeat = origin, repeat

    def permutation(self, epoch: int) -> Tensor:
        """Returns the order of the images in an epoch, with shape (n,)."""
        generator = torch.Generator().manual_seed(mix(self.seed, epoch))
        return torch.randperm(self.n, generator=generator)

    def __len__(self) -> int:
        return self.total

    def __iter__(self) -> Iterator[list[int]]:
        together, shuffled = self.batch_size * self.world, -1
        for k in range(self.start, self.total):
            if self.repeat:
                end = FIRST.at(k % self.repeat + 1, self.n, together)
            else:
                end = self.origin.at(k + 1, self.n, together)
            if end.epoch != shuffled:
                order, shuffled = self.permutation(end.epoch), end.epoch
            first = end.image - together + self.rank * self.batch_size
            yield order[first : first + self.batch_size].tolist()


class ShardSampler(Sampler[int]):
    """Every world-th image from `rank` on: over all ranks each image once, none padded or repeated.

    Arguments:
        n: The number of images.
        rank: This process.
        world: The number of processes.

    Example:
        >>> list(ShardSampler(5, rank=1, world=2))
        [1, 3]
    """

    def __init__(self, n: int, rank: int = 0, world: int = 1) -> None:
        self.indices = range(rank, n, world)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)
