"""Checks the config and options of a run, and builds its data, model and trainer."""

import os
import re
import time
from argparse import Action
from collections.abc import Mapping
from typing import Any, Union, get_args, get_origin

import lightning as L
import torch
from jsonargparse import ArgumentError
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Checkpoint, ProgressBar
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI

from pixelar.cli.fit_options import OPTIONS, locate_configs
from pixelar.cli.messages import explain
from pixelar.cli.trust import import_here
from pixelar.errors import ConfigError, PixelarError
from pixelar.names.defaults import TRAINER_DEFAULTS
from pixelar.names.limits import check_duration, check_limits
from pixelar.training import Bar, Training
from pixelar.training.data_module import PixelData

__all__ = ["FitCLI", "build", "name_option"]


class FitCLI(LightningCLI):
    """Lightning's command line with a run's options, and the shape passed from data to model."""

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        for name, (kind, default, about) in OPTIONS.items():
            if kind is bool:
                parser.add_argument(f"--{name}", action="store_true", help=about)
            else:
                given = kind | None if default is None else kind
                given = bool | int if name == "seed_everything" else given  # true draws a seed
                parser.add_argument(f"--{name}", type=given, default=default, help=about)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        for name in ("shape", "image_dtype"):
            parser.link_arguments(f"data.{name}", f"model.{name}", apply_on="instantiate")
        for action in parser._actions:
            whole_numbers_first(action)

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Reads all options, and rejects invalid ones before anything is built."""
        super().parse_arguments(parser, args)
        check_limits(vars(self.config.as_flat()))
        check_trainer(self.config["trainer"])
        if self.config["model"]["compile"]:
            check_compiler()

    def instantiate_trainer(self, **named: Any) -> L.Trainer:  # noqa: ANN401
        """Builds the trainer with the user's callbacks and loggers; a run adds its own later."""
        trainer = self.config_init["trainer"]
        given = trainer["callbacks"] or []
        callbacks = [*given] if isinstance(given, list) else [given]
        if any(isinstance(callback, Checkpoint) for callback in callbacks):
            named["enable_checkpointing"] = True  # only then, or Lightning would add its own
        shown = trainer["enable_progress_bar"] is not False  # None means yes to Lightning
        if shown and not any(isinstance(callback, ProgressBar) for callback in callbacks):
            callbacks.append(Bar())
        if trainer["logger"] is True:  # meaning any logger: a run has two already
            named["logger"] = False
        try:
            return super().instantiate_trainer(callbacks=callbacks, **named)
        except (MisconfigurationException, ImportError, RuntimeError, ValueError) as error:
            raise ConfigError(name_option(str(error), vars(trainer))) from error


def build(arguments: list[str]) -> FitCLI:
    """Reads configs and options and builds data, model and trainer, or reports what is wrong."""
    import_here()
    try:
        return FitCLI(
            Training,
            PixelData,
            run=False,
            args=["--help" if a == "--help-all" else a for a in locate_configs(arguments)[0]],
            save_config_callback=None,
            trainer_defaults=TRAINER_DEFAULTS,
            auto_configure_optimizers=False,
            parser_kwargs={"exit_on_error": False, "allow_abbrev": False, "prog": "pixelar fit"},
        )
    except ArgumentError as error:
        raise ConfigError(explain(str(error))) from error
    except PixelarError:
        raise
    except ValueError as error:  # from a class that a config names
        raise ConfigError(explain(str(error))) from error


def whole_numbers_first(action: Action) -> None:
    """Makes an option of type `int | float` read 2 as an int, not as 2.0, which a trainer treats
    differently. The parser takes the first type of a union that fits. `typing` caches unions
    regardless of their order, so which type is first depends on the unions that other modules have
    created.
    """
    kinds = get_args(hint := getattr(action, "_typehint", None))
    if get_origin(hint) is Union and {int, float} <= {*kinds}:
        ordered = tuple(sorted(kinds, key=lambda kind: kind is not int))
        action._typehint = Union[ordered]  # type: ignore[attr-defined]  # noqa: UP007


