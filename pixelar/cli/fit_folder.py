"""The folder of a run: where a run begins, what is written into it, and how it ends."""

import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import LambdaCallback

from pixelar.cli.describe import run_of
from pixelar.data.record import copy_record, read_record, record_of
from pixelar.errors import ConfigError, PixelarError
from pixelar.hub.index import find
from pixelar.io.checkpoints import newest_checkpoint
from pixelar.io.folders import load_checkpoint, save
from pixelar.training import Ending
from pixelar.training.curves import draw_curves
from pixelar.training.data_module import PixelData

__all__ = [
    "finish",
    "how_to_go_on",
    "keep_record",
    "once_it_begins",
    "where_to_begin",
    "with_a_way_out",
]

MEMORY = (
    "there is not enough memory for a training step; use a smaller data.batch_size, with "
    "trainer.accumulate_grad_batches for the same number of images in a step, or "
    "model.grad_checkpointing: true"
)


def where_to_begin(folder: Path, resume: bool, *, leads: bool) -> Path | None:
    """Returns the checkpoint to resume from, or None for a new run; never overwrites an old one.

    Arguments:
        folder: The run's folder.
        resume: Whether to resume.
        leads: Whether this process is the first of several: only that one prints and renames
            files.
    """
    if not resume:
        if any((folder / "checkpoints").glob("step-*.ckpt")):
            raise ConfigError(
                f"{folder} holds a run already: go on with --resume, or name another --run"
            )
        return None
    checkpoint, complaints = newest_checkpoint(folder / "checkpoints")
    if checkpoint is None:
        raise ConfigError(
            "; ".join([*complaints, f"nothing to resume in {folder}"])
            + ("" if complaints else "; leave --resume out to start there")
        )
    if leads:
        for complaint in complaints:
            print(f"pixelar: {complaint}; falling back to {checkpoint.name}", file=sys.stderr)
        for damaged in (folder / "checkpoints").glob("step-*.ckpt"):
            if damaged.name > checkpoint.name:  # else it would count as one of the newest two
                damaged.rename(damaged.with_suffix(".damaged"))
    return checkpoint


def with_a_way_out(error: Exception, folder: Path) -> str | None:
    """Returns what ended a run, and how to go on once it is fixed.

    Returns None for errors in code, such as a callback of the user's own: these get a note instead,
    and must be raised with their traceback.
    """
    out_of_memory = isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and "memory" in str(error)
    )
    if isinstance(error, OSError) and not isinstance(error, PixelarError):
        what = f"cannot write {error.filename or f'in {folder}'}: {error.strerror}"
    elif isinstance(error, PixelarError) or out_of_memory:
        what = MEMORY if out_of_memory else str(error)
    else:
        error.add_note(how_to_go_on(folder) or "There is no checkpoint yet.")
        return None
    return f"{what}\n{how_to_go_on(folder)}".rstrip()


def how_to_go_on(folder: Path) -> str:
    """Returns the command that resumes a run from its newest checkpoint, or "" if there is none."""
    saved = sorted((folder / "checkpoints").glob("step-*.ckpt"))
    if not saved:
        return ""
    step = int(saved[-1].stem.removeprefix("step-"))
    return f"The newest checkpoint is of step {step}. To go on:\n  {_resume(folder)}"


def _resume(folder: Path, *options: str) -> str:
    """Returns the command that resumes a run."""
    words = ("-c", str(folder / "config.yaml"), "--run", str(folder), "--resume", *options)
    return f"pixelar fit {shlex.join(words)}"


def keep_record(trainer: L.Trainer, folder: Path, *, resumes: bool, init: str | None) -> None:
    """Makes a run record its data and training images in its folder, once training begins: those of
    this start, and of the run or model that it continues from.
    """

    def write() -> None:
        begin = folder if resumes else run_of(find(init)) if init else None
        before = None if begin is None else read_record(begin)
        data: PixelData = trainer.datamodule  # type: ignore[attr-defined]
        record_of(data.dataset).joined(before).save(folder)

    once_it_begins(trainer, write)


def once_it_begins(trainer: L.Trainer, action: Callable[[], None]) -> None:
    """Makes the first process run an action when training begins. It does not run if the checkpoint
    is rejected, such as one of another model or of other classes.
    """

    def begin(trainer: L.Trainer, _: L.LightningModule) -> None:
        if trainer.is_global_zero:
            action()

    callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    callbacks.append(LambdaCallback(on_train_start=begin))


def _own_data(folder: Path) -> list[str]:
    """Returns the full name of the data set of a run, if it is not one of pixelar's."""
    record = read_record(folder)
    return [record.kind] if record is not None and record.name is None else []


def finish(folder: Path, trainer: L.Trainer, ending: Ending, own: Mapping[str, type]) -> None:
    """Writes the last checkpoint's averaged weights as a model folder, draws the curves, and prints
    how far the run has come and how to go on.

    Arguments:
        folder: The run's folder.
        trainer: Its trainer, once training is over.
        ending: The callback that records what ended it.
        own: The classes of the model that are not pixelar's, by name.
    """
    reason, most = ending.reason(trainer), trainer.max_steps
    checkpoint, complaints = newest_checkpoint(folder / "checkpoints")
    if checkpoint is None:
        ended = f"the run ended before its first step ({reason}): there is no model"
        raise ConfigError("; ".join(complaints) or ended)
    save(load_checkpoint(checkpoint, trust=own), folder / "model", weights="ema")
    copy_record(folder, folder / "model")
    draw_curves({folder.name: folder}, folder / "curves.png")
    if reason:
        how = _resume(folder, *ending.lifting(trainer))
        print(f"Stopped at step {trainer.global_step:,} of {most:,} ({reason}). To go on:\n  {how}")
    classes = [f"{kind.__module__}.{name}" for name, kind in own.items()]
    print(
        f"{'' if reason else 'Trained. '}The model is in {folder / 'model'}. Next:\n"
        f"  pixelar evaluate {folder / 'model'}"
        + "".join(f" --trust {name}" for name in [*classes, *_own_data(folder)])
    )
