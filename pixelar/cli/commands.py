"""What the commands do, `fit` aside: parse, build, call, print."""

import json
import os
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import torch
import torch.distributed as dist
from torch import Tensor

from pixelar.data import DATASETS, Folder, ImageData
from pixelar.data.images import read_image
from pixelar.errors import PixelarError, did_you_mean
from pixelar.evaluation import evaluate as evaluate_model
from pixelar.folders import Weights, load, load_checkpoint, read_config, save
from pixelar.heads import HEADS
from pixelar.model import PixelModel, describe_model
from pixelar.nets import NETS
from pixelar.pictures import grid, save_picture, show_unknown
from pixelar.quantizers import QUANTIZERS
from pixelar.sampling import complete as complete_images
from pixelar.sampling import is_prefix
from pixelar.sampling import sample as sample_images
from pixelar.scan import SCANS

__all__ = ["complete", "evaluate", "export", "info", "list", "sample"]


def evaluate(options: Namespace) -> int:
    """Prints the figure of a model folder, or of both sets of weights of a checkpoint, and writes the cards."""
    path = Path(options.model)
    with processes() as rank:
        for weights, model in _weights_of(path):
            data = data_named(options, model)
            report = evaluate_model(
                model,
                data,
                split=options.split,
                batch_size=options.batch_size,
                dtype=getattr(torch, options.dtype),
                weights=weights,
                limit=options.limit,
                progress=True,
            )
            if rank == 0:
                print(
                    f"{weights} weights: {report}  ({len(report.per_image)} {options.split} images of {data.name})"
                )
                folder = Path(options.output) if options.output else _beside(path) / "evaluation"
                folder = folder / f"{data.name}-{options.split}-{weights}"
                report.save(folder)
                print(f"  protocol: {folder / 'card.json'}")
    return 0


def sample(options: Namespace) -> int:
    """Draws images into one picture."""
    if options.n < 1:
        raise PixelarError(f"-n must be at least 1; got {options.n}")
    model = open_model(options.model)
    images = sample_images(
        model, options.n, labels(model, options.label, options.n), **drawing(options)
    )
    save_picture(grid(images), Path(options.output))
    print(options.output)
    return 0


def complete(options: Namespace) -> int:
    """Draws completions: a row per image with the original, what is kept of it, and n completions."""
    if options.n < 1:
        raise PixelarError(f"-n must be at least 1; got {options.n}")
    model = open_model(options.model)
    files = [Path(f) for f in options.images]
    images = torch.stack([read_image(f, model.image_shape, resize=options.fit) for f in files])
    known = region(options.keep, model.image_shape)
    if not is_prefix(model, known, images):
        print(
            "pixelar: known pixels come after unknown ones in this model's order: they are clamped, and do not "
            "influence what is drawn before them, so these are not exact conditional samples",
            file=sys.stderr,
        )
    repeated = images.repeat_interleave(options.n, 0)
    drawn = complete_images(
        model, repeated, known, labels(model, options.label, len(repeated)), **drawing(options)
    )
    seen = model.quantizer.decode(model.encode(images))
    rows = [
        torch.cat((seen[k, None].expand(-1, 3, -1, -1), show_unknown(seen[k, None], known), own))
        for k, own in enumerate(drawn.expand(-1, 3, -1, -1).split(options.n))
    ]
    save_picture(grid(torch.cat(rows), columns=options.n + 2), Path(options.output))
    print(f"{options.output}: in each row the original, what is kept, {options.n} completions")
    return 0


def export(options: Namespace) -> int:
    """Writes a model folder from a training checkpoint."""
    save(
        load_checkpoint(options.checkpoint, weights=options.weights),
        options.output,
        weights=options.weights,
    )
    print(f"{options.output}: {options.weights} weights of {options.checkpoint}")
    return 0


def info(options: Namespace) -> int:
    """Prints what a model is."""
    model = open_model(options.model)
    parameters = sum(p.numel() for p in model.parameters())
    print(json.dumps({**describe_model(model), "parameters": parameters}, indent=2))
    return 0