def name_option(message: str, options: Mapping[str, Any]) -> str:
    """Returns Lightning's message about the trainer, prefixed by the first option it mentions."""
    found = re.search(rf"\b({'|'.join(options)})\b", message)
    return f"trainer{f'.{found[1]}' if found else ''}: {' '.join(message.split())}"


def check_trainer(trainer: Mapping[str, Any]) -> None:
    """Raises PixelarError for invalid options of the trainer, except numbers out of range."""
    for name in ("max_time", "val_check_interval"):
        check_duration(f"trainer.{name}", trainer[name])
    interval = trainer["val_check_interval"]
    if isinstance(interval, float) and trainer["check_val_every_n_epoch"] is None:
        raise ConfigError(
            f"trainer.val_check_interval must be a whole number of batches; got {interval}. For a "
            "share of the whole run, set trainer.check_val_every_n_epoch to 1"
        )
    if trainer["use_distributed_sampler"]:
        raise ConfigError(
            "trainer.use_distributed_sampler must be false: the data module divides batches among "
            "processes itself"
        )
    check_devices(trainer)


def check_devices(trainer: Mapping[str, Any]) -> None:
    """Raises PixelarError unless there are as many devices as the trainer requires.

    Arguments:
        trainer: The trainer's options; `devices` is "auto", a number, a list of numbers, or -1 for
            all GPUs.
    """
    accelerator, devices, nodes = (trainer[k] for k in ("accelerator", "devices", "num_nodes"))
    if nodes > 1 and not {"MASTER_ADDR", "SLURM_NTASKS", "LSB_JOBID"} & os.environ.keys():
        raise ConfigError(
            f"trainer.num_nodes is {nodes}, but nothing says where the other machines are: start "
            "with torchrun or srun, or set MASTER_ADDR, MASTER_PORT, WORLD_SIZE and NODE_RANK"
        )
    gpus = torch.cuda.device_count() or int(torch.backends.mps.is_available())
    if accelerator in ("gpu", "cuda", "mps") and not gpus:
        raise ConfigError(
            f"trainer.accelerator is {accelerator}, but torch finds no GPU here; use cpu or auto"
        )
    if devices == "auto" or accelerator not in ("auto", "cpu", "gpu", "cuda", "mps"):
        return
    on_gpus = gpus and accelerator != "cpu"
    most = gpus if on_gpus else os.cpu_count() or 1
    rule = (
        f"a number from 1 to {most}, -1 for all, or a list of GPUs from 0 to {most - 1}"
        if on_gpus
        else f"a number of processes from 1 to {most}, as no GPU is used"
    )
    numbers = [part for part in str(devices).strip("[]").split(",") if part.strip()]
    listed = isinstance(devices, list) or len(numbers) > 1
    try:
        chosen = [int(number) for number in numbers]
    except ValueError:
        chosen = []
    if listed:
        right = on_gpus and 0 < len(chosen) == len({*chosen} & {*range(most)})
    else:
        right = len(chosen) == 1 and (1 <= chosen[0] <= most or (on_gpus and chosen[0] == -1))
    if not right:
        raise ConfigError(f"trainer.devices must be auto, or {rule}; got {devices}")


def check_compiler() -> None:
    """Raises PixelarError unless torch.compile works here, which takes a compiler.

    The compiled function contains a new number, since results of earlier starts are cached.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    number = time.time()
    try:
        torch.compile(lambda x: x.sin() + number)(torch.ones(8, device=device))
    except Exception as error:  # of a class of torch's own, depending on what is missing
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = next((line for line in lines if not line.endswith(":")), type(error).__name__)
        raise ConfigError(
            "model.compile needs a working compiler (g++ or clang++, and the headers of "
            f"Python); leave it false. torch says: {reason:.200}"
        ) from error
