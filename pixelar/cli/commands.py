"""What the commands do that draw, score and convert: parse, build, call, print."""

import os
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from pixelar.cards import in_full
from pixelar.cli.describe import cards_beside
from pixelar.cli.exchange import export_model, import_weights
from pixelar.cli.inputs import (
    check_writable,
    data_named,
    data_of,
    drawing,
    labels_for,
    open_model,
    picture,
    placed,
    read_images,
    region,
)
from pixelar.cli.trust import trusted
from pixelar.completion import choose_method
from pixelar.completion import complete as complete_images
from pixelar.data import Folder, ImageData
from pixelar.evaluation import EvaluationReport
from pixelar.evaluation import evaluate as evaluate_model
from pixelar.folders import load_all
from pixelar.model import PixelModel
from pixelar.packaged import find, read_card
from pixelar.particles import Posterior, posterior
from pixelar.pictures import grid, save_picture, show_unknown
from pixelar.sampling import draw_images

__all__ = ["RUN"]


def evaluate(options: Namespace) -> int:
    """Prints the figure of each set of weights that a model has, and writes the cards."""
    path = find(options.model)
    models = load_all(path, trust=trusted(options.trust))
    options.data = options.data or data_of(path)
    data = data_named(options, next(iter(models.values())).image_shape)
    output = Path(options.output) if options.output else cards_beside(path)
    check_writable(output)
    with processes() as rank:
        prepare(data, rank, in_turn=options.download and dist.is_initialized())
        dtype = getattr(torch, options.dtype)
        for number, (weights, model) in enumerate(models.items()):
            report = evaluate_model(
                placed(model, options, dtype, quiet=bool(rank or number)),
                data,
                split=options.split or "test",
                batch_size=options.batch_size,
                dtype=dtype,
                weights=weights,
                limit=options.limit,
                orders=options.orders,
                progress=sys.stderr.isatty(),
            )
            if rank == 0:
                stem = [path.stem] if path.suffix == ".ckpt" else []
                publish(report, output / "-".join([*stem, *_protocol(report, data)]))
                compare(report, read_card(path))
    return 0


def compare(report: EvaluationReport, card: Mapping[str, Any] | None) -> None:
    """Prints the figure on a model's card beside the same figure measured now."""
    if card is None:
        return
    own, protocol = report.card, card["protocol"]
    measured = own["data"]["fingerprint"], own["order"], own["model_sha256"]
    if (protocol["images_sha256"], protocol["order"], card["model_sha256"]) == measured:
        print(f"  its card says: {in_full(card['figure'])}")


def publish(report: EvaluationReport, folder: Path) -> None:
    """Prints a figure, and only then writes what belongs to it: a full disk does not cost it."""
    data, lossless = report.card["data"], report.card["lossless"]
    quantizer = report.card["model"]["quantizer"]["name"]
    reduced = "" if lossless else f", as reduced by {quantizer}"
    print(
        f"{report.card['weights']} weights: {report}  "
        f"({data['images']} {data['split']} images of {data['name']}{reduced})"
    )
    if report.card["orders"] != "one":
        print(f"  orders: {report.card['order']}")
    report.save(folder)
    print(f"  protocol: {folder / 'card.json'}")


def _protocol(report: EvaluationReport, data: ImageData) -> list[str]:
    """Returns in a few words what was measured, so that other figures get other folders."""
    card = report.card
    words = [data.name, card["data"]["split"], card["weights"]]
    if isinstance(data, Folder):  # all folders have one name, so their content is named
        words[0] = f"{Path(data.root).resolve().name}-{card['data']['fingerprint'][:8]}"
    if card["data"]["limit"] is not None:
        words.append(f"first{card['data']['limit']}")
    if card["orders"] != "one":
        words.append("symmetries" if card["orders"] == "symmetries" else f"{card['orders']}orders")
    return words if card["dtype"] == "float32" else [*words, card["dtype"]]


def sample(options: Namespace) -> int:
    """Draws images into one picture; without a label, a conditional model draws all in turn."""
    output = picture(options.output)
    model = open_model(options.model, trusted(options.trust))
    if model.classes and options.label is None:
        labels: Tensor | None = torch.arange(options.n) % model.classes
    else:
        labels = labels_for(model, options.label, options.n)
    drawn = draw_images(
        placed(model, options),
        options.n,
        labels,
        method=options.method,
        **drawing(options),
        progress=sys.stderr.isatty(),
    )
    save_picture(grid(drawn.images), output)
    print(output)
    if options.method != "auto":
        steps = STEPS[drawn.walk].format(drawn.steps)
        print(f"pixelar: {steps} for {model.scan.sites} sites", file=sys.stderr)
    return 0