def list(options: Namespace) -> int:  # noqa: A001
    """Prints the names that configs and commands know."""
    tables: dict[str, dict[str, Any]] = {
        "nets": NETS,
        "heads": HEADS,
        "scans": SCANS,
        "quantizers": QUANTIZERS,
        "data sets": DATASETS,
    }
    for title, table in tables.items():
        print(f"{title}:")
        for name, entry in table.items():
            print(f"  {name:24s}{(entry.__doc__ or '').strip().splitlines()[0]}")
    return 0


def open_model(name: str) -> PixelModel:
    """Returns the model of a folder or of a checkpoint's averaged weights."""
    path = Path(name)
    return load_checkpoint(path) if path.suffix == ".ckpt" else load(path)


def _weights_of(path: Path) -> Iterator[tuple[str, PixelModel]]:
    """Yields the sets of weights that a folder or a checkpoint holds, by name."""
    if path.suffix != ".ckpt":
        yield read_config(path)["weights"], load(path)
        return
    for weights in get_args(Weights):
        yield weights, load_checkpoint(path, weights=weights)


def _beside(path: Path) -> Path:
    return path if path.is_dir() else path.parent.parent


def data_named(options: Namespace, model: PixelModel) -> ImageData:
    """Returns the data set of that name, or the images of that folder in the model's size."""
    name = options.data
    if name in DATASETS and name != "folder":
        kind: Any = DATASETS[name]
        if name in ("mnist", "fashion_mnist", "cifar10"):
            return kind(root=options.root, download=options.download)
        return kind()
    if not Path(name).is_dir():
        raise PixelarError(f"data: no folder {name}, and {did_you_mean(name, DATASETS)}")
    channels, height, width = model.image_shape
    if height != width:
        raise PixelarError(
            f"a folder's images are made square, but the model takes {width}×{height}"
        )
    has_splits = (Path(name) / options.split).is_dir()
    fractions = {} if has_splits else {"val_fraction": 0.0, "test_fraction": 1.0}
    return Folder(root=name, size=height, channels=channels, resize=options.fit, **fractions)


def region(words: Sequence[str], shape: tuple[int, int, int]) -> Tensor:
    """Returns which pixels are known, with shape (1, H, W): top, left, rows N, or a mask file."""
    _, height, width = shape
    known = torch.zeros(1, height, width, dtype=torch.bool)
    match [*words]:
        case ["top"]:
            known[:, : height // 2] = True
        case ["left"]:
            known[:, :, : width // 2] = True
        case ["rows", number] if number.isdecimal() and 0 < int(number) < height:
            known[:, : int(number)] = True
        case ["rows", *_]:
            raise PixelarError(
                f"--keep rows N: N must be from 1 to {height - 1}; got {' '.join(words[1:])!r}"
            )
        case [file] if Path(file).is_file():
            known = read_image(Path(file), (1, height, width), resize=False) >= 128
        case _:
            raise PixelarError(
                f"--keep takes top, left, rows N, or a mask file; there is no file {' '.join(words)!r}"
            )
    return known


def labels(model: PixelModel, label: int | None, count: int) -> Tensor | None:
    """Returns one label for all images; without one, a conditional model draws its classes in turn."""
    if label is not None:
        return torch.full((count,), label)
    return torch.arange(count) % model.classes if model.classes else None


def drawing(options: Namespace) -> dict[str, Any]:
    """Returns the options that `sample` and `complete` share."""
    names = ("temperature", "top_k", "top_p", "seed")
    return {**{name: getattr(options, name) for name in names}, "progress": True}


@contextmanager
def processes() -> Iterator[int]:
    """Joins the other processes, where a launcher such as torchrun started several; gives the rank."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield 0
        return
    dist.init_process_group("gloo")
    try:
        yield dist.get_rank()
    finally:
        dist.destroy_process_group()
