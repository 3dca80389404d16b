"""Making a packaged model from a run: stored in half precision, evaluated as stored, with its card.

run ── newest checkpoint ──► model.safetensors ── load ──► evaluate, sample ──► card, picture
"""

import json
import math
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from pixelar.data import ImageData
from pixelar.errors import ConfigError, StorageError, did_you_mean
from pixelar.hub.cards import headline, render_card
from pixelar.hub.index import MODELS
from pixelar.hub.loading import load
from pixelar.io.folders import Weights, load_checkpoint, save
from pixelar.model import PixelModel
from pixelar.plotting import grid, save_picture
from pixelar.sampling.samples import sample
from pixelar.scoring.evaluation import EvaluationReport, evaluate
from pixelar.training.runs import Run

__all__ = ["SOURCES", "About", "package"]

MOST_BYTES, MOST_BYTES_IN_ALL = 3_000_000, 12_000_000
BINS = 60
CHECKED = 100  # images whose mean score is also on the card, for a quick check

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
        "variants in other skin colours, which may be on both sides of the split: the score is "
        "optimistic",
        "licence": "Apache 2.0",
        "url": "https://github.com/googlefonts/noto-emoji",
    },
}


@dataclass(frozen=True)
class About:
    """What only the person who trained a model knows about it.

    Arguments:
        title: The model in a few words, as "Gated PixelCNN on binarised MNIST".
        source: Where the images come from, a key of `SOURCES`.
        hardware: What it was trained on, in words.
        seconds: How long it trained; read from the runs' curves if not given.
        published: Results in papers, and how comparable they are.
        notes: Further remarks, such as that a run was resumed.
        outlook: What more training would give, as far as the curve shows.
    """

    title: str
    source: str
    hardware: str
    seconds: float | None = None
    published: str = ""
    notes: tuple[str, ...] = ()
    outlook: str = ""


def package(
    runs: Sequence[Run],
    name: str,
    data: ImageData,
    about: About,
    *,
    weights: Weights = "ema",
    models: Path = MODELS,
) -> dict[str, Any]:
    """Makes the folder of a packaged model, and returns its card.

    Arguments:
        runs: The run that trained it, preceded by the runs whose weights it began with, if any.
        name: The model's name.
        data: The data that it is evaluated on.
        about: What the runs do not record.
        weights: The averaged weights or the last step's.
        models: The folder in which the model's folder is made.
    """
    _check(runs, about)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / name
        trained = load_checkpoint(runs[-1].checkpoint, weights=weights)
        save(trained, folder, weights=weights, storage=torch.float16)
        model = load(folder)  # the stored model is evaluated and sampled
        report = evaluate(model, data, weights=weights, progress=True)
        card = {
            "name": name,
            "title": about.title,
            "summary": _summary(about.title, model),
            **_measured(report, model),
            "data": {"name": data.name, "source": about.source, **SOURCES[about.source]},
            "published": about.published,
            "bytes": (folder / "model.safetensors").stat().st_size,
            **_trained(runs, about, model, data),
            **_commands(name, data.name, len(runs)),
            "versions": report.card["versions"],
        }
        for run, file in zip(runs, _configs(len(runs)), strict=True):
            text = yaml.safe_dump(run.config(), sort_keys=False)
            (folder / file).write_text(text, encoding="utf-8")
        text = json.dumps(card, indent=1, ensure_ascii=False, allow_nan=False)
        (folder / "card.json").write_text(text + "\n", encoding="utf-8")
        (folder / "README.md").write_text(render_card(card, folder), encoding="utf-8")
        save_picture(_samples(model), folder / "samples.png")
        _check_sizes(folder, models)
        shutil.rmtree(models / name, ignore_errors=True)
        shutil.copytree(folder, models / name)
    return card


