"""Checkpoint files that are complete or absent."""

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint

from pixelar.common.files import replacing
from pixelar.errors import ConfigError, PixelarError

__all__ = ["AtomicCheckpointIO", "Checkpoints"]


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a temporary file and renames it: a kill at any moment leaves the old or the new file.

    Lightning uses the system's temporary folder; a move between file systems is a copy.
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
    """Saves every `every` steps and after the last step, whatever ends the run; keeps the newest
    two.

    What is saved is always a whole step: gradients accumulated for the next step are computed
    again. An interrupt (Ctrl-C, SIGTERM) waits for the running step. A step is saved before its
    validation, and a run resumed from it validates first. The last step is saved after its
    validation, since a run resumed there does not validate again.

    Arguments:
        folder: Where checkpoints are saved.
        every: The number of steps between checkpoints.
    """

    def __init__(self, folder: Path, every: int) -> None:
        if every < 1:
            raise ConfigError(f"checkpoint_every must be at least 1; got {every}")
        self.folder, self.every = folder, every
        self._interrupted = False
        self._step = self._saved = -1
        self._begun = 0  # the last step whose weight update has begun
        self._handlers: dict[int, Any] = {}

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Sets Lightning's counters to the end of the checkpoint's last whole step, where training
        continues with this start's number of batches per step.
        """
        data = trainer.datamodule  # type: ignore[attr-defined]
        batches = data.skip_to_multiple(trainer.accumulate_grad_batches)
        loop = checkpoint["loops"]["fit_loop"]
        steps = loop["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]["step"]
        steps["total"]["ready"] = steps["total"]["completed"]  # another may have begun and failed
        loop["epoch_loop.state_dict"]["_batches_that_stepped"] = steps["total"]["completed"] - 1
        done = {"ready": batches, "started": batches, "processed": batches}
        loop["epoch_loop.batch_progress"] = {
            "total": {**done, "completed": batches - 1},
            "current": {**done, "completed": batches - 1},
            # the last batch ends the only epoch, also when max_steps has been raised since
            "is_last_batch": False,
        }
        epoch = {"ready": 1, "started": 1, "processed": 0, "completed": 0}
        loop["epoch_progress"] = {"total": epoch, "current": {**epoch}}
        # Lightning continues a validation that has begun: that of this step, if any
        loop["epoch_loop.val_loop.batch_progress"].update(
            total={"ready": 1, "started": 1, "processed": 0, "completed": 0},
            current={"ready": 0, "started": 0, "processed": 0, "completed": 0},
            is_last_batch=False,
        )

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Excludes the batches of an unfinished step from the count of processed ones."""
        position = checkpoint[type(trainer.datamodule).__qualname__]  # type: ignore[attr-defined]
        position["batches"] -= position["batches"] % trainer.accumulate_grad_batches

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._step = self._saved = self._begun = trainer.global_step
        if trainer.is_global_zero:
            for torn in self.folder.glob(".step-*.tmp"):  # of processes that were killed
                torn.unlink()
        for number in (signal.SIGINT, signal.SIGTERM):
            self._handlers[number] = signal.signal(number, self._interrupt)

    def _interrupt(self, number: int, frame: object) -> None:
        if self._interrupted:  # a second interrupt stops at once
            raise KeyboardInterrupt
        self._interrupted = True

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        self._begun = trainer.global_step + 1

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
            self._save(trainer)  # before the averaged weights replace these

    def on_validation_batch_end(self, trainer: L.Trainer, *_: Any) -> None:  # noqa: ANN401
        # several processes have different numbers of batches, and wait for the next step
        saved = self._saved == self._step and self._whole_step(trainer)
        if self._interrupted and saved and trainer.world_size == 1:
            raise KeyboardInterrupt

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._step >= trainer.max_steps:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._save(trainer)  # whatever ended the epoch: in `on_train_end`, weights are averages

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._restore()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Saves the last whole step, unless an interrupt has done so or an update is incomplete.

        Runs after the callback that averages weights, which restores them first.
        """
        self._restore()
        torn = self._begun > trainer.global_step
        interrupted = self._interrupted and isinstance(exception, KeyboardInterrupt)
        if self._step < 0 or interrupted or torn:
            return
        self._step = trainer.global_step  # its end was not reported if another callback failed
        with suppress(PixelarError):  # such as a full disk, which may have ended the run
            self._save(trainer, wait=False)

    def _whole_step(self, trainer: L.Trainer) -> bool:
        """Returns whether no gradients of an unfinished step have been accumulated."""
        return _batches(trainer) % trainer.accumulate_grad_batches == 0

    def _validates_next(self, trainer: L.Trainer) -> bool:
        interval = trainer.val_check_batch
        if not (interval and trainer.enable_validation and not trainer.check_val_every_n_epoch):
            return False
        return _batches(trainer) % interval == 0

    def _save(self, trainer: L.Trainer, *, wait: bool = True) -> None:
        """Saves the last step once; does not wait for other processes, which may have failed, if
        not `wait`.
        """
        if self._saved == self._step:
            return
        path = self.folder / f"step-{self._step:08d}.ckpt"
        if wait:
            trainer.save_checkpoint(path, weights_only=False)
        else:
            content = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
            trainer.strategy.save_checkpoint(content, path)
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
