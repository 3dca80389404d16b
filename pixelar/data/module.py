"""The loaders of a run: a dataset as Lightning takes it."""

from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
from torch.utils.data import BatchSampler, DataLoader, Sampler

from pixelar.data.base import ImageData, ImageSet, Shape, Split, collate
from pixelar.data.sampling import ShardSampler, StepSampler
from pixelar.errors import PixelarError
from pixelar.limits import check_limits
from pixelar.memory import choose_batch_size
from pixelar.model import PixelModel

__all__ = ["PixelData"]


class PixelData(L.LightningDataModule):
    """Batches of 8-bit images with shape (B, C, H, W), and labels with shape (B,) or None.

    Training is one long Lightning epoch of `max_steps · accumulate_grad_batches` batches, so that
    it resumes from any checkpoint with the batch that would have come next. Evaluation sees every
    image once on any number of processes. Both need `Trainer(use_distributed_sampler=False)`.

    Arguments:
        dataset: The images.
        batch_size: The images in a training batch, per process.
        eval_batch_size: The images in a validation or test batch; None for as many as are quickest
            with the trainer's model and fit into memory.
        workers: The number of processes that each loader fetches batches in; 0 fetches in this one.
        seed: Seed of the order of training.

    Example:
        >>> from pixelar.data import Digits
        >>> images, labels = next(iter(PixelData(Digits(), batch_size=16).val_dataloader()))
        >>> images.shape, labels.shape
        (torch.Size([16, 1, 8, 8]), torch.Size([16]))
    """

    def __init__(
        self,
        dataset: ImageData,
        batch_size: int = 64,
        eval_batch_size: int | None = None,
        workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        numbers = {"batch_size": batch_size, "eval_batch_size": eval_batch_size, "workers": workers}
        check_limits({f"data.{name}": number for name, number in numbers.items()})
        self.dataset, self.batch_size, self.workers, self.seed = dataset, batch_size, workers, seed
        self.eval_batch_size = eval_batch_size
        self._start = 0

    @property
    def shape(self) -> Shape:
        """The shape (C, H, W) of an image."""
        return self.dataset.shape

    @property
    def classes(self) -> Sequence[str] | None:
        """The names of the classes, or None where the data has no labels."""
        return self.dataset.classes

    def prepare_data(self) -> None:
        """Loads on one process before the others, so that a download happens once."""
        self.dataset.prepare()

    def setup(self, stage: str) -> None:
        self.dataset.prepare()

    def train_dataloader(self) -> DataLoader:
        trainer = self.trainer
        if trainer is None or trainer.max_steps < 1:
            raise PixelarError(
                "training is counted in steps: give the trainer max_steps of at least 1"
            )
        images = self.dataset.split("train")
        batches = StepSampler(
            len(images),
            self.batch_size,
            total=trainer.max_steps * trainer.accumulate_grad_batches,
            seed=self.seed,
            rank=trainer.global_rank,
            world=trainer.world_size,
            start=self._start,
        )
        return self._loader(images, batches)

    def val_dataloader(self) -> DataLoader:
        return self._eval_loader("val")

    def test_dataloader(self) -> DataLoader:
        return self._eval_loader("test")

    def _eval_loader(self, split: Split) -> DataLoader:
        images = self.dataset.split(split)
        trainer = self.trainer
        rank, world = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        shard = ShardSampler(len(images), rank, world)
        batch_size = self.eval_batch_size or self._suited(world)
        return self._loader(images, BatchSampler(shard, batch_size, drop_last=False))

    def _suited(self, world: int) -> int:
        """Returns an evaluation batch size that suits the trainer's model, where there is one."""
        model = getattr(self.trainer and self.trainer.lightning_module, "model", None)
        if not isinstance(model, PixelModel):
            return self.batch_size
        return choose_batch_size(model, processes=world)

    def _loader(self, images: ImageSet, batches: Sampler[list[int]]) -> DataLoader:
        return DataLoader(
            images,
            batch_sampler=batches,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),
            collate_fn=collate,
        )

    def state_dict(self) -> dict[str, Any]:
        """Returns how many training batches the run has processed.

        Lightning's other counts differ from it in a checkpoint written as a batch fails (`ready`
        includes that batch) and in a run resumed from one (`current` restarts behind).
        """
        assert self.trainer is not None
        progress = self.trainer.fit_loop.epoch_loop.batch_progress.state_dict()
        return {"batches": progress["total"]["processed"]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over a checkpoint's position; Lightning calls it before `train_dataloader`."""
        self._start = state_dict["batches"]