STEPS = {
    "sequential": "{} steps",
    "compiled": "{} compiled rows",
    "wavefront": "{} waves",
    "fixed_point": "{} passes",
}


def complete(options: Namespace) -> int:
    """Draws completions: in each row the original, what is kept of it, and n completions."""
    output = picture(options.output)
    model = open_model(options.model, trusted(options.trust))
    images = read_images(options.images, model, fit=options.fit)
    known = region(options, model.image_shape)
    options.method = method = choose_method(model, known, images, options.method)
    draw = complete_by_particles if method == "particles" else complete_in_order
    drawn = draw(placed(model, options), images, known, options)
    if method in NOTES:
        print(f"pixelar: {NOTES[method].format(options.particles)}", file=sys.stderr)
    save_picture(completions(model, images, known, drawn), output)
    print(f"{output}: in each row the original, what is kept, {options.n} completions")
    return 0


NOTES = {
    "particles": "some of what is known comes after what is not in this model's order, so each "
    "completion is drawn from {} weighted canvases (--particles)",
    "clamp": "clamping: what is known does not influence what is drawn before it, so these do not "
    "follow the model's conditional distribution; --method particles does",
}


def complete_in_order(
    model: PixelModel, images: Tensor, known: Tensor, options: Namespace
) -> Tensor:
    """Returns n completions of each image, uint8 (B · n, C, H, W), drawn along the scan."""
    labels = labels_for(model, options.label, options.n * len(images))
    return complete_images(
        model,
        images.repeat_interleave(options.n, 0),
        known,
        labels,
        method=options.method,
        **drawing(options),
        progress=sys.stderr.isatty(),
    )


def complete_by_particles(
    model: PixelModel, images: Tensor, known: Tensor, options: Namespace
) -> Tensor:
    """Returns n completions of each image, one per population, and prints how they came about."""
    found = posterior(
        model,
        images,
        known,
        labels_for(model, options.label, len(images)),
        particles=options.particles,
        populations=options.n,
        **drawing(options),
        progress=sys.stderr.isatty(),
    )
    print(report_populations(found, options.images))
    return found.draw().flatten(0, 1)


def report_populations(found: Posterior, names: Sequence[str]) -> str:
    """Returns a line per image: how likely the known pixels are, and how well they were matched.

    Of tempered populations, which do not estimate how likely they are, only the latter.
    """
    lines = []
    for name, log_known, spread, ess, survivors in zip(
        names, found.log_known, found.spread, found.ess, found.survivors, strict=True
    ):
        error = f" ± {float(spread):.2f}" if len(survivors) > 1 else ""
        size = found.images.shape[2]
        lowest = min(ess[~ess.isnan()].tolist(), default=size)
        likely = "" if log_known.isnan() else f"log p(known) ≈ {float(log_known):.2f}{error} nats; "
        lines.append(
            f"{Path(name).name}: {likely}effective sample size at least {lowest:.1f} of {size}; "
            f"{int(survivors.min())} to {int(survivors.max())} distinct canvases"
        )
    return "\n".join(lines)


def completions(model: PixelModel, images: Tensor, known: Tensor, drawn: Tensor) -> Tensor:
    """Returns a picture with a row per image: the image, what is kept of it, its completions."""
    own = drawn.view(len(images), -1, *drawn.shape[1:]).expand(-1, -1, 3, -1, -1)  # (B, n, …)
    kept = show_unknown(model.quantizer.decode(model.encode(images)).cpu(), known)
    rows = torch.cat((images.expand(-1, 3, -1, -1)[:, None], kept[:, None], own), 1)
    return grid(rows.flatten(0, 1), columns=rows.shape[1])


RUN: dict[str, Callable[[Namespace], int]] = {
    "evaluate": evaluate,
    "sample": sample,
    "complete": complete,
    "import": import_weights,
    "export": export_model,
}


@contextmanager
def processes() -> Iterator[int]:
    """Joins the other processes, where torchrun or the like started several; gives the rank."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield 0
        return
    dist.init_process_group("gloo")
    try:
        yield dist.get_rank()
    finally:
        dist.destroy_process_group()


def prepare(data: ImageData, rank: int, *, in_turn: bool) -> None:
    """Loads the data; in turn, so that the other processes find what the first downloaded."""
    if in_turn and rank:
        dist.barrier()
    data.prepare()
    if in_turn and not rank:
        dist.barrier()
