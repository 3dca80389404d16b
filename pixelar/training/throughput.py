"""The share of training time that loading takes: batches per second against steps per second."""

import time
from dataclasses import dataclass
from itertools import islice

import torch
from torch.utils.data import DataLoader

from pixelar.data.base import ImageSet, collate
from pixelar.training.module import Training
from pixelar.training.samplers import StepSampler

__all__ = ["LoaderShare", "loader_share"]


@dataclass(frozen=True)
class LoaderShare:
    """How fast batches are loaded, and how fast steps run, each at its fastest.

    Attributes:
        batches_per_s: Batches that the loader yields per second.
        steps_per_s: Training steps per second, once batches are loaded.
    """

    batches_per_s: float
    steps_per_s: float

    @property
    def share(self) -> float:
        """The time to load a batch, as a share of the time for loading and a step together."""
        return self.steps_per_s / (self.steps_per_s + self.batches_per_s)


def loader_share(
    training: Training, images: ImageSet, batch_size: int, *, steps: int = 5, workers: int = 0
) -> LoaderShare:
    """Measures what share of training time is spent waiting for data.

    The steps are forward, backward and the optimizer's; weights change, as in training. Each rate
    is that of the fastest of `steps` repetitions, after one that is not counted.

    Arguments:
        training: The model with its optimizer.
        images: The images to train on.
        batch_size: The images in a batch.
        steps: How many batches and steps are measured.
        workers: The loader's processes.
    """
    batches = StepSampler(len(images), batch_size, total=steps + 1, seed=0)
    loader = DataLoader(images, batch_sampler=batches, num_workers=workers, collate_fn=collate)
    optimizer, device = training.build_optimizer(), training.model.device
    waiting, working, began = [], [], time.perf_counter()
    for found, labels in islice(loader, steps + 1):
        waiting.append(time.perf_counter() - began)
        began = time.perf_counter()
        optimizer.zero_grad()
        given = labels.to(device) if training.model.classes else None
        training.loss(training.model.encode(found), given).backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        working.append(time.perf_counter() - began)
        began = time.perf_counter()
    return LoaderShare(1 / min(waiting[1:]), 1 / min(working[1:]))
