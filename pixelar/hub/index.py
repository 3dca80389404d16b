"""The packaged models, and how the name or path of a model is resolved.

pixelar/hub/models/NAME/  config.json, model.safetensors   the model
                          card.json, README.md             its data, training and score
                          train.yaml, samples.png          its training config, samples
"""

import json
import os
from pathlib import Path
from typing import Any

from pixelar.errors import ConfigError, did_you_mean

__all__ = ["find", "is_packaged", "packaged", "read_card"]

MODELS = Path(__file__).parent / "models"


def packaged() -> dict[str, Path]:
    """Returns the folders of the packaged models, by name."""
    return {file.parent.name: file.parent for file in sorted(MODELS.glob("*/config.json"))}


def find(name: str | Path) -> Path:
    """Returns where a model is, given its name or its path.

    A string that holds a separator, ends in .ckpt, or is a model folder is taken as a path; others
    are names of packaged models.

    Raises:
        PixelarError: If it is neither; the message names the nearest one.
    """
    if not isinstance(name, str | os.PathLike):
        raise ConfigError(
            "model must be the name of a packaged model or the path of a folder or checkpoint; "
            f"got {type(name).__name__}"
        )
    path, known = Path(name), packaged()
    if any(sign and sign in str(name) for sign in (os.sep, os.altsep)) or path.suffix == ".ckpt":
        return path
    if (path / "config.json").exists():
        return path
    if str(name) in known:
        return known[str(name)]
    if path.exists():
        return path  # reading it reports what it lacks
    guess = did_you_mean(str(name), known)
    raise ConfigError(f"model: {guess}; there is no folder of that name either")


def is_packaged(folder: Path) -> bool:
    """Returns whether a folder is that of a packaged model, which nothing is written to."""
    return folder.resolve().parent == MODELS.resolve()


def read_card(folder: Path) -> dict[str, Any] | None:
    """Returns the card of a model folder as plain values, or None if it has none of that form."""
    try:
        card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return card if _has_form(card, FORM) else None


_TEXT, _NUMBER = str, (int, float)

# the entries of a card that code relies on; a card is untrusted
FORM: dict[str, Any] = {
    **dict.fromkeys(("name", "title", "summary", "headline", "model_sha256"), _TEXT),
    **dict.fromkeys(("evaluate", "retrain"), _TEXT),
    **dict.fromkeys(("classes", "parameters", "bytes"), int),
    "data": dict.fromkeys(("name", "title", "about", "licence"), _TEXT),
    "figure": {
        **dict.fromkeys(("mean", "standard_error", "nats_mean", "nats_standard_error"), _NUMBER),
        **dict.fromkeys(("unit", "split"), _TEXT),
        "images": int,
    },
    "protocol": {"images_sha256": _TEXT, "weights": _TEXT, "dtype": _TEXT},
    "training": {"hardware": _TEXT, **dict.fromkeys(("steps", "images", "seconds"), int)},
    "histogram": {"edges": list, "counts": list},
    "curve": list,
}


def _has_form(value: object, form: Any) -> bool:  # noqa: ANN401
    """Returns whether a JSON value has these keys, with values of these types."""
    if not isinstance(form, dict):
        return isinstance(value, form)
    return isinstance(value, dict) and all(
        key in value and _has_form(value[key], inner) for key, inner in form.items()
    )
