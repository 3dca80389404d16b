"""Reading weights by name from a file that another program saved, however they are wrapped.

    whole checkpoints      {"model_state_dict": …, "epoch": 7}    the one set of weights in it
    many GPUs, Lightning   module.…, model.…                      without the prefix
    torch.compile          _orig_mod.…                            likewise
    torch's AveragedModel  module.…, n_averaged                   without that count
    newer weight norm      parametrizations.weight.original0, 1   weight_g, weight_v

Nothing in the file is executed: besides tensors and plain values, only the classes in `HARMLESS`
are built, which hold values and do nothing.
"""

import argparse
import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy._core.multiarray import scalar
from torch import Tensor

from pixelar.errors import DataError

__all__ = ["FLOATS", "State", "read_state"]

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

# what training scripts put next to the weights: their options, and losses as NumPy numbers
HARMLESS: list[Any] = [
    argparse.Namespace,
    scalar,
    (scalar, "numpy.core.multiarray.scalar"),  # its name before NumPy 2
    np.dtype,
    np.dtypes.Float64DType,
    np.dtypes.Float32DType,
    np.dtypes.Int64DType,
]

PREFIXES = ("module.", "model.", "net.", "network.", "ema_model.")
PARAMETRIZED = re.compile(r"parametrizations\.weight\.original([01])$")


@dataclass
class State:
    """The weights of a file.

    Attributes:
        tensors: The tensors by name.
        rest: What else the file holds, by name.
    """

    tensors: dict[str, Tensor]
    rest: dict[str, Any]

    def shape(self, name: str) -> tuple[int, ...]:
        """Returns the shape of a tensor; raises PixelarError if there is none."""
        if name not in self.tensors:
            raise DataError(f"it lacks the tensor {name!r}")
        return tuple(self.tensors[name].shape)

    def count(self, name: str) -> int:
        """Returns how many tensors have this name with the numbers 0, 1, 2 … in it, at least 1."""
        found = 0
        while name.format(found) in self.tensors:
            found += 1
        if not found:
            raise DataError(f"it lacks the tensor {name.format(0)!r}")
        return found

    def take(self, name: str, *shape: int) -> Tensor:
        """Removes a tensor and returns it.

        Raises:
            PixelarError: If it is not there, has another shape, or is not of finite
                floating-point numbers.
        """
        if self.shape(name) != shape:
            raise DataError(
                f"tensor {name!r} has the shape {self.shape(name)} where {shape} is expected"
            )
        value = self.tensors.pop(name)
        if value.layout is not torch.strided or value.dtype not in FLOATS or value.is_meta:
            raise DataError(f"tensor {name!r} holds no floating-point numbers")
        if not value.isfinite().all():
            raise DataError(f"tensor {name!r} holds numbers that are not finite")
        return value

    def check_empty(self, net: str) -> None:
        """Raises PixelarError if a tensor was not taken."""
        if self.tensors:
            raise DataError(f"it has a tensor that {net} does not have: {min(self.tensors)!r}")


def read_state(path: Path, *, prefer: str = "") -> State:
    """Returns the weights of a file of `torch.save`.

    Arguments:
        path: The file.
        prefer: The name of the set of weights to take, where the file holds several.

    Raises:
        PixelarError: If there is no such file, or it holds no weights, several sets of them, or
            objects whose code would have to be executed.
    """
    found = _load(path)
    tensors, rest = _weights(found, path, prefer)
    named = {name.replace("_orig_mod.", ""): tensor for name, tensor in tensors.items()}
    named.pop("n_averaged", None)
    while prefix := next((p for p in PREFIXES if all(n.startswith(p) for n in named)), ""):
        named = {name.removeprefix(prefix): tensor for name, tensor in named.items()}
    named = {PARAMETRIZED.sub(_older_name, name): tensor for name, tensor in named.items()}
    return State(named, rest)


def _load(path: Path) -> object:
    if not path.is_file():
        raise DataError(f"no checkpoint at {path}")
    how = "in the program that wrote it, save the weights alone: torch.save("
    if program := _program(path):
        raise DataError(
            f"{path} is a {program[0]}, which is not executed here; {how}"
            f"{program[1]}({path.name!r}).state_dict(), 'weights.pth')"
        )
    try:
        with torch.serialization.safe_globals(HARMLESS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of any type, where the file was crafted
        held = re.search(r"GLOBAL ([\w.]+)", str(error))
        if isinstance(error, pickle.UnpicklingError) and held:
            raise DataError(
                f"{path} holds an object of {held[1]}, whose code would have to be executed to "
                f"read it; {how}model.state_dict(), 'weights.pth')"
            ) from error
        raise DataError(f"{path} is not a readable checkpoint: {_reason(path)}") from error


def _program(path: Path) -> tuple[str, str] | None:
    """Returns the kind of a file of compiled code, and what loads it; None for other files.

    Raises:
        PixelarError: If it is an archive with a part that does not match its checksum.
    """
    if not zipfile.is_zipfile(path):
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
            names = {name.rpartition("/")[2] for name in archive.namelist()}
    except Exception as error:  # of any type, where the file was crafted
        raise DataError(f"{path} is damaged: it cannot be unpacked") from error
    if damaged:
        raise DataError(f"{path} is damaged: {damaged} does not match its checksum")
    if "constants.pkl" in names:
        return "TorchScript program", "torch.jit.load"
    if "archive_format" in names:
        return "program of torch.export", "torch.export.load"
    return None


def _reason(path: Path) -> str:
    """Returns in a few words why torch could not read a file."""
    if not path.stat().st_size:
        return "it is empty"
    with path.open("rb") as file:
        archive = file.read(2) == b"PK"
    if archive and not zipfile.is_zipfile(path):
        return "it ends too early; copy it again"
    return "it is damaged, or no file of torch.save"


def _weights(found: object, path: Path, prefer: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Returns the one dictionary of tensors by name in what a file holds, and the rest."""
    if not isinstance(found, Mapping):
        raise DataError(f"{path} holds no tensors by name but {type(found).__name__}")
    if _is_state(found):
        return dict(found), {}
    inner = {str(key): value for key, value in found.items() if _is_state(value)}
    if prefer in inner:
        inner = {prefer: inner[prefer]}
    if len(inner) != 1:
        what = f"several sets of weights ({', '.join(inner)})" if inner else "no tensors by name"
        more = "; save the one that you want alone" if inner else ""
        raise DataError(f"{path} holds {what}{more}")
    (name,) = inner
    return dict(inner[name]), {str(key): value for key, value in found.items() if key != name}


def _is_state(value: object) -> bool:
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in value.items())
    )


def _older_name(match: re.Match[str]) -> str:
    return "weight_g" if match[1] == "0" else "weight_v"