def _check(runs: Sequence[Run], about: About) -> None:
    """Raises PixelarError, before hours of evaluation, for runs that cannot be packaged."""
    if about.source not in SOURCES:
        raise ConfigError(f"source: {did_you_mean(about.source, SOURCES)}")
    if runs[0].began_with:
        raise ConfigError(
            f"the run in {runs[0].folder} began with the weights of {runs[0].began_with}; "
            "use --before to name the run that made them"
        )
    for run in runs[1:]:
        if not run.began_with:
            raise ConfigError(f"the run in {run.folder} began with no other run's weights")


def _trained(
    runs: Sequence[Run], about: About, model: PixelModel, data: ImageData
) -> dict[str, Any]:
    """Returns the cost and the validation curve of a training, as plain values.

    Where the last validation was before the last step, the stored model is evaluated on the
    validation images, so that the curve ends where the training did.

    Arguments:
        runs: The runs, one after the other.
        about: What the runs do not record.
        model: The model as it was stored.
        data: The data whose validation split the runs used.
    """
    curve: list[tuple[int, float]] = []
    done = 0
    for run in runs:
        curve += [(done + step, value) for step, value in run.curve(model.quantizer.unit)]
        done += run.steps
    measured_after = not curve or curve[-1][0] < done
    if measured_after:
        curve.append((done, evaluate(model, data, split="val", progress=True).mean))
    parts = [
        {"steps": run.steps, "planned": run.planned, "batch_size": run.batch_size} for run in runs
    ]
    seconds = sum(run.seconds() for run in runs) if about.seconds is None else about.seconds
    last = runs[-1].asked
    return {
        "training": {
            "steps": done,
            "images": sum(run.steps * run.batch_size for run in runs),
            "seconds": round(seconds),
            "parts": parts,
            "seed": last["seed_everything"],
            "precision": _precision(last["trainer"].get("precision")),
            "hardware": about.hardware,
            "notes": [*about.notes],
            "outlook": about.outlook,
        },
        "curve": [(step, round(value, 5)) for step, value in curve],
        "curve_end_measured_afterwards": measured_after,
    }


def _precision(asked: str | int | None) -> str:
    """Returns what a trainer's precision is called; float32 is Lightning's default."""
    return "float32" if str(asked) in ("None", "32", "32-true") else str(asked)


def _summary(title: str, model: PixelModel) -> str:
    _, height, width = model.image_shape
    return f"{title}, {height}×{width}" + ", by class" * bool(model.classes)


def _measured(report: EvaluationReport, model: PixelModel) -> dict[str, Any]:
    """Returns the card's entries on the model and its score, as plain values."""
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
        **({"class_names": [*model.class_names]} if model.class_names else {}),
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


def _configs(number: int) -> list[str]:
    """Returns the names of the config files of `number` runs, in their order."""
    return [*(f"train-{k}.yaml" for k in range(1, number)), "train.yaml"]


def _commands(name: str, data: str, runs: int) -> dict[str, Any]:
    """Returns the commands that reproduce the model and its score."""
    where = {"digits": "", "folder": " -d DIR --split test"}.get(data, " --root DIR")
    root = " --data.dataset.root DIR" if where else ""
    files, fits = _configs(runs), []
    for k, file in enumerate(files):
        begin = f" --init runs/{name}-{k}/model" if k else ""
        run = f"runs/{name}" + (f"-{k + 1}" if k + 1 < runs else "")
        config = f"{name}/{file.removesuffix('.yaml')}"
        fits.append(f"pixelar fit -c {config}{root}{begin} --run {run}")
    return {
        "configs": files,
        "retrain": " && ".join(fits),
        "evaluate": f"pixelar evaluate {name}{where}",
    }


def _samples(model: PixelModel) -> torch.Tensor:
    """Returns a picture of samples with shape (3, H, W), a column for each class, if any."""
    columns = model.classes or 8
    labels = torch.arange(8 * columns) % columns if model.classes else None
    images = sample(model, 8 * columns, labels, seed=0, progress=True)
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
            raise StorageError(
                f"{what} would take {bytes_:,} bytes, and may take {most:,}; "
                "train a smaller model or leave one out"
            )


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
