"""Model folders: a model as plain values and tensors, which loads without executing anything.

    NAME/  config.json         format, names from our tables, arguments, the weights' SHA-256
           model.safetensors   the weights

Names are looked up in `NETS`, `HEADS`, `SCANS` and `QUANTIZERS`, never imported, and nothing is unpickled.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save_file

from pixelar.errors import PixelarError
from pixelar.files import replacing
from pixelar.model import PixelModel, build_model, describe_model

__all__ = ["FORMAT", "load", "load_checkpoint", "read_config", "save"]

FORMAT = 1
Weights = Literal["ema", "raw"]


def save(model: PixelModel, path: str | Path, *, weights: Weights = "raw") -> None:
    """Writes a model folder.

    Arguments:
        model: The model.
        path: The folder; it may exist.
        weights: Whether the weights are a moving average ("ema") or those of the last step ("raw").
    """
    folder = Path(path)
    with replacing(folder / "model.safetensors") as temporary:
        save_file({k: v.contiguous() for k, v in model.state_dict().items()}, temporary)
        digest = hashlib.sha256(temporary.read_bytes()).hexdigest()
    config = {
        "format": FORMAT,
        "model": describe_model(model),
        "weights": weights,
        "sha256": digest,
    }
    with replacing(folder / "config.json") as temporary:
        temporary.write_text(json.dumps(config, indent=2) + "\n")


def read_config(folder: Path) -> dict[str, Any]:
    """Returns the config of a model folder, or raises PixelarError if it is not one."""
    file = folder / "config.json"
    if not folder.exists():
        raise PixelarError(f"no model at {folder}: there is no such folder")
    if not file.is_file():
        raise PixelarError(f"{folder} is not a model folder: it has no config.json")
    try:
        config = json.loads(file.read_text())
        found = config["format"], config["model"], config["sha256"], config["weights"]
    except (ValueError, KeyError, TypeError) as error:
        raise PixelarError(f"{file} is not the config of a pixelar model ({error!r})") from error
    if found[0] != FORMAT:
        raise PixelarError(f"{file} has format {found[0]!r}; this version reads format {FORMAT}")
    return config


def load(path: str | Path) -> PixelModel:
    """Returns the model of a folder, in evaluation mode on the CPU.

    Raises:
        PixelarError: If the folder is missing, damaged, or not a model of pixelar.
    """
    folder = Path(path)
    config = read_config(folder)
    file = folder / "model.safetensors"
    if not file.is_file():
        raise PixelarError(f"{folder} has no model.safetensors: the folder is incomplete")
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != config["sha256"]:
        raise PixelarError(
            f"{file} is damaged or was exchanged: its SHA-256 is not the one in config.json; copy the folder again"
        )
    try:
        state = load_tensors(content)
    except SafetensorError as error:
        raise PixelarError(f"{file} is not a safetensors file: {error}") from error
    return _restore(config["model"], state, file)


def load_checkpoint(path: str | Path, *, weights: Weights = "ema") -> PixelModel:
    """Returns the model of a training checkpoint, with the averaged weights or the last step's."""
    from pixelar.training.checkpoints import read_checkpoint

    checkpoint = read_checkpoint(Path(path))
    state = checkpoint[
        "state_dict"
    ]  # Lightning's weight average stands here, the last step's beside it
    if weights == "raw":
        state = checkpoint.get("current_model_state", state)
    own = {k.removeprefix("model."): v for k, v in state.items() if k.startswith("model.")}
    return _restore(checkpoint["pixelar"], own, Path(path))


def _restore(description: dict[str, Any], state: dict[str, torch.Tensor], file: Path) -> PixelModel:
    """Builds the model described and gives it its weights, all of them and no others."""
    try:
        with torch.device("meta"):
            expected = {k: v.shape for k, v in build_model(description).state_dict().items()}
    except PixelarError as error:
        raise PixelarError(f"{file.parent}: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise PixelarError(f"{file.parent}: its config describes no model ({error!r})") from error
    shapes = {k: v.shape for k, v in state.items()}
    for key in expected.keys() | shapes.keys():
        if expected.get(key) != shapes.get(key):
            have, want = (tuple(s[key]) if key in s else "nothing" for s in (shapes, expected))
            raise PixelarError(f"{file}: tensor {key!r} is {have} where the model has {want}")
    model = build_model(description)
    model.load_state_dict(state)
    return model.eval()
