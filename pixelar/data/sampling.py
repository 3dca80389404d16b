"""Which images are in which batch, as functions of its number: a run can stop and resume anywhere.

epoch e:   permutation(mix(seed, e)) of n images
batch b:   ├── rank 0 ──┼── rank 1 ──┤├── rank 0 ──┼── rank 1 ──┤ … ┊ tail, left out
                    b = 0                      b = 1
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import Sampler

from pixelar.errors import PixelarError
from pixelar.seeds import mix

__all__ = ["ShardSampler", "StepSampler"]


class StepSampler(Sampler[list[int]]):
    """The batches of a run: batch k is a pure function of (seed, k), rank and world.

    Within an epoch no image is repeated and no batch padded, on any rank. The tail of an epoch's
    permutation that does not fill a batch on every rank, fewer than batch_size·world images, is
    left out of that epoch; every epoch draws a new permutation, and so leaves out others.

    Arguments:
        n: The number of images.
        batch_size: The images in a batch of one rank.
        total: The batches of the whole run, those before `start` included: its length.
        seed: Seed of the permutations.
        rank: This process.
        world: The number of processes.
        start: The batch to begin with.

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
    ) -> None:
        if n < batch_size * world:
            raise PixelarError(
                f"a batch takes {batch_size} images on each of {world} processes, but there are "
                f"only {n} to train on; choose a batch_size of at most {n // world}"
            )
        self.n, self.batch_size, self.total, self.seed = n, batch_size, total, seed
        self.rank, self.world, self.start = rank, world, start

    def permutation(self, epoch: int) -> Tensor:
        """Returns the order of the images in an epoch, with shape (n,)."""
        generator = torch.Generator().manual_seed(mix(self.seed, epoch))
        return torch.randperm(self.n, generator=generator)

    def __len__(self) -> int:
        return self.total

    def __iter__(self) -> Iterator[list[int]]:
        per_epoch = self.n // (self.batch_size * self.world)
        for k in range(self.start, self.total):
            epoch, batch = divmod(k, per_epoch)
            if k == self.start or batch == 0:
                order = self.permutation(epoch)
            first = (batch * self.world + self.rank) * self.batch_size
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
