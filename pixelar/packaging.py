"""Making a packaged model from a run: stored in half precision, measured as stored, with its card.

run ── newest checkpoint ──► model.safetensors ── load ──► evaluate, sample ──► card, picture
"""

import inspect
import json
import math
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
import yaml

import pixelar
from pixelar.cards import headline, render_card
from pixelar.cli.fit import TRAINER_DEFAULTS
from pixelar.data import ImageData
from pixelar.errors import PixelarError, did_you_mean
from pixelar.evaluation import EvaluationReport, evaluate
from pixelar.folders import Weights, load, load_checkpoint, save
from pixelar.model import PixelModel
from pixelar.packaged import MODELS
from pixelar.pictures import grid, save_picture
from pixelar.training.checkpoints import newest_checkpoint, read_checkpoint
from pixelar.training.curves import read_curve

__all__ = ["SOURCES", "Run", "package"]

MOST_BYTES, MOST_BYTES_IN_ALL = 3_000_000, 12_000_000
BINS = 60
CHECKED = 100  # images whose figure is on the card by itself, for a quick recomputation

SOURCES: dict[str, dict[str, str]] = {
    "digits": {
        "title": "handwritten digits, 8×8",
        "about": "Optical Recognition of Handwritten Digits (Alpaydin and Kaynak, 1998): the 1,797 "
        "images that scikit-learn ships, of which 360 are held out for testing",
        "licence": "CC BY 4.0",
        "url": "https://archive.ics.uci.edu/dataset/80",
    },
    "mnist": {
        "title": "MNIST",
        "about": "MNIST (LeCun et al., 1998): 55,000 images for training, 5,000 of its training "
        "images for validation, its 10,000 test images",
        "licence": "CC BY-SA 3.0",
        "url": "http://yann.lecun.com/exdb/mnist/",
    },
    "noto-emoji": {
        "title": "Noto emoji, 32×32",
        "about": "Noto Emoji (Google): 3,573 pictures at 32×32, transparency composited over "
        "white; a tenth held out at random for testing, a tenth for validation. Many pictures have "
        "variants in other skin colours, which may be on both sides: the figure flatters",
        "licence": "Apache 2.0",
        "url": "https://github.com/googlefonts/noto-emoji",
    },
}


@dataclass(frozen=True)
class Run:
    """A training run on disk.

    Arguments:
        folder: The run's folder.
        checkpoint: The checkpoint to package; the newest if not given.
        hardware: What it was trained on, in words.
        seconds: How long it trained; read from the run's curves if not given.
        notes: What else is to be known of it, such as that it was resumed.
    """

    folder: Path
    hardware: str
    checkpoint: Path | None = None
    seconds: float | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def config(self) -> dict[str, Any]:
        """What was asked for, with nothing of the machine that ran it."""
        file = self.folder / "config.yaml"
        if not file.is_file():
            raise PixelarError(f"{self.folder} is no folder of a run: it has no file config.yaml")
        config = {key: value for key, value in _read_yaml(file).items() if value is not None}
        for machine in ("run", "resume"):
            config.pop(machine, None)
        config["trainer"] = {
            key: value for key, value in config["trainer"].items() if value != _default(key)
        }
        arguments = config["data"]["dataset"].get("init_args", {})
        if "root" in arguments:
            arguments |= {"root": "data"}
        return config

    def newest(self) -> Path:
        """Returns the checkpoint to package."""
        if self.checkpoint:
            return self.checkpoint
        found, complaints = newest_checkpoint(self.folder / "checkpoints")
        if found is None:
            raise PixelarError("; ".join(complaints) or f"{self.folder} has no checkpoint")
        return found

    def describe(self, unit: str) -> dict[str, Any]:
        """Returns the cost and the course of the training, as plain values.

        Arguments:
            unit: What the model's symbols are called: "dim" or "token".
        """
        config = self.config
        steps = int(read_checkpoint(self.newest())["global_step"])
        batch = config["data"]["batch_size"] * config["trainer"].get("accumulate_grad_batches", 1)
        seconds = self._seconds(batch, steps) if self.seconds is None else self.seconds
        at, values = read_curve(self.folder, f"val/bits_per_{unit}")
        curve = [[int(s), round(v, 5)] for s, v in zip(at, values, strict=True) if s <= steps]
        return {
            "training": {
                "steps": steps,
                "planned": config["trainer"].get("max_steps", TRAINER_DEFAULTS["max_steps"]),
                "batch_size": batch,
                "images": steps * batch,
                "seconds": round(seconds),
                "seed": config["seed_everything"],
                "precision": str(config["trainer"].get("precision", "32-true")),
                "hardware": self.hardware,
                "notes": [*self.notes],
            },
            "curve": curve,
        }

    def _seconds(self, batch: int, steps: int) -> float:
        """Returns the time that the steps took, from the rates in the run's curves."""
        at, rates = read_curve(self.folder, "train/images_per_s")
        spans = zip([0.0, *at], at, rates, strict=False)
        return sum((end - start) * batch / rate for start, end, rate in spans if end <= steps)


