"""Converts what callers pass as images, labels, masks and symbols to plain tensors of one kind.

Accepts tensors of any class, NumPy arrays, nested sequences of numbers and anything else that
converts to an array, with any integer type. Everything else is refused here, so that inner
functions need no checks.
"""

import operator
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor

from pixelar.errors import DataError

__all__ = [
    "DTYPES",
    "Array",
    "as_grid",
    "as_images",
    "as_labels",
    "as_mask",
    "as_symbols",
    "holds",
    "narrowest",
    "whole_number",
]

# the types that images may have, by name, from the narrowest to the widest
DTYPES = {name: getattr(torch, name) for name in ("uint8", "uint16", "int32", "int64")}


class SupportsArray(Protocol):
    """An object that NumPy can convert to an array, such as a column of a table."""

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray: ...  # noqa: ANN401


Array: TypeAlias = Tensor | np.ndarray | Sequence[Any] | SupportsArray


def holds(dtype: torch.dtype, least: int, most: int) -> bool:
    """Returns whether a type of integers holds all values from `least` to `most`."""
    return torch.iinfo(dtype).min <= least and most <= torch.iinfo(dtype).max


def narrowest(least: int, most: int) -> torch.dtype:
    """Returns the narrowest type of images that holds all values from `least` to `most`."""
    for dtype in DTYPES.values():
        if holds(dtype, least, most):
            return dtype
    raise DataError(f"images hold values of at most 64 bits; got {least} to {most}")


def as_grid(values: Array) -> Tensor:
    """Returns a grid of whole numbers as a plain tensor of the same shape, in its own type where
    images may have it (`DTYPES`), else in a wider one.

    Raises:
        PixelarError: If they are not whole numbers, or too large for 64 bits.
    """
    grid = _as_tensor(values, wanted := "images are whole numbers")
    _require_integers(grid, values, wanted)
    if grid.dtype in DTYPES.values():
        return grid
    if grid.dtype == torch.uint64:  # of which the largest become negative
        _require_range(grid, 0, torch.iinfo(torch.int64).max, "image values", "images")
    return grid.to(torch.int32 if grid.dtype.itemsize < 4 else torch.int64)


def as_images(
    values: Array, least: int = 0, most: int = 255, dtype: torch.dtype = torch.uint8
) -> Tensor:
    """Returns images as a plain tensor of the same shape.

    Arguments:
        values: The images.
        least: The smallest value that they may have.
        most: The largest value that they may have.
        dtype: The type of the result, which holds all of these values.

    Raises:
        PixelarError: If they are not whole numbers from `least` to `most`; the first other one is
            named.
    """
    kind = str(dtype).removeprefix("torch.")
    wanted = f"the model takes {kind} images with values {least} … {most}"
    images = _as_tensor(values, wanted)
    _require_integers(images, values, wanted)
    limits = torch.iinfo(images.dtype)
    if limits.min < least or most < limits.max:  # else every value of the type is allowed
        _require_range(images, least, most, "image values", "images")
    return images.to(dtype)


def as_labels(values: Array) -> Tensor:
    """Returns class numbers as a plain int64 tensor of the same shape, without checking their
    range.

    Raises:
        PixelarError: If they are not whole numbers.
    """
    labels = _as_tensor(values, wanted := "labels must be class numbers, which are whole numbers")
    _require_integers(labels, values, wanted)
    return labels.long()


def as_mask(values: Array) -> Tensor:
    """Returns which pixels are known as a plain bool tensor of the same shape.

    Raises:
        PixelarError: If a value is not a boolean, 0 (unknown), or 1 or 255 (known).
    """
    mask = _as_tensor(values, "known must be a mask of truth values, or of 0 and 1")
    if mask.dtype == torch.bool:
        return mask
    if not mask.is_floating_point():
        mask = mask.long()  # an int8 mask cannot be compared with 255
    fits = (mask == 0) | (mask == 1) | (mask == 255)
    if not fits.all():
        at = (~fits).nonzero()[0].tolist()
        raise DataError(
            f"known must be True or 1 where a pixel is known and False or 0 elsewhere; known{at} "
            f"is {mask[tuple(at)].item()}"
        )
    return mask != 0


