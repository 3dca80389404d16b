"""`pixelar evaluate`: chooses the images to score, scores them, and writes the report."""

import os
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from pixelar.cli.describe import cards_beside, run_of
from pixelar.cli.inputs import check_writable, data_named, data_of, placed
from pixelar.cli.trust import trusted
from pixelar.data import Folder, ImageData, Split
from pixelar.data.base import SPLITS
from pixelar.data.record import DataRecord, read_record
from pixelar.errors import ConfigError, plural
from pixelar.hub.cards import images_in_words, in_full
from pixelar.hub.index import find, read_card
from pixelar.hub.loading import load_all
from pixelar.names import Shape
from pixelar.names.classes import listed
from pixelar.scoring.evaluation import evaluate as evaluate_model
from pixelar.scoring.report import EvaluationReport

__all__ = ["evaluate"]


def evaluate(options: Namespace) -> int:
    """Prints the score of each set of weights that a model has, and writes the reports."""
    path = find(options.model)
    trust = trusted(options.trust)
    models = load_all(path, trust=trust)
    chosen = choose_data(options, path, next(iter(models.values())).image_shape, trust)
    output = Path(options.output) if options.output else cards_beside(path)
    check_writable(output)
    with processes() as rank:
        prepare(chosen.data, rank, in_turn=options.download and dist.is_initialized())
        if rank == 0:
            for line in chosen.notes():
                print(f"pixelar: {line}", file=sys.stderr)
        dtype = getattr(torch, options.dtype)
        for number, (weights, model) in enumerate(models.items()):
            report = evaluate_model(
                placed(model, options, dtype, quiet=bool(rank or number)),
                chosen.data,
                split=chosen.split,
                batch_size=options.batch_size,
                dtype=dtype,
                weights=weights,
                limit=options.limit,
                orders=options.orders,
                record=chosen.record,
                progress=sys.stderr.isatty(),
            )
            if rank == 0:
                stem = [path.stem] if path.suffix == ".ckpt" else []
                publish(report, output / "-".join([*stem, *_protocol(report, chosen.data)]))
                compare(report, read_card(path))
    return 0


@dataclass(frozen=True)
class Chosen:
    """The images to score.

    Attributes:
        data: The data set.
        split: Which part of it.
        record: What the model was trained on, where that is known.
        own: A note that the data is the run's own, or "" if it is not.
    """

    data: ImageData
    split: Split | Literal["all"]
    record: DataRecord | None
    own: str = ""

    def notes(self) -> Iterator[str]:
        """Yields the notes on the data that are printed before it is scored."""
        if self.own and self.record is not None:
            yield self.own
            now = {split: len(self.data.part(split)) for split in SPLITS}
            changed = [s for s in SPLITS if not self.record.same_split(self.data.part(s), s)]
            if changed and sum(now.values()) != self.record.images:
                yield (
                    f"the data has changed since the run: {plural(self.record.images, 'image')} "
                    f"then, {sum(now.values()):,} now, so the split is a different one"
                )
            elif changed:
                yield f"the data has changed since the run: other images in {', '.join(changed)}"


def choose_data(
    options: Namespace, path: Path, shape: Shape, trust: Mapping[str, type] | None = None
) -> Chosen:
    """Returns the data to score: the run's own with its split, or what -d names.

    Arguments:
        options: The options of the command.
        path: The model folder or the checkpoint.
        shape: The shape (C, H, W) of the model's images.
        trust: The classes from outside pixelar that may be built, by name.
    """
    record = read_record(run_of(path))
    split: Split | Literal["all"] = options.split or "test"
    if record is not None and options.data is None:
        data = record.open(options.root, download=options.download, trust=trust)
        own = f"without -d, the data is the run's own, {_source(data)}, split as in the run"
        return Chosen(data, split, record, own)
    if record is not None and options.data == record.name != "folder":
        data = record.open(options.root, download=options.download, trust=trust)
        return Chosen(data, split, record, f"{options.data} is split as in the run")
    root = Path(options.data or "")
    if record is not None and options.data and root.is_dir() and record.is_of(root):
        data = record.open(options.data)
        own = f"{options.data} is the folder of the run: it is prepared and split as in the run"
        return Chosen(data, split, record, own)
    options.data = options.data or data_of(path)
    data = data_named(options, shape)
    whole = isinstance(data, Folder) and data.test_fraction == 1
    return Chosen(data, options.split or ("all" if whole else "test"), record)


