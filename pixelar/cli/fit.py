"""`pixelar fit`: trains what a config describes, into a folder of its own.

runs/NAME/  config.yaml          what was asked for, defaults filled in
            checkpoints/         the newest two, to resume from
            csv/ tensorboard/    the curves, one version per start
            samples/             a grid at every validation
            model/               the trained model, once it is finished
"""

import difflib
import inspect
import logging
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
from jsonargparse import ArgumentError
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from pixelar.data import DATASETS
from pixelar.data.module import PixelData
from pixelar.errors import PixelarError, did_you_mean
from pixelar.files import replacing
from pixelar.folders import save
from pixelar.heads import HEADS
from pixelar.nets import NETS
from pixelar.quantizers import QUANTIZERS
from pixelar.training.curves import draw_curves
from pixelar.training import (
    AtomicCheckpointIO,
    Checkpoints,
    SampleGrid,
    StepSeed,
    StopOnNonFinite,
    Throughput,
    Training,
    WarmEMA,
    newest_checkpoint,
)

__all__ = ["fit"]

# where a config names a class, and the table that the name must come from
TABLES: dict[str, dict[str, Any]] = {
    "model.net": NETS,
    "model.head": HEADS,
    "model.quantizer": QUANTIZERS,
    "data.dataset": {cls.__name__: cls for cls in DATASETS.values()},
}


