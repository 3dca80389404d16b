"""`pixelar fit`: trains what a config describes, into a folder of its own.

runs/NAME/  config.yaml          what was asked for, defaults filled in
            checkpoints/         the newest two, to resume from
            csv/ tensorboard/    the curves, one version per start
            samples/             a grid at every validation
            model/               the trained model, once it is finished
"""

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import lightning as L
from jsonargparse import ArgumentError
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from pixelar.cli.inputs import open_model
from pixelar.cli.messages import USAGE, explain
from pixelar.data.module import PixelData
from pixelar.errors import PixelarError
from pixelar.files import replacing
from pixelar.folders import load_checkpoint, save
from pixelar.memory import available_memory, gigabytes
from pixelar.training import (
    AtomicCheckpointIO,
    Bar,
    Checkpoints,
    Curves,
    SampleGrid,
    StepSeed,
    StopOnNonFinite,
    Training,
    WarmEMA,
    newest_checkpoint,
)
from pixelar.training.curves import draw_curves
from pixelar.training.memory import predict_step_memory

__all__ = ["fit"]


class FitCLI(LightningCLI):
    """Lightning's command line with a run's options, and the shape passed from data to model."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument(
            "--run", type=str | None, default=None, help="folder of this run; default: runs/CONFIG"
        )
        parser.add_argument(
            "--resume", action="store_true", help="go on from the newest checkpoint of the run"
        )
        parser.add_argument(
            "--init",
            type=str | None,
            default=None,
            help="begin with the weights of a model: its name, folder or checkpoint",
        )
        parser.add_argument(
            "--ema", type=float, default=0.999, help="decay of the weights' moving average"
        )
        parser.add_argument(
            "--checkpoint_every", type=int, default=500, help="steps between checkpoints"
        )
        parser.add_argument(
            "--samples", type=int, default=16, help="images in the grid drawn at each validation"
        )
        parser.link_arguments("data.shape", "model.shape", apply_on="instantiate")


TRAINER_DEFAULTS = {
    "max_epochs": 1,  # one long epoch, counted in batches: see pixelar.data.sampling
    "max_steps": 10_000,
    "check_val_every_n_epoch": None,
    "val_check_interval": 1000,
    "num_sanity_val_steps": 0,
    "use_distributed_sampler": False,
    "gradient_clip_val": 1.0,
    "log_every_n_steps": 20,
    "enable_model_summary": False,
    "logger": False,
    "enable_checkpointing": False,
}


def fit(arguments: list[str]) -> int:
    """Trains what the arguments and their config files describe; returns the exit code."""
    if not arguments:
        raise PixelarError(USAGE)
    with quiet_libraries():
        cli = build(arguments)
        config, trainer = cli.config, cli.trainer
        _check_processes(trainer)
        folder = Path(config["run"] or Path("runs") / _config_name(arguments))
        checkpoint = _where_to_begin(folder, config["resume"], leads=trainer.is_global_zero)
        if config["init"] and checkpoint is None:
            cli.model.start_from(open_model(config["init"]))
        try:
            _equip(trainer, config, folder)
            if trainer.is_global_zero:
                _save_config(cli, folder)
                cli.datamodule.prepare_data()  # data that are missing are told at once
                _foresee(cli)
                _tell_orders(cli.model)
            trainer.fit(cli.model, cli.datamodule, ckpt_path=checkpoint, weights_only=True)
        except (KeyboardInterrupt, SystemExit):
            if trainer.is_global_zero:
                hint = _how_to_go_on(folder) or "There is no checkpoint yet."
                print(f"\nStopped. {hint}", file=sys.stderr)
            return 130
        except (PixelarError, OSError) as error:
            raise PixelarError(_with_a_way_out(error, folder)) from error
    if trainer.is_global_zero:
        _finish(folder)
    return 0


def build(arguments: list[str]) -> FitCLI:
    """Reads configs and options and builds data, model and trainer, or says what is wrong."""
    try:
        return FitCLI(
            Training,
            PixelData,
            run=False,
            args=[*arguments],
            seed_everything_default=0,
            save_config_callback=None,
            trainer_defaults=TRAINER_DEFAULTS,
            parser_kwargs={"exit_on_error": False, "allow_abbrev": False, "prog": "pixelar fit"},
        )
    except ArgumentError as error:
        raise PixelarError(explain(str(error))) from error
    except (MisconfigurationException, ValueError) as error:  # Lightning, on the trainer's options
        raise PixelarError(str(error)) from error


def _check_processes(trainer: L.Trainer) -> None:
    """Raises PixelarError where torchrun started more processes than train together."""
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if started not in (1, trainer.world_size):
        raise PixelarError(
            f"{started} processes were started, but each would train a model of its own: add "
            f"--trainer.devices {os.environ.get('LOCAL_WORLD_SIZE', started)} "
            "--trainer.strategy ddp"
        )


def _config_name(arguments: list[str]) -> str:
    """Returns the name of the last config file, without its ending."""
    names = [value for option, value in pairwise(arguments) if option in ("-c", "--config")]
    names += [a.split("=", 1)[1] for a in arguments if a.startswith("--config=")]
    return Path(names[-1]).stem if names else "unnamed"


def _where_to_begin(folder: Path, resume: bool, *, leads: bool) -> Path | None:
    """Returns the checkpoint to resume from, or None for a new run; never overwrites an old one.

    Arguments:
        folder: The run's folder.
        resume: Whether to resume.
        leads: Whether this process is the first of several, which speaks and tidies for all.
    """
    if not resume:
        if any((folder / "checkpoints").glob("step-*.ckpt")):
            raise PixelarError(
                f"{folder} holds a run already: go on with --resume, or name another --run"
            )
        return None
    checkpoint, complaints = newest_checkpoint(folder / "checkpoints")
    if checkpoint is None:
        raise PixelarError(
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


def _save_config(cli: FitCLI, folder: Path) -> None:
    """Writes what was asked for; whether to resume is asked anew at each start."""
    config = cli.config.clone()
    config["resume"] = False
    with replacing(folder / "config.yaml") as temporary:
        temporary.write_text(cli.parser.dump(config, skip_none=False))


def _foresee(cli: FitCLI) -> None:
    """Prints the memory that a step will take, and what to do if so much is not free."""
    trainer, data, device = cli.trainer, cli.datamodule, cli.trainer.strategy.root_device
    try:
        step = predict_step_memory(
            cli.model,
            data.batch_size,
            precision=trainer.precision,
            device=device,
            processes=trainer.world_size,
        )
    except Exception:  # a net may ask for values; what is wrong with it shows when it trains
        print("The memory of a training step cannot be foreseen for this net.")
        return
    free = available_memory(device)
    told = "" if free is None else f"; {gigabytes(free)} are free"
    print(f"{str(step)[0].upper()}{str(step)[1:]}{told}.", flush=True)
    if free is not None and step.peak > free:
        print(
            "pixelar: that is more than is free; use a smaller data.batch_size, with "
            "trainer.accumulate_grad_batches for as many images in a step"
            + ("" if cli.model.model.net.checkpointing else ", or model.checkpointing: true"),
            file=sys.stderr,
        )


def _tell_orders(training: Training) -> None:
    """Prints in which orders a model is trained, where these are several."""
    scan = training.model.scan.name
    several = {
        "symmetries": f"in one of the eight symmetries of {scan}",
        "random": "in a new order",
    }
    if training.orders in several:
        how = several[training.orders]
        print(f"Each batch is trained {how}; validation is in one order, {scan}.", flush=True)


def _with_a_way_out(error: PixelarError | OSError, folder: Path) -> str:
    """Returns what went wrong in a run, and how to go on once it is mended."""
    what = str(error)
    if isinstance(error, OSError):
        what = f"cannot write {error.filename or f'in {folder}'}: {error.strerror}"
    return f"{what}\n{_how_to_go_on(folder)}".rstrip()


def _how_to_go_on(folder: Path) -> str:
    """Returns the command that resumes a run from its newest checkpoint, or "" if there is none."""
    saved = sorted((folder / "checkpoints").glob("step-*.ckpt"))
    if not saved:
        return ""
    step = int(saved[-1].stem.removeprefix("step-"))
    command = f"pixelar fit -c {folder / 'config.yaml'} --run {folder} --resume"
    return f"The newest checkpoint is of step {step}. To go on:\n  {command}"


def _equip(trainer: L.Trainer, config: Any, folder: Path) -> None:  # noqa: ANN401
    """Gives the trainer its callbacks, loggers and the way checkpoints are written."""
    callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    if trainer.progress_bar_callback:  # Lightning takes rich's where that is installed
        callbacks.remove(trainer.progress_bar_callback)
        callbacks.append(Bar())
    callbacks += [
        StepSeed(int(config["seed_everything"])),
        StopOnNonFinite(),
        SampleGrid(folder / "samples", config["samples"]),
        WarmEMA(config["ema"]),
        Curves(),
        Checkpoints(folder / "checkpoints", config["checkpoint_every"]),
    ]
    trainer.loggers = [
        CSVLogger(folder, name="csv", flush_logs_every_n_steps=1),
        TensorBoardLogger(folder, name="tensorboard"),
    ]
    trainer.strategy.checkpoint_io = AtomicCheckpointIO()


def _finish(folder: Path) -> None:
    """Makes the last checkpoint's averaged weights a model folder, and draws the curves."""
    checkpoint, complaints = newest_checkpoint(folder / "checkpoints")
    if checkpoint is None:
        raise PixelarError("; ".join(complaints) or f"{folder} has no checkpoint")
    save(load_checkpoint(checkpoint), folder / "model", weights="ema")
    draw_curves({folder.name: folder}, folder / "curves.png")
    print(
        f"Trained. The model is in {folder / 'model'}. Next:\n"
        f"  pixelar evaluate {folder / 'model'} -d DATA"
    )


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keeps Lightning's progress reports, advice and deprecations from the screen."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\..*")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        yield
