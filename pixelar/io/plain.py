"""Model folders read without torch: the config, and the names, shapes and bytes of the weights.

`pixelar info` needs no more, and answers at once. Unusual cases are left to `pixelar.io.folders`,
which builds the model and says what is wrong with it.

    model.safetensors   8 bytes: n │ n bytes of JSON: dtype, shape, offsets by name │ the bytes
"""

import array
import hashlib
import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from pixelar.common.files import read_bytes, read_object
from pixelar.errors import StorageError

__all__ = ["FORMAT", "PlainTensor", "Weights", "digest", "fingerprint", "parse_tensors"]
__all__ += ["promoted", "read_config", "read_weights"]

FORMAT = 1
KEYS = ("format", "model", "weights", "sha256", "config_sha256")

Weights: TypeAlias = Literal["ema", "raw"]

# the types of safetensors: the bytes of a value, and torch's name of the type
TYPES = {
    "F64": (8, "float64"),
    "F32": (4, "float32"),
    "F16": (2, "float16"),
    "BF16": (2, "bfloat16"),
    "I64": (8, "int64"),
    "I32": (4, "int32"),
    "I16": (2, "int16"),
    "I8": (1, "int8"),
    "U8": (1, "uint8"),
    "BOOL": (1, "bool"),
}
BUFFERS = ("quantizer.colours",)  # tensors that are not trained by gradients
FLOATING = ("F64", "F32", "F16", "BF16")


def read_config(folder: Path) -> dict[str, Any]:
    """Reads the config of a model folder, and checks that it was not changed.

    Raises:
        PixelarError: If there is none, or it is damaged or of another format.
    """
    if folder.is_file():
        raise StorageError(f"{folder} is a file; a model is a folder or a checkpoint, NAME.ckpt")
    if not folder.is_dir():
        raise StorageError(f"no model at {folder}: there is no such folder")
    file = folder / "config.json"
    if not file.is_file():
        raise StorageError(f"{folder} is not a model folder: it has no file config.json")
    config = read_object(file)
    _check_config(config, file)
    return config


def _check_config(config: dict[str, Any], file: Path) -> None:
    if "format" in config and config["format"] != FORMAT:
        raise StorageError(
            f"{file} has format {config['format']!r:.60}; this version reads format {FORMAT}"
        )
    missing = [key for key in KEYS if key not in config]
    if missing:
        raise StorageError(
            f"{file} is not the config of a pixelar model: it has no {', '.join(missing)}"
        )
    if config["config_sha256"] != digest(config):
        raise StorageError(
            f"{file} is damaged or was edited: its values do not match its config_sha256; "
            "copy the folder again"
        )
    if config["weights"] not in get_args(Weights):
        raise StorageError(f"{file}: weights must be ema or raw; got {config['weights']!r:.60}")


def digest(config: Mapping[str, Any]) -> str:
    """Returns the SHA-256 of a config's values, without `config_sha256`, whatever their layout."""
    values = {key: value for key, value in config.items() if key != "config_sha256"}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def read_weights(folder: Path, config: Mapping[str, Any]) -> bytes:
    """Reads the bytes of a model folder's weights, and checks them against its config.

    Raises:
        PixelarError: If there are none, or they are not those of the config.
    """
    file = folder / "model.safetensors"
    if not file.is_file():
        raise StorageError(f"{folder} has no file model.safetensors: the folder is incomplete")
    content = read_bytes(file)
    if hashlib.sha256(content).hexdigest() != config["sha256"]:
        raise StorageError(
            f"{file} is damaged or was replaced: its SHA-256 is not the one in config.json; "
            "copy the folder again"
        )
    return content


@dataclass(frozen=True)
class PlainTensor:
    """A tensor of a safetensors file.

    Attributes:
        kind: Its data type, as a key of `TYPES`.
        shape: Its shape.
        data: Its values, little-endian.
    """

    kind: str
    shape: tuple[int, ...]
    data: memoryview


def parse_tensors(content: bytes) -> dict[str, PlainTensor]:
    """Returns the tensors of a safetensors file by name.

    Raises:
        ValueError, KeyError, TypeError: If the file has another form.
    """
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header.pop("__metadata__", None)
    data, found = memoryview(content)[start:], {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        tensor = PlainTensor(entry["dtype"], tuple(map(int, entry["shape"])), data[begin:end])
        if len(tensor.data) != math.prod(tensor.shape) * TYPES[tensor.kind][0]:
            raise ValueError(f"tensor {name} has a number of bytes that does not fit its shape")
        found[name] = tensor
    return found


def fingerprint(description: Mapping[str, Any], tensors: Mapping[str, PlainTensor]) -> str:
    """Returns what `pixelar.io.folders.fingerprint` returns for the model loaded from a folder: the
    SHA-256 of its description and of its weights as loaded.
    """
    total = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
    double = {name.partition(".")[0] for name, tensor in tensors.items() if tensor.kind == "F64"}
    for name, tensor in sorted(tensors.items()):
        kind, data = tensor.kind, tensor.data
        if kind in FLOATING:  # a part computes in float32, or in float64 if anything in it is
            kind = "F64" if name.partition(".")[0] in double else "F32"
            data = promoted(tensor, kind)
        total.update(f"{name} torch.{TYPES[kind][1]} {tensor.shape}\n".encode())
        total.update(data)
    return total.hexdigest()


def promoted(tensor: PlainTensor, kind: str) -> memoryview:
    """Returns the bytes of a floating-point tensor's values in a type that is at least as wide."""
    data, single = tensor.data, tensor.data
    if tensor.kind == kind:
        return data
    if tensor.kind == "F16":
        halves = struct.unpack(f"<{len(data) // 2}e", data)
        single = memoryview(array.array("f", halves)).cast("B")
    elif tensor.kind == "BF16":  # the upper half of a float32
        widened = bytearray(2 * len(data))
        widened[2::4], widened[3::4] = bytes(data[0::2]), bytes(data[1::2])
        single = memoryview(widened)
    if kind == "F32":
        return single
    return memoryview(array.array("d", single.cast("f"))).cast("B")
