"""The data loaders of a run: a dataset as a Lightning data module."""

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.data import BatchSampler, DataLoader, Sampler

from pixelar.data.base import ImageData, ImageSet, Split, collate
from pixelar.errors import Advice, DataError, extras
from pixelar.memory.budget import choose_batch_size
from pixelar.model import PixelModel
from pixelar.names import Shape
from pixelar.names.limits import check_limits
from pixelar.training.samplers import Origin, ShardSampler, StepSampler

with extras("training"):
    import lightning as L

__all__ = ["PixelData"]

# what determines the order of the images: their number, the images in a batch of all processes
# together, and the seed
ORDER = ("images", "together", "seed")


class PixelData(L.LightningDataModule):
    """Batches of images with shape (B, C, H, W), and labels with shape (B,) or None.

    Training is one long Lightning epoch of `max_steps · accumulate_grad_batches` batches, so that
    it resumes from any checkpoint with the batch that would have come next. Resumed with batches of
    another size, it continues with the image that would have come next; the remaining images of the
    epoch are cut into batches of the new size. Evaluation uses every image once on any number of
    processes. Both need `Trainer(use_distributed_sampler=False)`.

    Arguments:
        dataset: The images.
        batch_size: The images in a training batch, per process.
        eval_batch_size: The images in a validation or test batch; None for the fastest number that
            fits into memory with the trainer's model.
        workers: The number of worker processes of each loader; 0 loads in this process.
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
        self.repeat = 0  # how many batches are repeated, as for overfit_batches
        self._start, self._origin = 0, Origin()

    @property
    def shape(self) -> Shape:
        """The shape (C, H, W) of an image."""
        return self.dataset.shape

    @property
    def image_dtype(self) -> str:
        """The name of the images' type."""
        return str(self.dataset.dtype).removeprefix("torch.")

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
            raise DataError(
                "training is counted in steps: give the trainer max_steps of at least 1"
            )
        images = self.dataset.split("train")
        # completed steps may have had other numbers of batches
        steps = trainer.max_steps - (trainer.global_step if self._start else 0)
        batches = StepSampler(
            len(images),
            self.batch_size,
            total=self._start + steps * trainer.accumulate_grad_batches,
            seed=self.seed,
            rank=trainer.global_rank,
            world=trainer.world_size,
            start=self._start,
            origin=self._origin,
            repeat=self.repeat,
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
        """Returns how many training batches the run has processed, and what determines their
        images.

        Lightning's other counts differ from it in two cases: in a checkpoint written when a batch
        fails, `ready` includes that batch; in a run resumed from such a checkpoint, `current`
        restarts behind.
        """
        assert self.trainer is not None
        progress = self.trainer.fit_loop.epoch_loop.batch_progress.state_dict()
        batches = progress["total"]["processed"]
        return {"batches": batches, "origin": list(self._origin), **self._order()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over a checkpoint's position; Lightning calls it before `train_dataloader`."""
        self._start = state_dict["batches"]
        self._origin = Origin(*state_dict.get("origin", ()))
        if "images" not in state_dict:
            return  # of a version whose batches could not change size
        old, new = {key: state_dict[key] for key in ORDER}, self._order()
        if old == new:
            return
        self._origin = self._origin.at(self._start, old["images"], old["together"])
        if (old["images"], old["seed"]) != (new["images"], new["seed"]):
            self._origin = Origin(self._start, self._origin.epoch + 1)
            warnings.warn(
                f"the training images are not those of the checkpoint ({old['images']} with "
                f"data.seed {old['seed']} then, {new['images']} with data.seed {new['seed']} now): "
                "a new pass over them begins",
                Advice,
                stacklevel=1,  # above is Lightning, whose warnings are not shown
            )

    def skip_to_multiple(self, divisor: int) -> int:
        """Renumbers the remaining batches from the next multiple of `divisor`, so that the first of
        them begins a step, and returns its number. The order of the images does not change.
        """
        start = -(-self._start // divisor) * divisor
        if start > self._start:
            images, together = self._order()["images"], self._order()["together"]
            now = self._origin.at(self._start, images, together)
            self._start, self._origin = start, now._replace(batch=start)
        return start

    def _order(self) -> dict[str, int]:
        """Returns what determines the order of the images, besides their origin."""
        world = self.trainer.world_size if self.trainer else 1
        values = (len(self.dataset.split("train")), self.batch_size * world, self.seed)
        return dict(zip(ORDER, values, strict=True))