def package(
    run: Run,
    name: str,
    data: ImageData,
    *,
    source: str,
    title: str,
    weights: Weights = "ema",
    published: str = "",
    models: Path = MODELS,
) -> dict[str, Any]:
    """Makes the folder of a packaged model, and returns its card.

    Arguments:
        run: The training that made it.
        name: The model's name.
        data: What its figure is measured on.
        source: Where the images come from, of `SOURCES`.
        title: The model in a few words, as "Gated PixelCNN on binarised MNIST".
        weights: The averaged weights or the last step's.
        published: Figures in papers, and how comparable they are.
        models: The folder that it is put into.
    """
    if source not in SOURCES:
        raise PixelarError(f"source: {did_you_mean(source, SOURCES)}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / name
        save(
            load_checkpoint(run.newest(), weights=weights),
            folder,
            weights=weights,
            storage=torch.float16,
        )
        model = load(folder)  # what is measured and drawn from is what was stored
        report = evaluate(model, data, weights=weights, progress=True)
        card = {
            "name": name,
            "title": title,
            "summary": _summary(title, model),
            **_measured(report, model),
            "data": {"name": data.name, "source": source, **SOURCES[source]},
            "published": published,
            "bytes": (folder / "model.safetensors").stat().st_size,
            **run.describe(model.quantizer.unit),
            **_commands(name, data.name),
            "versions": report.card["versions"],
        }
        config = yaml.safe_dump(run.config, sort_keys=False)
        texts = {
            "card.json": json.dumps(card, indent=1, ensure_ascii=False, allow_nan=False) + "\n",
            "train.yaml": config,
            "README.md": render_card(card, config),
        }
        for file, text in texts.items():
            (folder / file).write_text(text, encoding="utf-8")
        save_picture(_samples(model), folder / "samples.png")
        _check_sizes(folder, models)
        shutil.rmtree(models / name, ignore_errors=True)
        shutil.copytree(folder, models / name)
    return card


def _summary(title: str, model: PixelModel) -> str:
    _, height, width = model.image_shape
    return f"{title}, {height}×{width}" + (", by class" if model.classes else "")


def _measured(report: EvaluationReport, model: PixelModel) -> dict[str, Any]:
    """Returns what a card says of the model and of the figure, as plain values."""
    protocol, nats = report.card, model.scan.dims * math.log(2)
    counts, edges = np.histogram(report.per_image.numpy(), bins=BINS)
    data = protocol["data"]
    figure = {
        "mean": report.mean,
        "standard_error": report.standard_error,
        "unit": report.unit,
        "nats_mean": report.mean * nats,
        "nats_standard_error": report.standard_error * nats,
        "images": data["images"],
        "split": data["split"],
    }
    return {
        "headline": headline(figure, model.quantizer.levels),
        "image_shape": [*model.image_shape],
        "classes": model.classes,
        **{key: protocol[key] for key in ("model", "model_sha256", "parameters", "lossless")},
        "figure": figure,
        "protocol": {
            "images_sha256": data["fingerprint"],
            f"{model.quantizer.unit}s_per_image": model.scan.dims,
            "preprocessing": data["preprocessing"],
            "conditioning": "the image's class is given" if model.classes else "unconditional",
            "order": protocol["order"],
            "weights": protocol["weights"],
            "storage": "float16",
            "dtype": protocol["dtype"],
        },
        "check": {"images": CHECKED, "mean": float(report.per_image[:CHECKED].mean())},
        "histogram": {"edges": [round(e, 6) for e in edges.tolist()], "counts": counts.tolist()},
    }


def _commands(name: str, data: str) -> dict[str, str]:
    """Returns the commands that make the model and its figure again, in a checkout."""
    where = {"digits": "", "folder": " -d DIR --split test"}.get(data, " --root DIR")
    root = " --data.dataset.root DIR" if where else ""
    return {
        "config": "train.yaml",
        "retrain": f"pixelar fit -c pixelar/models/{name}/train.yaml{root} --run runs/{name}",
        "evaluate": f"pixelar evaluate {name}{where}",
    }


def _samples(model: PixelModel) -> torch.Tensor:
    """Returns a picture of samples with shape (3, H, W), a column for each class if there are."""
    columns = model.classes or 8
    labels = torch.arange(8 * columns) % columns if model.classes else None
    images = pixelar.sample(model, 8 * columns, labels, seed=0, progress=True)
    return grid(images, columns=columns, side=48)


def _check_sizes(folder: Path, models: Path) -> None:
    """Raises PixelarError where a model, or all of them, would make the package too large."""
    size = _size(folder)
    others = sum(_size(other) for other in models.iterdir() if other.name != folder.name)
    for bytes_, most, what in (
        (size, MOST_BYTES, folder.name),
        (size + others, MOST_BYTES_IN_ALL, "all models together"),
    ):
        if bytes_ > most:
            raise PixelarError(
                f"{what} would take {bytes_:,} bytes, and may take {most:,}; "
                "train a smaller model or leave one out"
            )


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _default(option: str) -> Any:  # noqa: ANN401
    """Returns what a run's trainer takes where its config does not say."""
    of_lightning = inspect.signature(L.Trainer).parameters
    return TRAINER_DEFAULTS.get(
        option, of_lightning[option].default if option in of_lightning else None
    )


def _read_yaml(file: Path) -> Mapping[str, Any]:
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise PixelarError(f"{file} is no config of a run")
    return content
