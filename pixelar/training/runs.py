"""Reading a run's folder: its config, its cost, and its validation curve."""

import inspect
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import lightning as L
import yaml

from pixelar.errors import StorageError
from pixelar.io.checkpoints import newest_checkpoint, read_checkpoint
from pixelar.names.defaults import TRAINER_DEFAULTS
from pixelar.training.curves import read_curve

__all__ = ["Run"]


@dataclass(frozen=True)
class Run:
    """A training run on disk, up to one of its checkpoints.

    Arguments:
        folder: The run's folder.
        checkpoint: One of its checkpoints.
    """

    folder: Path
    checkpoint: Path

    @classmethod
    def at(cls, path: Path) -> "Run":
        """Returns the run of a folder, up to its newest checkpoint, or of a checkpoint."""
        if path.suffix == ".ckpt":
            return cls(path.parent.parent, path)
        found, complaints = newest_checkpoint(path / "checkpoints")
        if found is None:
            raise StorageError(
                "; ".join(complaints) or f"{path} has no checkpoint: it is not a run"
            )
        return cls(path, found)

    @cached_property
    def asked(self) -> dict[str, Any]:
        """The config of the run as it was written down."""
        file = self.folder / "config.yaml"
        if not file.is_file():
            raise StorageError(f"{self.folder} is not a run: it has no file config.yaml")
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise StorageError(f"{file} is not the config of a run")
        return content

    @property
    def began_with(self) -> str | None:
        """The model whose weights the run began with, if it did not begin with random ones."""
        return self.asked.get("init")

    def config(self) -> dict[str, Any]:
        """Returns the requested options, without defaults and paths of the machine that ran it."""
        config = {key: value for key, value in self.asked.items() if value is not None}
        for here in ("run", "resume", "init"):
            config.pop(here, None)
        trainer = config["trainer"].items()
        config["trainer"] = {key: value for key, value in trainer if value != _default(key)}
        arguments = dict(config["data"]["dataset"].get("init_args", {}))
        if "root" in arguments:
            dataset = {**config["data"]["dataset"], "init_args": {**arguments, "root": "data"}}
            config["data"] = {**config["data"], "dataset": dataset}
        return config

    @cached_property
    def steps(self) -> int:
        return int(read_checkpoint(self.checkpoint)["global_step"])

    @property
    def planned(self) -> int:
        return int(self.asked["trainer"]["max_steps"])

    @property
    def batch_size(self) -> int:
        """The images of a step."""
        together = self.asked["trainer"].get("accumulate_grad_batches", 1)
        return int(self.asked["data"]["batch_size"]) * int(together)

    def seconds(self) -> float:
        """Returns the time that its steps took, from the rates in its curves."""
        at, rates = read_curve(self.folder, "train/images_per_s")
        spans = zip([0.0, *at], at, rates, strict=False)
        return sum(
            (end - start) * self.batch_size / rate
            for start, end, rate in spans
            if end <= self.steps
        )

    def curve(self, unit: str) -> list[tuple[int, float]]:
        """Returns steps and validation scores.

        Arguments:
            unit: What the model's symbols are called: "dim" or "token".
        """
        at, values = read_curve(self.folder, f"val/bits_per_{unit}")
        return [(int(s), v) for s, v in zip(at, values, strict=True) if s <= self.steps]


def _default(option: str) -> Any:  # noqa: ANN401
    """Returns the default of an option of a run's trainer."""
    of_lightning = inspect.signature(L.Trainer).parameters
    return TRAINER_DEFAULTS.get(
        option, of_lightning[option].default if option in of_lightning else None
    )
