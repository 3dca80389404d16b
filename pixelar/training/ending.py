"""What ends a run before `max_steps`: limits in batches and epochs, time, a callback.

    trainer.limit_train_batches × max_epochs ─┐
    trainer.overfit_batches × max_epochs ─────┴─► the last whole step within them
    trainer.max_time, callbacks ────────────────► the step at which they stop

For Lightning, training is one long epoch of `max_steps` steps, of which each start runs a part:
lifting a limit later changes neither batches nor learning rates.
"""

import warnings
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import EarlyStopping, GradientAccumulationScheduler, Timer

from pixelar.errors import Advice, ConfigError

__all__ = ["Ending", "check_trainer"]

# the values that lift the limits
LIFTED = {"limit_train_batches": "null", "overfit_batches": "0", "max_time": "null"}


class Ending(L.Callback):
    """Stops a run at its limits in batches, after the last whole step, and reports what ended it.

    Attributes:
        limit: The option that limits the number of batches, or "".
        last: The step at which this start ends, at most `max_steps`.
    """

    def __init__(self) -> None:
        self.limit, self.last = "", 0
        self._epochs: int | None = 1
        self._batches: int | None = None  # of the whole run

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Takes the limits over from Lightning, which would end its epoch at them."""
        total = trainer.max_steps * trainer.accumulate_grad_batches
        self._epochs, share = trainer.fit_loop.max_epochs, trainer.limit_train_batches
        once = share if isinstance(share, int) else int(share * total)
        options: Any = trainer  # has more attributes than its class declares
        if options.overfit_batches:
            self.limit = "overfit_batches"
            trainer.datamodule.repeat = once  # type: ignore[attr-defined]
        elif once < total:
            self.limit = "limit_train_batches"
        if self.limit and self._epochs is not None and self._epochs >= 0:
            self._batches = once * self._epochs
        options.limit_train_batches, options.overfit_batches = 1.0, 0.0
        trainer.fit_loop.max_epochs = 1
        self._count(trainer, step=0, batches=0)
        if not self.last:
            raise ConfigError(
                f"trainer.{self.limit} and trainer.max_epochs leave {self._batches} of the "
                f"{trainer.accumulate_grad_batches} batches that a step takes "
                "(trainer.accumulate_grad_batches): there is nothing to train"
            )

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        step = checkpoint["global_step"]
        if step > trainer.max_steps:
            raise ConfigError(
                f"the run is at step {step:,} already, beyond trainer.max_steps of "
                f"{trainer.max_steps:,}; give at least {step:,}"
            )
        data = type(trainer.datamodule).__qualname__  # type: ignore[attr-defined]
        self._count(trainer, step=step, batches=checkpoint[data]["batches"])

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._resumed_at >= self.last:
            trainer.should_stop = True

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:  # noqa: ANN401
        if trainer.global_step >= self.last < trainer.max_steps:
            trainer.should_stop = True

    def reason(self, trainer: L.Trainer) -> str:
        """Returns what ended the run before `max_steps`, or "" if it reached them."""
        if trainer.global_step >= trainer.max_steps:
            return ""
        if trainer.global_step >= self.last:
            return self.limit
        callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        for callback in callbacks:
            remaining = callback.time_remaining() if isinstance(callback, Timer) else None
            if remaining is not None and remaining <= 0:
                return "max_time"
        stopping = [type(c).__name__ for c in callbacks if isinstance(c, EarlyStopping)]
        return stopping[0] if stopping else "a callback"

    def lifting(self, trainer: L.Trainer) -> tuple[str, ...]:
        """Returns the command-line options that lift the limit that ended the run, if any."""
        reason = self.reason(trainer)
        words = (f"--trainer.{reason}", LIFTED[reason]) if reason in LIFTED else ()
        # max_epochs matters for that limit only
        return (*words, "--trainer.max_epochs", "1") if reason and self._epochs != 1 else words

    def _count(self, trainer: L.Trainer, *, step: int, batches: int) -> None:
        """Computes the last step, given the completed steps and their batches."""
        self._resumed_at, self.last = step, trainer.max_steps
        if self._batches is not None:
            more = max(self._batches - batches, 0) // trainer.accumulate_grad_batches
            self.last = min(self.last, step + more)


def check_trainer(trainer: L.Trainer, precision: object) -> None:
    """Raises PixelarError for options that training does not support, and warns of slow ones.

    Called before anything is read or written.

    Arguments:
        trainer: The trainer.
        precision: The requested precision, which the trainer may have replaced.
    """
    callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    options: Any = trainer  # has more attributes than its class declares
    if trainer.max_steps < 1 and not options.fast_dev_run:
        raise ConfigError("training is counted in steps: give the trainer max_steps of at least 1")
    if options.fast_dev_run:
        raise ConfigError(
            "trainer.fast_dev_run keeps nothing, and a run of pixelar keeps its steps; for a quick "
            "trial use --trainer.max_steps 1 --trainer.limit_val_batches 1 and a --run of its own"
        )
    if trainer.precision == "16-true":
        raise ConfigError(
            "trainer.precision 16-true cannot train: the optimizer's averages of squared gradients "
            "vanish in float16; use bf16-true, or bf16-mixed or 16-mixed"
        )
    if any(isinstance(callback, GradientAccumulationScheduler) for callback in callbacks):
        raise ConfigError(
            "trainer.callbacks: GradientAccumulationScheduler counts epochs, of which training has "
            "one; use trainer.accumulate_grad_batches, which --resume may change"
        )
    unlimited = trainer.limit_train_batches == 1.0 and not options.overfit_batches
    if unlimited and trainer.max_epochs not in (1, -1, None):
        raise ConfigError(
            f"trainer.max_epochs is {trainer.max_epochs}, but training is one long epoch: leave it "
            "at 1 and give trainer.max_steps, or limit the batches of an epoch by "
            "trainer.limit_train_batches"
        )
    if trainer.strategy.root_device.type != "cpu" or "bf16" not in trainer.precision:
        return
    advice = []
    if str(precision) in ("16", "16-mixed"):
        advice.append("trainer.precision 16-mixed needs a GPU: on the CPU it is bf16-mixed")
    if not _has_bf16():
        advice.append(
            f"this CPU has no instructions for bfloat16: trainer.precision {trainer.precision} is "
            "slower here than 32-true"
        )
    if advice and trainer.is_global_zero:
        warnings.warn("; ".join(advice), Advice, stacklevel=2)


def _has_bf16() -> bool:
    """Returns whether the CPU multiplies matrices of bfloat16."""
    able = torch.cpu.get_capabilities()
    return any(able.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16"))