def as_symbols(values: Array, levels: int) -> Tensor:
    """Returns symbols as a plain int64 tensor of the same shape.

    Arguments:
        values: The symbols.
        levels: V, the number of values of a symbol.

    Raises:
        PixelarError: If they are not whole numbers from 0 to V - 1; the message names the first
            that is not.
    """
    x = _as_tensor(values, wanted := f"symbols must be whole numbers from 0 to {levels - 1}")
    _require_integers(x, values, wanted)
    _require_range(x, 0, levels - 1, "symbols", "x")
    return x.long()


def whole_number(value: object, name: str, least: int | None = None) -> int:
    """Returns a whole number of any integer type as an int.

    Arguments:
        value: The number.
        name: What it is called, for the message.
        least: The smallest that is allowed; None for any.

    Raises:
        PixelarError: If it is not a whole number, or too small.
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)  # type: ignore[arg-type]
    except (TypeError, RuntimeError):  # torch raises the latter for tensors of many values
        raise DataError(
            f"{name} must be a whole number; got {type(value).__name__} {value!r:.60}"
        ) from None
    if least is not None and number < least:
        raise DataError(f"{name} must be at least {least}; got {number}")
    return number


def _as_tensor(values: object, wanted: str) -> Tensor:
    """Converts numbers in any container to a plain tensor, not one of a subclass."""
    if isinstance(values, list | tuple) and values and isinstance(values[0], Tensor):
        values = [v.numpy(force=True) if isinstance(v, Tensor) else v for v in values]
    if isinstance(values, Tensor):
        if values.layout is not torch.strided or values.is_quantized or values.is_meta:
            kinds = {values.is_quantized: "quantized", values.is_meta: "meta"}
            kind = f"a {kinds[True]} tensor" if True in kinds else f"a tensor of {values.layout}"
            raise DataError(f"{wanted}; got {kind}")
        return values if type(values) is Tensor else values.as_subclass(Tensor)
    array = _as_array(values)
    if array is None or array.dtype.kind not in "biuf":
        raise DataError(f"{wanted}; got {_kind(values, array)}")
    if not array.size and not isinstance(values, np.ndarray):
        array = array.astype(np.int64)  # an empty list has no type of its own
    # torch takes only arrays in this machine's byte order and in memory that may be written
    native = np.require(array, array.dtype.newbyteorder("="), ["C", "W", "E"])
    try:
        return torch.from_numpy(native)
    except TypeError:  # a wider type than torch has
        raise DataError(f"{wanted}; got {_kind(values, array)}") from None


def _as_array(values: object) -> np.ndarray | None:
    """Returns the array that a value stands for, or None if it is no container of numbers."""
    is_text = isinstance(values, str | bytes | bytearray)
    numbers = isinstance(values, Sequence | int | float) or hasattr(values, "__array__")
    if is_text or not numbers:
        return None
    try:
        return np.asarray(values)
    except (ValueError, TypeError, OverflowError):  # for example, rows of different lengths
        return None


def _kind(values: object, array: np.ndarray | None) -> str:
    """Describes in words what was passed."""
    name = type(values).__name__
    if isinstance(values, Tensor):
        return str(values.dtype)
    if isinstance(values, np.ndarray):
        return f"a NumPy array of {values.dtype}"
    if isinstance(values, Sequence) and not isinstance(values, str | bytes | bytearray):
        of = "rows of several lengths or other objects" if array is None else str(array.dtype)
        return f"a {name} of {of}"
    if values is None or isinstance(values, str | bytes | int | float):
        return f"{name} {values!r:.60}"
    return f"an object of type {name}"


def _require_integers(tensor: Tensor, values: object, wanted: str) -> None:
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        array = None if isinstance(values, Tensor) else _as_array(values)
        raise DataError(f"{wanted}; got {_kind(values, array)}")


def _require_range(x: Tensor, least: int, most: int, what: str, name: str) -> None:
    """Raises PixelarError unless all values are from `least` to `most`."""
    # else a bound would be converted to a narrow type to compare with; the largest unsigned
    # integers of 64 bits become negative
    wide = x.long()
    outside = (wide < least) | (wide > most)
    if x.dtype == torch.uint64:
        outside |= wide < 0
    if outside.any():
        at = outside.nonzero()[0].tolist()
        value = x.numpy(force=True)[tuple(at)]
        raise DataError(f"{what} must be from {least} to {most}; {name}{at} is {value}")
