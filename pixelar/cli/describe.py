"""What `pixelar info` says of a model, for people and for machines."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pixelar.cards import duration, in_full
from pixelar.folders import fingerprint
from pixelar.model import PixelModel, describe_model
from pixelar.packaged import is_packaged, read_card

__all__ = ["cards_beside", "describe", "render"]


def cards_beside(path: Path) -> Path:
    """Returns the folder for the cards of a model folder, or of a checkpoint of a run.

    Those of a packaged model go into the current folder: nothing is written into the package.
    """
    if is_packaged(path):
        return Path("evaluations") / path.name
    if path.suffix != ".ckpt":
        return path / "evaluation"
    run = path.parent.parent if path.parent.name == "checkpoints" else path.parent
    return run / "evaluation"


def describe(path: Path, models: Mapping[Any, PixelModel]) -> dict[str, Any]:
    """Returns what a model is, as plain values.

    Arguments:
        path: The model folder or the checkpoint.
        models: The models that it holds, by weights.
    """
    model = next(iter(models.values()))
    return {
        **describe_model(model),
        "lossless": model.quantizer.lossless,
        f"{model.quantizer.unit}s": model.scan.dims,
        "classes": model.classes,
        "parameters": sum(p.numel() for p in model.parameters()),
        "weights": [*models],
        "evaluations": _evaluations(path, own := {fingerprint(m) for m in models.values()}),
        "card": card if (card := read_card(path)) and card.get("model_sha256") in own else None,
    }


def _evaluations(path: Path, own: set[str]) -> list[dict[str, Any]]:
    """Returns what was measured of exactly these weights, from the cards beside the model."""
    found = []
    for file in sorted(cards_beside(path).glob("*/card.json")):
        try:
            card = json.loads(file.read_text(encoding="utf-8"))
            if card["model_sha256"] in own:
                figure, data = card["figure"], card["data"]
                entry = {
                    "figure": {key: figure[key] for key in ("mean", "standard_error", "unit")},
                    "data": {key: data[key] for key in ("name", "split", "images")},
                    **{key: card[key] for key in ("weights", "dtype")},
                    "orders": card.get("orders", "one"),  # which older cards do not name
                    "card": str(file),
                }
                found.append(entry)
        except (OSError, ValueError, KeyError, TypeError):
            continue  # not one of our cards
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
        "classes": description["classes"] or "none",
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
        "figure": f"{in_full(figure)}, all {figure['images']:,} {figure['split']} images",
        "data": f"{data['about']} ({data['licence']})",
        "trained": f"{training['steps']:,} steps, {training['images']:,} images, "
        f"{duration(training['seconds'])}, {training['hardware']}",
        "again": card["evaluate"],
        "": card["retrain"],
    }


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
        f"{figure['mean']:.4f}{error} {figure['unit']}, {data['images']} {data['split']} images of "
        f"{data['name']}, {entry['weights']} weights, {entry['dtype']}{averaged}: {entry['card']}"
    )
