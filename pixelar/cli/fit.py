"""`pixelar fit`: trains what a config describes, into a folder of its own.

runs/NAME/  config.yaml          the config of the run, with defaults filled in
            checkpoints/         the newest two, to resume from
            csv/ tensorboard/    the curves, one version per start
            samples/             a grid at every validation
            data.json            how the data was prepared and split; trained_on.bin: digests of
                                 the training images, see pixelar.data.record
            model/               the trained model, once it is finished
"""

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from pixelar.cli.fit_build import FitCLI, build, name_option
from pixelar.cli.fit_folder import (
    finish,
    how_to_go_on,
    keep_record,
    once_it_begins,
    where_to_begin,
    with_a_way_out,
)
from pixelar.cli.fit_forecast import foresee, tell_orders
from pixelar.cli.fit_options import locate_configs
from pixelar.cli.inputs import open_model
from pixelar.cli.messages import USAGE
from pixelar.common.files import replacing
from pixelar.errors import ConfigError
from pixelar.io.verify import check_description
from pixelar.model.describe import foreign_classes
from pixelar.training import (
    AtomicCheckpointIO,
    Checkpoints,
    Curves,
    Ending,
    SampleGrid,
    StepSeed,
    StopOnNonFinite,
    WarmEMA,
    check_trainer,
)

__all__ = ["fit"]


def fit(arguments: list[str]) -> int:
    """Trains what the arguments and their config files describe; returns the exit code."""
    if not arguments:
        raise ConfigError(USAGE)
    with quiet_libraries():
        arguments, name = locate_configs(arguments)
        cli = build(arguments)
        config, trainer = cli.config, cli.trainer
        _check_processes(trainer)
        check_trainer(trainer, config["trainer"]["precision"])
        folder = Path(config["run"] or Path("runs") / name)
        checkpoint = where_to_begin(folder, config["resume"], leads=trainer.is_global_zero)
        own = foreign_classes(cli.model.model)
        if own:  # whether they can be saved is checked before the first step
            check_description(cli.model.model)
        cli.datamodule.dataset.describe()
        cli.model.name_classes(cli.datamodule.classes)
        if config["init"] and checkpoint is None:
            cli.model.start_from(open_model(config["init"], own))
        try:
            ending = equip(trainer, config, folder)
            keep_record(trainer, folder, resumes=checkpoint is not None, init=config["init"])
            if checkpoint is not None:  # resuming may reject this config
                once_it_begins(trainer, partial(save_config, cli, folder))
            if trainer.is_global_zero:
                if checkpoint is None:
                    save_config(cli, folder)
                cli.datamodule.prepare_data()  # reports missing data at once
                foresee(trainer, cli.model, cli.datamodule)
                tell_orders(cli.model)
            trainer.fit(cli.model, cli.datamodule, ckpt_path=checkpoint, weights_only=True)
        except (KeyboardInterrupt, SystemExit):
            if trainer.is_global_zero:
                hint = how_to_go_on(folder) or "There is no checkpoint yet."
                print(f"\nStopped. {hint}", file=sys.stderr)
            return 130
        except MisconfigurationException as error:  # from options that conflict with the data
            reason = ConfigError(name_option(str(error), vars(config["trainer"])))
            raise ConfigError(with_a_way_out(reason, folder)) from error
        except Exception as error:
            sentence = with_a_way_out(error, folder)
            if sentence is None:
                raise
            raise ConfigError(sentence) from error
    if trainer.is_global_zero:
        finish(folder, trainer, ending, own)
    return 0


def _check_processes(trainer: L.Trainer) -> None:
    """Raises PixelarError if torchrun started more processes than train together."""
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if started not in (1, trainer.world_size):
        raise ConfigError(
            f"{started} processes were started, but each would train a model of its own: add "
            f"--trainer.devices {os.environ.get('LOCAL_WORLD_SIZE', started)} "
            "--trainer.strategy ddp"
        )


def save_config(cli: FitCLI, folder: Path) -> None:
    """Writes the config, without `resume`, which is chosen again at each start."""
    config = cli.config.clone()
    config["resume"] = False
    with replacing(folder / "config.yaml") as temporary:
        temporary.write_text(cli.parser.dump(config, skip_none=False))


def equip(trainer: L.Trainer, config: Any, folder: Path) -> Ending:  # noqa: ANN401
    """Sets the trainer's callbacks, loggers and checkpoint writer.

    Returns:
        The callback that records what ended the run.
    """
    ending = Ending()
    callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    callbacks += [
        StepSeed(int(config["seed_everything"])),
        StopOnNonFinite(),
        SampleGrid(folder / "samples", config["samples"]),
        WarmEMA(config["ema"]),
        Curves(),
        ending,
        Checkpoints(folder / "checkpoints", config["checkpoint_every"]),
    ]
    trainer.loggers = [
        CSVLogger(folder, name="csv", flush_logs_every_n_steps=1),
        TensorBoardLogger(folder, name="tensorboard"),
        *trainer.loggers,  # of the user's own
    ]
    trainer.strategy.checkpoint_io = AtomicCheckpointIO()
    return ending


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keeps Lightning's progress reports, advice and deprecations from the screen."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\..*")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        yield
