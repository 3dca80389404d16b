"""What happens around a training step: averages, checks, checkpoints, pictures and figures."""

import signal
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint, WeightAveraging
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from pixelar.errors import PixelarError
from pixelar.pictures import grid, save_picture
from pixelar.sampling import sample
from pixelar.seeds import mix
from pixelar.training.module import Training

__all__ = ["Checkpoints", "SampleGrid", "StepSeed", "StopOnNonFinite", "Throughput", "WarmEMA"]


def warm_up_average(decay: float, average: Tensor, current: Tensor, count: Tensor) -> Tensor:
    """Returns the next average; early on it forgets faster, so that the first weights do not linger."""
    return torch.lerp(average, current, 1 - torch.clamp((1 + count) / (10 + count), max=decay))


class WarmEMA(WeightAveraging):
    """An exponential moving average of the weights; validation and the final model use it.

    Arguments:
        decay: The share of the average that stays at each step, once (1 + n) / (10 + n) exceeds it.
    """

    def __init__(self, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise PixelarError(f"ema must be at least 0 and below 1; got {decay}")
        super().__init__(use_buffers=False, avg_fn=lambda a, c, n: warm_up_average(decay, a, c, n))


class StepSeed(L.Callback):
    """Makes dropout and noise a function of the seed, the batch's number and the process."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def on_train_batch_start(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        batch: Any,  # noqa: ANN401
        batch_idx: int,
    ) -> None:
        batches = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        torch.manual_seed(mix(self.seed, batches, trainer.global_rank))


class StopOnNonFinite(L.Callback):
    """Stops before a step that would fill the weights with nan or infinity."""

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        grads = [p.grad for p in pl_module.parameters() if p.grad is not None]
        if not torch.isfinite(torch.nn.utils.get_total_norm(grads)):
            raise PixelarError(
                f"the gradient is not finite at step {trainer.global_step}; the weights are those of the "
                "step before. Resume from the last checkpoint with a lower model.lr or precision 32-true"
            )


class Checkpoints(Checkpoint):
    """Saves every so many steps and at the last one, keeps the newest two, and saves when interrupted.

    An interrupt (Ctrl-C, SIGTERM) waits for the running batch, so that what is saved is a whole step.

    Arguments:
        folder: Where they go.
        every: The steps between them.
    """

    def __init__(self, folder: Path, every: int) -> None:
        self.folder, self.every = folder, every
        self._interrupted = False
        self._saved = -1
        self._handlers: dict[int, Any] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._saved = trainer.global_step
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
        step = trainer.global_step
        due = step % self.every == 0 or step >= trainer.max_steps
        if step > self._saved and (due or self._interrupted):
            self._save(trainer, step)
        if self._interrupted:
            raise KeyboardInterrupt

    def on_validation_batch_end(self, trainer: L.Trainer, *_: Any) -> None:  # noqa: ANN401
        if self._interrupted:  # the weights are the average's now: not to be saved
            raise KeyboardInterrupt

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._restore()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        self._restore()

    def _save(self, trainer: L.Trainer, step: int) -> None:
        trainer.save_checkpoint(self.folder / f"step-{step:08d}.ckpt")
        self._saved = step
        if trainer.is_global_zero:
            for old in sorted(self.folder.glob("step-*.ckpt"))[:-2]:
                old.unlink()

    def _restore(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()


class SampleGrid(L.Callback):
    """Draws a grid of samples whenever the model is validated, from the same noise each time.

    Arguments:
        folder: Where the pictures go; TensorBoard gets them too.
        count: The number of samples; 0 for none.
    """

    def __init__(self, folder: Path, count: int = 16) -> None:
        self.folder, self.count = folder, count

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not (self.count and trainer.is_global_zero) or trainer.sanity_checking:
            return
        assert isinstance(pl_module, Training)
        model = pl_module.model
        labels = torch.arange(self.count) % model.classes if model.classes else None
        images = grid(sample(model, self.count, labels, seed=0))
        save_picture(images, self.folder / f"step-{trainer.global_step:08d}.png")
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("samples", images, trainer.global_step)


class Throughput(L.Callback):
    """Logs how many images a second the run trains on, validation and pictures not counted."""

    def __init__(self) -> None:
        self._images, self._seconds, self._began = 0, 0.0, 0.0

    def on_train_batch_start(self, *_: Any) -> None:  # noqa: ANN401
        self._began = time.perf_counter()

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,  # noqa: ANN401
        batch: Any,  # noqa: ANN401
        batch_idx: int,
    ) -> None:
        self._seconds += time.perf_counter() - self._began
        self._images += len(batch[0]) * trainer.world_size
        if (batch_idx + 1) % trainer.log_every_n_steps == 0:
            pl_module.log("train/images_per_s", self._images / self._seconds, prog_bar=True)
            self._images, self._seconds = 0, 0.0
