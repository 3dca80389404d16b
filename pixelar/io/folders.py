"""Model folders: a model as plain values and tensors, which loads without executing anything.

    NAME/  config.json         format, names from our tables, arguments, names of classes, two
                               SHA-256 sums
           model.safetensors   the weights

Names are looked up in `NETS`, `HEADS`, `SCANS` and `QUANTIZERS`, or among the classes that the
caller trusts; nothing is imported or unpickled. `sha256` is the sum of the weights' file and
`config_sha256` that of the rest of the config, so that damaged or replaced files are detected.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from pixelar.common.files import replacing
from pixelar.errors import StorageError
from pixelar.io.checkpoints import read_checkpoint
from pixelar.io.plain import FORMAT, Weights, digest, read_config, read_weights
from pixelar.io.restore import build_restored, restore
from pixelar.io.verify import check_same_model
from pixelar.model import PixelModel, describe_model
from pixelar.model.boundary import torch_defaults
from pixelar.scan import SCANS

__all__ = [
    "FORMAT",
    "Weights",
    "fingerprint",
    "load_checkpoint",
    "load_checkpoints",
    "load_folder",
    "save",
]


def save(
    model: PixelModel,
    path: str | Path,
    *,
    weights: Weights = "raw",
    storage: torch.dtype | None = None,
) -> None:
    """Writes a model folder, after checking that its content restores the model.

    Arguments:
        model: The model. Nets, heads and quantizers from outside of pixelar are recorded by name,
            and `load` takes their classes as `trust`.
        path: The folder; a model that it holds is replaced.
        weights: Whether the weights are a moving average ("ema") or those of the last step ("raw").
        storage: The data type that weights are stored in, such as torch.float16 for half the size;
            None keeps the model's. Rounding cannot be undone: evaluate the stored model.

    Raises:
        PixelarError: If an argument of the model cannot be recorded, or the model restored from the
            folder would not be the same; nothing is written then.
    """
    folder = Path(path)
    if model.net.built_in not in SCANS:
        raise StorageError(f"scan {model.net.built_in!r} is none of {', '.join(SCANS)}")
    tensors = save_tensors(_stored(model, storage))
    config = {
        "format": FORMAT,
        "model": describe_model(model),
        "weights": weights,
        "sha256": hashlib.sha256(tensors).hexdigest(),
    }
    if model.class_names is not None:
        config["class_names"] = [*model.class_names]
    config["config_sha256"] = digest(config)
    text = json.dumps(config, indent=2)
    check_same_model(model, json.loads(text)["model"], load_tensors(tensors), folder)
    # both are written before either replaces an old file, so that a full disk leaves the old model
    with (
        replacing(folder / "config.json") as config_file,
        replacing(folder / "model.safetensors") as tensor_file,
    ):
        tensor_file.write_bytes(tensors)
        config_file.write_text(text + "\n", encoding="utf-8")


@torch_defaults()
def load_folder(
    path: str | Path, *, trust: Mapping[str, type] | None = None, own: bool = False
) -> PixelModel:
    """Returns the model of a folder, as `pixelar.load` does.

    Arguments:
        path: The folder.
        trust: The classes from outside of pixelar that the model may be built of, by name.
        own: Whether the folder is packaged with pixelar: its description is then trusted, which
            saves the time of building the model twice.
    """
    folder = Path(path)
    config = read_config(folder)
    content, file = read_weights(folder, config), folder / "model.safetensors"
    try:
        state = load_tensors(content)
    except Exception as error:  # of any type, where the file was crafted
        raise StorageError(f"{file} is not a safetensors file: {error}") from error
    names = config.get("class_names")  # which older folders lack
    if not own:
        return restore(config["model"], state, file, class_names=names, trust=trust)
    model = build_restored(config["model"], state)
    model.class_names = names
    return model


@torch_defaults()
def load_checkpoint(
    path: str | Path, *, weights: Weights | None = "ema", trust: Mapping[str, type] | None = None
) -> PixelModel:
    """Returns the model of a training checkpoint, with the averaged weights ("ema") or the last
    step's ("raw"); None takes the averaged weights if there are any.
    """
    file = Path(path)
    about, states = _read_checkpoint(file)
    weights = weights or ("ema" if "ema" in states else "raw")
    if weights not in states:
        raise StorageError(f"{file} has no {weights} weights; it has {', '.join(states)}")
    return restore(
        about["model"], states[weights], file, class_names=about["class_names"], trust=trust
    )


@torch_defaults()
def load_checkpoints(
    path: Path, *, trust: Mapping[str, type] | None = None
) -> dict[Weights, PixelModel]:
    """Returns the models of a training checkpoint by kind of weights."""
    about, states = _read_checkpoint(path)
    names = about["class_names"]
    return {
        weights: restore(about["model"], state, path, class_names=names, trust=trust)
        for weights, state in states.items()
    }


def fingerprint(model: PixelModel) -> str:
    """Returns the SHA-256 of a model's description and weights, in hexadecimal digits."""
    total = hashlib.sha256(json.dumps(describe_model(model), sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        values = tensor.detach().cpu().contiguous().flatten()
        total.update(values.view(torch.uint8).numpy().data)
    return total.hexdigest()


def _stored(model: PixelModel, storage: torch.dtype | None) -> dict[str, torch.Tensor]:
    """Returns the tensors of a model, those of net and head in the data type to store.

    The quantizer's stay as they are, so that symbols do not depend on how a model is stored.
    """
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    if storage is None:
        return tensors
    if not storage.is_floating_point:
        raise StorageError(f"storage must be a floating-point data type; got {storage}")
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not name.startswith("quantizer."):
            tensors[name] = tensor.to(storage)
            if not torch.equal(tensors[name].isfinite(), tensor.isfinite()):
                raise StorageError(
                    f"weights {name} are too large for {storage}; store them as torch.float32"
                )
    return tensors


def _read_checkpoint(file: Path) -> tuple[dict[str, object], dict[Weights, object]]:
    """Returns the model and class names that a checkpoint describes, and its sets of weights."""
    checkpoint = read_checkpoint(file)
    # where Lightning averages weights, the average is stored in place of the last step's weights
    about = {"model": checkpoint["pixelar"], "class_names": checkpoint.get("class_names")}
    here = _own(checkpoint.get("state_dict"))
    if "current_model_state" not in checkpoint:
        return about, {"raw": here}
    return about, {"ema": here, "raw": _own(checkpoint["current_model_state"])}


def _own(state: object) -> object:
    """Returns the model's weights among those of a training module."""
    if not isinstance(state, dict):
        return None
    named = {str(name): tensor for name, tensor in state.items()}
    return {k.removeprefix("model."): v for k, v in named.items() if k.startswith("model.")}
