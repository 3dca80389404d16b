"""The curves of runs: writing, reading and drawing them.

Steps count completed optimizer steps, so that metrics, pictures and checkpoints of one step have
the same number.
"""

import csv
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor

from pixelar.plotting import save_curves
from pixelar.training.module import Training

__all__ = ["Curves", "draw_curves", "read_curve"]


class Curves(L.Callback):
    """Writes the metrics of a step as soon as it is done, before its checkpoint.

    So a run that is killed and resumed misses no step. Lightning itself writes after the
    checkpoint, and a kill between the two loses a line. This callback must therefore come before
    `Checkpoints`. Images per second count training time only, without validation and pictures.
    """

    def __init__(self) -> None:
        self._losses: list[Tensor] = []  # of the batches of one step
        self._images, self._seconds, self._began, self._lr = 0, 0.0, 0.0, 0.0
        self._step = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, Training)
        self._step = trainer.global_step
        names = [f"train/{pl_module.figure}", "train/images_per_s", "train/lr"]
        for logger in trainer.loggers:
            if isinstance(logger, CSVLogger):
                # all columns from the start: a new one later would rewrite the file
                logger.experiment.metrics_keys = [*names, f"val/{pl_module.figure}", "step"]

    def on_train_batch_start(self, *_: Any) -> None:  # noqa: ANN401
        self._began = time.perf_counter()

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        self._lr = optimizer.param_groups[0]["lr"]

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,  # noqa: ANN401
        batch: Any,  # noqa: ANN401
        batch_idx: int,
    ) -> None:
        assert isinstance(pl_module, Training)
        self._seconds += time.perf_counter() - self._began
        self._images += len(batch[0]) * trainer.world_size
        self._losses.append(outputs["loss"].detach())
        if trainer.global_step == self._step:  # gradients are still being accumulated
            return
        self._step = trainer.global_step
        if self._step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            rate = self._images / self._seconds
            pl_module.log("train/images_per_s", rate, prog_bar=True, logger=False)
            # Lightning divides each loss by the number of batches in a step
            loss = torch.stack(self._losses).sum().item()
            names = f"train/{pl_module.figure}", "train/images_per_s", "train/lr"
            self._write(trainer, dict(zip(names, (loss, rate, self._lr), strict=True)))
            self._images, self._seconds = 0, 0.0
        self._losses.clear()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.sanity_checking:
            values = trainer.callback_metrics.items()
            self._write(trainer, {k: v.item() for k, v in values if k.startswith("val/")})

    def _write(self, trainer: L.Trainer, values: dict[str, float]) -> None:
        for logger in trainer.loggers:
            logger.log_metrics(values, trainer.global_step)


def read_curve(run: Path, name: str) -> tuple[list[float], list[float]]:
    """Returns steps and values of a logged quantity over all starts of a run; later starts
    override.

    Arguments:
        run: The run's folder.
        name: The quantity, as `train/bits_per_dim`.
    """
    points: dict[float, float] = {}
    files = (run / "csv").glob("version_*/metrics.csv")
    for file in sorted(files, key=lambda f: int(f.parent.name.split("_")[1])):
        with file.open(newline="") as lines:
            for row in csv.DictReader(lines):
                if row.get(name) and row.get("step"):  # a full disk may cut the last line short
                    points[float(row["step"])] = float(row[name])
    steps = sorted(points)
    return steps, [points[s] for s in steps]


def draw_curves(runs: Mapping[str, Path], path: Path) -> None:
    """Draws the training and validation curves of runs, by name, into one PNG file."""
    curves, unit = [], "dim"
    for title, run in runs.items():
        for part in ("train", "val"):
            for kind in ("dim", "token"):
                steps, values = read_curve(run, f"{part}/bits_per_{kind}")
                if steps:
                    curves.append((f"{title}, {part}", steps, values))
                    unit = kind
    save_curves(curves, path, label=f"bits/{unit}")
