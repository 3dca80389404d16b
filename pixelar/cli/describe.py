"""`pixelar info`: describes a model, as text or as JSON."""

import json
import math
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pixelar.cli.listing import names
from pixelar.cli.trust import trusted
from pixelar.errors import PixelarError
from pixelar.hub.cards import duration, images_in_words, in_full
from pixelar.hub.index import find, is_packaged, read_card
from pixelar.io import plain
from pixelar.names.classes import check_names, listed

__all__ = ["cards_beside", "describe", "info", "render", "run_of"]

PARTS = ("quantizer", "head", "net")

REPORTS = ("report.json", "card.json")  # of an evaluation: its name now, and until version 0.1


def cards_beside(path: Path) -> Path:
    """Returns the folder for the reports of a model folder, or of a checkpoint of a run.

    Those of a packaged model go into the current folder: nothing is written into the package.
    """
    if is_packaged(path):
        return Path("evaluations") / path.name
    return run_of(path) / "evaluation"


def run_of(path: Path) -> Path:
    """Returns the folder that a model belongs to: the model folder, or the checkpoint's run."""
    if path.suffix != ".ckpt":
        return path
    return path.parent.parent if path.parent.name == "checkpoints" else path.parent


def info(options: Namespace) -> int:
    """Prints what a model is."""
    description = describe(find(options.model), options.trust)
    text = json.dumps(description, indent=2) if options.json else render(options.model, description)
    print(text)
    return 0


def describe(path: Path, trust: Sequence[str] = ()) -> dict[str, Any]:
    """Describes the model of a folder or a checkpoint, as plain values.

    Arguments:
        path: The folder or the checkpoint.
        trust: The full names of classes from outside pixelar that the model may use.
    """
    found = None if trust or path.suffix == ".ckpt" else read_facts(path)
    facts, own = found or load_facts(path, trust)
    card = read_card(path)
    return {
        **facts,
        "evaluations": _evaluations(path, own),
        "card": card if card and card.get("model_sha256") in own else None,
    }


def load_facts(path: Path, trust: Sequence[str] = ()) -> tuple[dict[str, Any], set[str]]:
    """Loads a model, and returns its description and the fingerprints of its weights."""
    from pixelar.hub.loading import load_all
    from pixelar.io.folders import fingerprint
    from pixelar.model import describe_model

    models = load_all(path, trust=trusted(trust))
    model = next(iter(models.values()))
    return {
        **describe_model(model),
        "lossless": model.quantizer.lossless,
        f"{model.quantizer.unit}s": model.scan.dims,
        "classes": model.classes,
        "class_names": None if model.class_names is None else [*model.class_names],
        "parameters": sum(p.numel() for p in model.parameters()),
        "weights": [*models],
    }, {fingerprint(model) for model in models.values()}