def _source(data: ImageData) -> str:
    """Returns the name of a data set, or the path of a folder."""
    return str(data.root) if isinstance(data, Folder) else data.name


def compare(report: EvaluationReport, card: Mapping[str, Any] | None) -> None:
    """Prints the score on a model's card next to the same score measured now."""
    if card is None:
        return
    own, protocol = report.card, card["protocol"]
    measured = own["data"]["fingerprint"], own["order"], own["model_sha256"]
    if (protocol["images_sha256"], protocol["order"], card["model_sha256"]) == measured:
        print(f"  its card says: {in_full(card['figure'])}")


def publish(report: EvaluationReport, folder: Path) -> None:
    """Prints a score, and only then writes its report: a full disk does not lose the score."""
    card = report.card
    quantizer = card["model"]["quantizer"]["name"]
    reduced = "" if card["lossless"] else f", as reduced by {quantizer}"
    images = f"{images_in_words(card['data'])} of {card['data']['name']}{reduced}"
    print(f"{card['weights']} weights: {report}  ({images})")
    for line in _details(card):
        print(f"  {line}")
    report.save(folder)
    print(f"  protocol: {folder / 'report.json'}")


def _details(card: Mapping[str, Any]) -> Iterator[str]:
    """Yields what qualifies a score: orders, training images, classes."""
    if card["orders"] != "one":
        yield f"orders: {card['order']}"
    data, classes = card["data"], card["classes"]
    trained = data["training_images"]
    if trained is not None:
        least = "" if data["training_images_known"] else "at least "
        number = f"{least}{trained:,} of {data['images']:,}" if trained or least else "none"
        yield f"training images among them, by their pixels: {number}"
    if classes and classes["missing"]:
        yield f"classes of the model that the data does not have: {listed(classes['missing'])}"


def _protocol(report: EvaluationReport, data: ImageData) -> list[str]:
    """Returns what was measured in a few words, so that different scores get different folders."""
    card = report.card
    words = [data.name, card["data"]["split"], card["weights"]]
    if isinstance(data, Folder):  # data.name is the same for all folders
        words[0] = f"{Path(data.root).resolve().name}-{card['data']['fingerprint'][:8]}"
    if card["data"]["limit"] is not None:
        words.append(f"first{card['data']['limit']}")
    if card["orders"] != "one":
        words.append("symmetries" if card["orders"] == "symmetries" else f"{card['orders']}orders")
    return words if card["dtype"] == "float32" else [*words, card["dtype"]]


@contextmanager
def processes() -> Iterator[int]:
    """Joins the other processes, where torchrun or the like started several; yields the rank.

    Raises:
        PixelarError: If the others do not join within two minutes, or cannot.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield 0
        return
    others = f"the other processes, {world} in all (WORLD_SIZE)"
    leftover = "If none was started: unset WORLD_SIZE RANK MASTER_ADDR MASTER_PORT"
    try:
        store, rank, _ = next(rendezvous("env://", timeout=PATIENCE))
        store.set(f"pixelar-{rank}", "here")
        store.wait([f"pixelar-{other}" for other in range(world)], PATIENCE)
    except (ValueError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"cannot join {others}: {reason:.200}. {leftover}") from error
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world)
    try:
        yield dist.get_rank()
    finally:
        dist.destroy_process_group()


PATIENCE = timedelta(minutes=2)  # for processes that were started together


def prepare(data: ImageData, rank: int, *, in_turn: bool) -> None:
    """Loads the data; `in_turn`: the first process first, so that the others find its download."""
    if in_turn and rank:
        dist.barrier()
    data.prepare()
    if in_turn and not rank:
        dist.barrier()
