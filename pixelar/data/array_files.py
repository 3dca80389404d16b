"""Arrays of integers from .npy, .npz and .pt files, by name; nothing in them is executed.

.npy files are mapped into memory: only what is used is read.
"""

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from pixelar.common.arrays import as_grid
from pixelar.errors import DataError

__all__ = ["SUFFIXES", "Layout", "as_channels_first", "as_integers", "read_arrays"]

Layout: TypeAlias = Literal["NHW", "NHWC", "NCHW"]

SUFFIXES = (".npy", ".npz", ".pt")


def read_arrays(path: Path) -> dict[str, object]:
    """Reads the arrays of a file by name, for `as_integers`; that of a .npy file, or of a .pt file
    with one tensor, is called "images".

    Raises:
        PixelarError: If the file is missing, damaged, or would have to be unpickled.
    """
    if path.suffix not in SUFFIXES:
        raise DataError(f"{path}: arrays are read from {', '.join(SUFFIXES)} files")
    if not path.is_file():
        raise DataError(f"{path}: there is no such file")
    try:
        if path.suffix == ".pt":
            found = torch.load(path, map_location="cpu", weights_only=True)
        elif path.suffix == ".npy":
            found = np.load(path, mmap_mode="c", allow_pickle=False)  # "c": never written to
        else:
            with np.load(path, allow_pickle=False) as archive:
                found = dict(archive)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    # whose messages advise to unpickle the file
    except (ValueError, EOFError, RuntimeError, pickle.PickleError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is damaged, or holds something else than arrays") from error
    named = found if isinstance(found, Mapping) else {"images": found}
    return {str(name): value for name, value in named.items()}


def as_integers(value: object, name: str) -> Tensor:
    """Returns an array as a tensor of integers, which shares its memory where it can.

    Arguments:
        value: The array.
        name: What messages call it.

    Raises:
        PixelarError: If it is no array, or its values are not whole numbers.
    """
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        native = value.astype(value.dtype.newbyteorder("="), copy=False)
        value = torch.from_numpy(native)
    if not isinstance(value, Tensor):
        kind = (
            f"an array of {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__
        )
        raise DataError(f"{name} is no array of numbers but {kind}")
    if value.is_floating_point() or value.is_complex():
        raise DataError(
            f"{name} holds {value.dtype}, and only whole numbers are modelled: scale and round them"
        )
    return as_grid(value.to(torch.uint8) if value.dtype == torch.bool else value)


def as_channels_first(images: Tensor, layout: Layout | None, name: str) -> Tensor:
    """Returns a view of images with shape (N, C, H, W).

    Arguments:
        images: With shape (N, H, W), or with a further axis of channels.
        layout: The order of the axes, which has to be named where there are four.
        name: What the message calls the images.
    """
    axes = {3: ("NHW",), 4: ("NHWC", "NCHW")}.get(images.ndim, ())
    shape = tuple(images.shape)
    if not axes:
        raise DataError(f"{name} has shape {shape}; images have three axes (NHW) or four")
    if layout is None and len(axes) > 1:
        raise DataError(
            f"{name} has shape {shape}: give layout: NHWC if the channels come last, or NCHW if "
            "they come before height and width"
        )
    layout = layout or "NHW"
    if layout not in axes:
        raise DataError(f"{name} has shape {shape}, which does not fit layout {layout}")
    if layout == "NHW":
        return images[:, None]
    return images.movedim(-1, 1) if layout == "NHWC" else images
