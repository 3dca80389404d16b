"""Restoring a model from untrusted plain values and tensors.

    description ── types, sizes ──► model without memory ── names, shapes ──► model ◄── tensors

Nothing is allocated before the description is known to require exactly the tensors present.
"""

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeGuard, Union, get_args, get_origin, get_type_hints

import torch
from torch import Tensor
from torch.nn.modules.module import register_module_parameter_registration_hook

from pixelar.errors import PixelarError, StorageError
from pixelar.model import PixelModel, build_model
from pixelar.model.boundary import torch_defaults
from pixelar.model.describe import PARTS, class_of

__all__ = ["holds_tensors", "restore"]

# limits of the tables that a scan makes of an image and of the square around it, since no weights
# limit their size
LARGEST_SIDE, MOST_DIMS = 2048, 1 << 24


@torch_defaults()
def restore(
    description: object,
    state: object,
    file: Path,
    *,
    class_names: object = None,
    trust: Mapping[str, type] | None = None,
) -> PixelModel:
    """Restores the described model, in evaluation mode, with exactly these weights.

    Arguments:
        description: A description in the form of `describe_model`, which is checked.
        state: The weights by name. The model computes in float64 if they are stored in float64,
            and in float32 otherwise.
        file: Where they come from, for messages.
        class_names: The names of the model's classes by number, if the file has any.
        trust: The classes from outside of pixelar that may be built, by name.
    """
    if not holds_tensors(state):
        raise StorageError(f"{file} holds no tensors by name")
    try:
        checked = _checked(description, trust or {})
        expected = _outline(checked, trust, most=4 * len(state))
        _compare(expected, state)
    except PixelarError as error:
        raise StorageError(f"{file}: {error}") from error
    model = build_restored(checked, state, trust)
    try:
        model.class_names = class_names
    except PixelarError as error:
        raise StorageError(f"{file}: {error}") from error
    return model


def build_restored(
    description: dict[str, Any],
    state: Mapping[str, Tensor],
    trust: Mapping[str, type] | None = None,
) -> PixelModel:
    """Builds the model of a trusted description, as `restore` does.

    The checks of `restore` first build the model on the meta device. For this, torch loads its
    compiler, which takes longer than all the rest, so packaged models skip the checks.
    """
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers are not used up
        model = build_model(description, trust=trust)
    for name, part in model.named_children():
        part.to(_dtype_of(name, state))
    model.load_state_dict(state)
    return model.eval()


def _dtype_of(part: str, state: Mapping[str, Tensor]) -> torch.dtype:
    """Returns the data type that all weights of a part fit into, float32 at least."""
    types = {tensor.dtype for name, tensor in state.items() if name.startswith(f"{part}.")}
    return functools.reduce(torch.promote_types, types, torch.float32)


def holds_tensors(state: object) -> TypeGuard[dict[str, Tensor]]:
    """Returns whether a value is a dictionary of tensors by name."""
    return isinstance(state, dict) and all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in state.items()
    )


def _checked(description: object, trust: Mapping[str, type]) -> dict[str, Any]:
    """Returns the description if its form, types and image size are supported."""
    keys = ("image_shape", "scan", *PARTS)
    if not isinstance(description, dict) or set(description) - {"image_dtype"} != set(keys):
        raise StorageError(f"a model is described by {', '.join(keys)}; this one is not")
    shape = description["image_shape"]
    if not (_fits(shape, list[int]) and len(shape) == 3 and min(shape) >= 1):
        raise StorageError(f"image_shape must be three numbers, (C, H, W); got {shape!r:.60}")
    if max(shape) > LARGEST_SIDE or math.prod(shape) > MOST_DIMS:
        raise StorageError(
            f"image_shape {shape}: images have at most {LARGEST_SIDE} pixels a side and "
            f"{MOST_DIMS:,} values"
        )
    if not isinstance(description["scan"], str):
        raise StorageError(f"scan must be a name; got {description['scan']!r:.60}")
    for part in PARTS:
        _check_part(part, description[part], trust)
    return description


def _check_part(part: str, entry: object, trust: Mapping[str, type]) -> None:
    """Raises PixelarError unless a part is a name and arguments of the annotated types."""
    types = {"name": str, "args": dict, "class": str}
    if not (
        isinstance(entry, dict)
        and set(entry) in ({"name", "args"}, set(types))
        and all(isinstance(entry[key], types[key]) for key in entry)
    ):
        raise StorageError(f"{part} must be a name and its args; got {entry!r:.60}")
    name, kind = entry["name"], class_of(part, entry, trust)
    # annotations of a class from outside may be anything
    hints = {} if "class" in entry else get_type_hints(kind.__init__)  # type: ignore[misc]
    for key, value in entry["args"].items():
        if key in hints and not _fits(value, hints[key]):
            form = getattr(hints[key], "__name__", "") if not get_args(hints[key]) else ""
            raise StorageError(
                f"{part} {name}: {key} must be {form or hints[key]}; got {value!r:.60}"
            )


def _fits(value: Any, hint: Any) -> bool:  # noqa: ANN401
    """Returns whether a JSON value has the type that an annotation requires."""
    kind, inner = get_origin(hint), get_args(hint)
    if kind in (Union, UnionType):
        return any(_fits(value, one) for one in inner)
    if kind is Literal:
        return value in inner
    if kind in (list, tuple, Sequence):
        return isinstance(value, list) and all(_fits(item, inner[0]) for item in value)
    if hint is float:
        return type(value) in (int, float) and math.isfinite(value)
    return type(value) is hint  # a bool is no int here


def _outline(
    description: dict[str, Any], trust: Mapping[str, type] | None, most: int
) -> dict[str, Tensor]:
    """Returns the tensors that a model has, on the meta device.

    Arguments:
        description: The model.
        trust: The classes from outside of pixelar that may be built.
        most: How many parameters are built before giving up: a layer costs time even without
            memory.
    """
    built = itertools.count(1)

    def count(*_: object) -> None:
        if next(built) > most:
            raise StorageError("its config describes far more layers than it has tensors for")

    handle = register_module_parameter_registration_hook(count)
    try:
        with torch.device("meta"):
            return build_model(description, trust=trust).state_dict()
    except PixelarError:
        raise
    except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        reason = str(error).splitlines()[0][:200]
        raise StorageError(f"its config describes no model: {reason}") from error
    finally:
        handle.remove()


def _compare(expected: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    """Raises PixelarError unless the tensors have the names, shapes and kind that are expected."""
    for name in sorted(expected.keys() | state.keys()):
        want, have = (_kind(tensors.get(name)) for tensors in (expected, state))
        if want != have:
            raise StorageError(f"tensor {name!r} is {have} where the model has {want}")


def _kind(tensor: Tensor | None) -> str:
    """Returns the shape of a tensor, and its type unless it is one that weights may have."""
    if tensor is None:
        return "nothing"
    usual = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    return f"{tuple(tensor.shape)}" + ("" if tensor.dtype in usual else f" of {tensor.dtype}")
