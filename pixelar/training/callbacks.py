"""What happens around a training step: averages, seeds, checks, pictures and the progress bar."""

from itertools import chain
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import TQDMProgressBar, WeightAveraging
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from pixelar.errors import ConfigError
from pixelar.plotting import as_pictures, grid, save_picture
from pixelar.rng import mix
from pixelar.sampling.samples import sample
from pixelar.training.module import Training

__all__ = ["Bar", "SampleGrid", "StepSeed", "StopOnNonFinite", "WarmEMA", "warm_up_average"]


def warm_up_average(decay: float, average: Tensor, current: Tensor, count: Tensor) -> Tensor:
    """Returns the average after `count` + 1 steps.

    Early on it forgets faster, so that the first weights do not linger.
    """
    count = count.to(average.dtype)
    stays = torch.clamp((1 + count) / (10 + count), max=decay)
    return torch.lerp(average, current.to(average.dtype), 1 - stays)


class WarmEMA(WeightAveraging):
    """An exponential moving average of the weights; validation and the final model use it.

    It is kept in float32 at least: in bfloat16, updates by a thousandth of the difference would be
    rounded away. Validation then computes in the average's precision.

    Arguments:
        decay: The share of the average that stays at each step, once (1 + n) / (10 + n) exceeds it.
    """

    def __init__(self, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise ConfigError(f"ema must be at least 0 and below 1; got {decay}")
        super().__init__(use_buffers=False, avg_fn=lambda a, c, n: warm_up_average(decay, a, c, n))
        self._swapped = False

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if trainer.precision == "64-true":
            # Lightning casts only after reading a checkpoint, which would round its values
            pl_module.double()
        super().setup(trainer, pl_module, stage)

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Swaps the trained weights back if validation failed, and averages the step just done if
        another callback failed.
        """
        if self._average_model is None:
            return
        if self._swapped:
            self._swap_models(pl_module)
        self.on_train_batch_end(trainer, pl_module, None, None, 0)

    def _swap_models(self, pl_module: L.LightningModule) -> None:
        assert self._average_model is not None
        self._swapped = not self._swapped
        averages, currents = (
            chain(module.parameters(), module.buffers())
            for module in (self._average_model.module, pl_module)
        )
        for average, current in zip(averages, currents, strict=True):
            if average.dtype == current.dtype:
                kept = average.data.clone()
                average.data.copy_(current.data)
                current.data.copy_(kept)
            else:  # the tensors themselves, as copies would be rounded
                average.data, current.data = current.data, average.data


class StepSeed(L.Callback):
    """Seeds each step: dropout and noise by the seed, the batch's number and the process; the order
    by the seed and the batch's number.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        assert isinstance(pl_module, Training)
        pl_module.order_seed = self.seed

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
        if getattr(trainer.precision_plugin, "scaler", None):
            return  # 16-mixed skips such steps, and adapts its scale
        grads = [p.grad for p in pl_module.parameters() if p.grad is not None]
        if not torch.isfinite(torch.nn.utils.get_total_norm(grads)):
            raise ConfigError(
                f"the gradient of step {trainer.global_step + 1} is not finite; stopped before it "
                "reached the weights. Try a lower model.lr or trainer.precision 32-true"
            )


class SampleGrid(L.Callback):
    """Draws a grid of samples whenever the model is validated, from the same noise each time.

    Arguments:
        folder: Where the pictures go; TensorBoard gets them too.
        count: The number of samples; 0 for none.
    """

    def __init__(self, folder: Path, count: int = 16) -> None:
        if count < 0:
            raise ConfigError(f"samples must be at least 0; got {count}")
        self.folder, self.count = folder, count

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not (self.count and trainer.is_global_zero) or trainer.sanity_checking:
            return
        assert isinstance(pl_module, Training)
        model = pl_module.model
        labels = torch.arange(self.count) % model.classes if model.classes else None
        drawn = sample(model, self.count, labels, seed=0)
        images = grid(as_pictures(drawn, model.quantizer.values))
        save_picture(images, self.folder / f"step-{trainer.global_step:08d}.png")
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("samples", images, trainer.global_step)


class Bar(TQDMProgressBar):
    """The progress bar in batches, with the metrics and the number of images per second."""

    def __init__(self) -> None:
        super().__init__(refresh_rate=10)

    def on_train_start(self, *_: Any) -> None:  # noqa: ANN401
        # here, as a resumed run is in the middle of its epoch and starts none
        super().on_train_start(*_)
        self.train_progress_bar.set_description("Training")
        self.train_progress_bar.total = self.total_train_batches

    def on_train_epoch_start(self, *_: Any) -> None:  # noqa: ANN401
        pass  # it would number the one long epoch

    def get_metrics(
        self, trainer: L.Trainer, pl_module: L.LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        if "train/images_per_s" in metrics:
            metrics["train/images_per_s"] = f"{metrics['train/images_per_s']:.0f}"
        return metrics