class FitCLI(LightningCLI):
    """Lightning's command line with the options of a run, and the image shape passed from data to model."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument(
            "--run", type=str | None, default=None, help="folder of this run; default: runs/CONFIG"
        )
        parser.add_argument(
            "--resume", action="store_true", help="go on from the newest checkpoint of the run"
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
    with quiet_libraries():
        cli = build(arguments)
        config, trainer = cli.config, cli.trainer
        folder = Path(config["run"] or Path("runs") / _config_name(arguments))
        checkpoint = _where_to_begin(folder, resume=config["resume"])
        _equip(trainer, config, folder)
        if trainer.is_global_zero:
            with replacing(folder / "config.yaml") as temporary:
                temporary.write_text(cli.parser.dump(config, skip_none=False))
        again = f"pixelar fit -c {folder / 'config.yaml'} --run {folder} --resume"
        try:
            trainer.fit(cli.model, cli.datamodule, ckpt_path=checkpoint, weights_only=True)
        except (KeyboardInterrupt, SystemExit):
            print(f"\nStopped at step {trainer.global_step}. To go on:\n  {again}", file=sys.stderr)
            return 130
        except PixelarError as error:
            raise PixelarError(f"{error}\nTo go on:\n  {again}") from error
    if trainer.is_global_zero:
        _finish(cli.model, folder)
    return 0


def build(arguments: list[str]) -> FitCLI:
    """Reads configs and options, and builds data, model and trainer; says what is wrong in a sentence."""
    try:
        return FitCLI(
            Training,
            PixelData,
            run=False,
            args=[*arguments],
            seed_everything_default=0,
            save_config_callback=None,
            trainer_defaults=TRAINER_DEFAULTS,
            parser_kwargs={"exit_on_error": False, "prog": "pixelar fit"},
        )
    except ArgumentError as error:
        raise PixelarError(explain(str(error))) from error


def explain(message: str) -> str:
    """Returns what jsonargparse complains of as one sentence, with the nearest known name."""
    where = re.search(r'Parser key "([^"]+)"', message) or re.search(r"Group '([^']+)'", message)
    key = where[1] if where else ""
    named = re.search(r"Expected a dot import path string: (\S+)", message)
    if named and key in TABLES:
        return f"{key}: {did_you_mean(named[1], TABLES[key])}"
    option = re.search(r"[Oo]ption '([^']+)' is not accepted|accept option '([^']+)'", message)
    if option:
        name = option[1] or option[2]
        return f"{key}: {did_you_mean(name, _known_keys(key, message))}"
    stray = re.search(r"unrecognized arguments: --(\S+)", message)
    if stray:
        name = stray[1].split("=")[0]
        near = difflib.get_close_matches(name, _all_keys(), n=1, cutoff=0.4)
        return f"unknown option --{name}" + (f"; did you mean --{near[0]}?" if near else "")
    wrong = re.search(
        r'Parser key "(\w+)":\s+(Expected an? .*?)\.? Got value: (\S+?)\.?( |$)', message
    )
    if wrong:
        path = key if key.endswith(wrong[1]) else f"{key}.{wrong[1]}"
        rule = re.sub(r"<class '(.*?)'>", r"\1", wrong[2])
        return f"{path}: {rule}; got {wrong[3]}"
    return " ".join(message.split())


def _known_keys(key: str, message: str) -> list[str]:
    """Returns the keys that are accepted at a place of the config."""
    if key in TABLES:
        classes = [cls for name, cls in TABLES[key].items() if f".{name}'" in message]
        return [p for cls in classes for p in inspect.signature(cls).parameters]
    owner = {"model": Training, "data": PixelData, "trainer": L.Trainer}.get(key)
    return list(inspect.signature(owner).parameters) if owner else _all_keys()


def _all_keys() -> list[str]:
    """Returns all option names with a dot at the most."""
    owners = {"model": Training, "data": PixelData, "trainer": L.Trainer}
    nested = [f"{k}.{p}" for k, cls in owners.items() for p in inspect.signature(cls).parameters]
    return [
        *nested,
        "run",
        "resume",
        "ema",
        "checkpoint_every",
        "samples",
        "seed_everything",
        "config",
    ]


def _config_name(arguments: list[str]) -> str:
    """Returns the name of the last config file, without its ending."""
    pairs = zip(arguments, arguments[1:], strict=False)
    names = [value for option, value in pairs if option in ("-c", "--config")]
    names += [a.split("=", 1)[1] for a in arguments if a.startswith("--config=")]
    return Path(names[-1]).stem if names else "unnamed"


def _where_to_begin(folder: Path, *, resume: bool) -> Path | None:
    """Returns the checkpoint to resume from, or None for a new run; refuses to write over an old one."""
    checkpoint, complaints = newest_checkpoint(folder / "checkpoints")
    for complaint in complaints:
        print(f"pixelar: {complaint}; falling back to the one before it", file=sys.stderr)
    if resume:
        if checkpoint is None:
            raise PixelarError(f"nothing to resume in {folder}; leave --resume out to start there")
        return checkpoint
    if checkpoint or complaints:
        raise PixelarError(
            f"{folder} holds a run already: go on with --resume, or name another --run"
        )
    return None


def _equip(trainer: L.Trainer, config: Any, folder: Path) -> None:  # noqa: ANN401
    """Gives the trainer its callbacks, loggers and the way checkpoints are written."""
    trainer.callbacks += [
        StepSeed(int(config["seed_everything"])),
        StopOnNonFinite(),
        Throughput(),
        SampleGrid(folder / "samples", config["samples"]),
        WarmEMA(config["ema"]),
        Checkpoints(folder / "checkpoints", config["checkpoint_every"]),
    ]
    trainer.loggers = [
        CSVLogger(folder, name="csv", flush_logs_every_n_steps=trainer.log_every_n_steps),
        TensorBoardLogger(folder, name="tensorboard"),
    ]
    trainer.strategy.checkpoint_io = AtomicCheckpointIO()


def _finish(training: Training, folder: Path) -> None:
    """Saves the trained model, which holds the averaged weights now, and its curves."""
    save(training.model, folder / "model", weights="ema")
    draw_curves({folder.name: folder}, folder / "curves.png")
    print(
        f"Trained. The model is in {folder / 'model'}. Next:\n  pixelar evaluate {folder / 'model'} -d DATA"
    )


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keeps advice about other people's products, and deprecations inside Lightning, from the screen."""
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric.utilities.seed").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\..*")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        yield
