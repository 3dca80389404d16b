"""Checkpoint files that are whole or absent, and are checked before they are believed."""

import os
import signal
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint

from pixelar.errors import PixelarError
from pixelar.files import read_torch, replacing

__all__ = ["AtomicCheckpointIO", "Checkpoints", "newest_checkpoint", "read_checkpoint"]


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the file and renames: a kill at any moment leaves the old file or the new one.

    Lightning's way goes through the temporary folder; a move between file systems is a copy.
    """

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | os.PathLike[str],
        storage_options: Any = None,  # noqa: ANN401
    ) -> None:
        with replacing(Path(path)) as temporary:
            torch.save(checkpoint, temporary)


class Checkpoints(Checkpoint):
    """Saves every so many steps and at the last, keeps the newest two, and saves when interrupted.

    An interrupt (Ctrl-C, SIGTERM) waits for the running step, so that what is saved is a whole one.
    A step is saved before its validation, which a resumed run catches up on. The last step is
    saved after its validation: a run that begins at its last step has nothing to catch up.

    Arguments:
        folder: Where they go.
        every: The steps between them.
    """

    def __init__(self, folder: Path, every: int) -> None:
        if every < 1:
            raise PixelarError(f"checkpoint_every must be at least 1; got {every}")
        self.folder, self.every = folder, every
        self._interrupted = False
        self._step = self._saved = -1
        self._handlers: dict[int, Any] = {}

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        loop = checkpoint["loops"]["fit_loop"]
        # to Lightning a validation that was begun is one to go on with: that of this step, if any
        loop["epoch_loop.val_loop.batch_progress"].update(
            total={"ready": 1, "started": 1, "processed": 0, "completed": 0},
            current={"ready": 0, "started": 0, "processed": 0, "completed": 0},
            is_last_batch=False,
        )
        # and the last batch ends the only epoch, also when max_steps has been raised since
        loop["epoch_loop.batch_progress"]["is_last_batch"] = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._step = self._saved = trainer.global_step
        if trainer.is_global_zero:
            for torn in self.folder.glob(".step-*.tmp"):  # of processes that were killed
                torn.unlink()
        for number in (signal.SIGINT, signal.SIGTERM):
            self._handlers[number] = signal.signal(number, self._interrupt)

    def _interrupt(self, number: int, frame: object) -> None:
        if self._interrupted:  # the second time, at once
            raise KeyboardInterrupt
        self._interrupted = True

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,  # noqa: ANN401
        batch: Any,  # noqa: ANN401
        batch_idx: int,
    ) -> None:
        if trainer.global_step == self._step:  # gradients are still being accumulated
            return
        self._step = trainer.global_step
        if self._step >= trainer.max_steps:
            if not self._validates_next(trainer):
                self._save(trainer)
            return
        # all processes stop at one step
        stop = trainer.strategy.reduce_boolean_decision(self._interrupted, all=False)
        if stop or self._step % self.every == 0:
            self._save(trainer)
        if stop:
            raise KeyboardInterrupt

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._whole_step(trainer) and self._step < trainer.max_steps:
            self._save(trainer)  # as an interrupt finds the average's weights in place of these

    def on_validation_batch_end(self, trainer: L.Trainer, *_: Any) -> None:  # noqa: ANN401
        # several processes have different numbers of batches, and wait for the next step
        saved = self._saved == self._step and self._whole_step(trainer)
        if self._interrupted and saved and trainer.world_size == 1:
            raise KeyboardInterrupt

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._step >= trainer.max_steps:
            self._save(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._restore()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        self._restore()

    def _whole_step(self, trainer: L.Trainer) -> bool:
        """Returns whether no gradients of a step to come have been accumulated."""
        return _batches(trainer) % trainer.accumulate_grad_batches == 0

    def _validates_next(self, trainer: L.Trainer) -> bool:
        interval = trainer.val_check_batch
        if not (interval and trainer.enable_validation and not trainer.check_val_every_n_epoch):
            return False
        return _batches(trainer) % interval == 0

    def _save(self, trainer: L.Trainer) -> None:
        if self._saved == self._step:
            return
        path = self.folder / f"step-{self._step:08d}.ckpt"
        trainer.save_checkpoint(path, weights_only=False)
        self._saved = self._step
        if trainer.is_global_zero:
            for old in sorted(self.folder.glob("step-*.ckpt"))[:-2]:
                old.unlink()

    def _restore(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()


def _batches(trainer: L.Trainer) -> int:
    return trainer.fit_loop.epoch_loop.batch_progress.current.ready


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a checkpoint after checking every byte of it; nothing in it is executed.

    Raises:
        PixelarError: If the file is missing, damaged, or holds more than plain values and tensors.
    """
    if not path.is_file():
        raise PixelarError(f"no checkpoint at {path}")
    checkpoint = read_torch(path)
    if not isinstance(checkpoint, dict) or "pixelar" not in checkpoint:
        raise PixelarError(f"{path} is not a checkpoint of pixelar")
    return checkpoint


def newest_checkpoint(folder: Path) -> tuple[Path | None, list[str]]:
    """Returns the newest checkpoint that is whole, and a complaint about each newer one."""
    complaints: list[str] = []
    for path in sorted(folder.glob("step-*.ckpt"), reverse=True):
        try:
            read_checkpoint(path)
            return path, complaints
        except PixelarError as error:
            complaints.append(str(error))
    return None, complaints