def read_facts(folder: Path) -> tuple[dict[str, Any], set[str]] | None:
    """Returns the same as `load_facts` for a model folder, without torch; None if the folder is not
    as `pixelar.save` writes it, so that loading it reports the reason.

    Raises:
        PixelarError: If the folder is incomplete or damaged.
    """
    config = plain.read_config(folder)
    content, model = plain.read_weights(folder, config), config["model"]
    called = config.get("class_names")
    try:
        tensors = plain.parse_tensors(content)
        known = all(model[part]["name"] in names(f"{part}s") for part in PARTS)
        channels, height, width = model["image_shape"]
        quantizer, args = model["quantizer"]["name"], model["quantizer"]["args"]
        # as in the classes of pixelar.quantizers
        unit = {"Palette": "token", "Codes": "code"}.get(quantizer, "dim")
        deep = quantizer == "BitDepth" and args["bits"] == args.get("depth", 8)
        dims = height * width * (1 if unit == "token" else channels)
        if not known or type(dims) is not int:
            return None
        own = plain.fingerprint(model, tensors)
        counts = {name: math.prod(tensor.shape) for name, tensor in tensors.items()}
        return {
            **model,
            "lossless": deep or quantizer in ("Identity", "Codes"),
            f"{unit}s": dims,
            "classes": (classes := model["net"]["args"]["classes"]),
            "class_names": None if called is None else [*check_names(called, classes)],
            "parameters": sum(n for name, n in counts.items() if name not in plain.BUFFERS),
            "weights": [config["weights"]],
        }, {own}
    except (PixelarError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _evaluations(path: Path, own: set[str]) -> list[dict[str, Any]]:
    """Returns the scores of exactly these weights, from the reports next to the model."""
    found = []
    beside = cards_beside(path)
    for file in sorted(file for name in REPORTS for file in beside.glob(f"*/{name}")):
        try:
            card = json.loads(file.read_text(encoding="utf-8"))
            if card["model_sha256"] in own:
                figure, data = card["figure"], card["data"]
                entry = {
                    "figure": {key: figure[key] for key in ("mean", "standard_error", "unit")},
                    "data": {key: data[key] for key in ("name", "split", "images")},
                    **{key: card[key] for key in ("weights", "dtype")},
                    "orders": card.get("orders", "one"),  # which older reports lack
                    "card": str(file),
                }
                found.append(entry)
        except (OSError, ValueError, KeyError, TypeError):
            continue  # not one of our reports
    return found


def render(name: str, description: Mapping[str, Any]) -> str:
    """Returns a description as a few aligned lines."""
    kept = "lossless" if description["lossless"] else "lossy"
    size = " × ".join(map(str, description["image_shape"]))
    unit = "dims" if "dims" in description else "tokens"
    lines = {
        "net": _part(description["net"]),
        "scan": description["scan"],
        "head": _part(description["head"]),
        "quantizer": f"{_part(description['quantizer'])}, {kept}",
        "images": f"{size} (channels × height × width), {description[unit]:,} {unit}",
        "classes": _classes(description),
        "parameters": f"{description['parameters']:,}",
        "weights": ", ".join(description["weights"]),
    }
    measured = [_measured(entry) for entry in description["evaluations"]] or ["nothing yet"]
    card = description["card"]
    if card:
        lines = {"what": card["title"], **lines, **_from_card(card)}
        measured = [] if measured == ["nothing yet"] else measured
    rows = [*lines.items(), *zip(("measured", *[""] * len(measured)), measured, strict=False)]
    return "\n".join([name, *(f"  {key:12s}{value}" for key, value in rows)])


def _from_card(card: Mapping[str, Any]) -> dict[str, str]:
    """Returns what the card of a model adds to its description."""
    data, training, figure = card["data"], card["training"], card["figure"]
    return {
        "score": f"{in_full(figure)}, all {figure['images']:,} {figure['split']} images",
        "data": f"{data['about']} ({data['licence']})",
        "trained": f"{training['steps']:,} steps, {training['images']:,} images, "
        f"{duration(training['seconds'])}, {training['hardware']}",
        "reproduce": card["evaluate"],
        "": card["retrain"],
    }


def _classes(description: Mapping[str, Any]) -> str:
    """Returns the number of a model's classes and what they are called."""
    names = f": {listed(description['class_names'])}" if description["class_names"] else ""
    return f"{description['classes'] or 'none'}{names}"


def _part(entry: Mapping[str, Any]) -> str:
    args = ", ".join(f"{key}={value}" for key, value in entry["args"].items())
    return f"{entry['name']}({args})"


def _measured(entry: Mapping[str, Any]) -> str:
    figure, data = entry["figure"], entry["data"]
    error = "" if figure["standard_error"] is None else f" ± {figure['standard_error']:.4f}"
    orders = entry["orders"]
    kind = orders if orders == "symmetries" else f"{orders} random orders"
    averaged = "" if orders == "one" else f", {kind} averaged"
    return (
        f"{figure['mean']:.4f}{error} {figure['unit']}, {images_in_words(data)} of "
        f"{data['name']}, {entry['weights']} weights, {entry['dtype']}{averaged}: {entry['card']}"
    )
