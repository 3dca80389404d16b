"""Turns words of the command line into models, data, images, regions, labels and outputs."""

import inspect
import math
import sys
import tempfile
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pixelar.cli.device import place
from pixelar.common.files import replacing
from pixelar.data import DATASETS, Arrays, Folder, ImageData
from pixelar.data.array_files import SUFFIXES, as_integers, read_arrays
from pixelar.data.images import Resize, open_image, read_image
from pixelar.data.listing import split_folders
from pixelar.errors import ConfigError, DataError, PixelarError, StorageError, did_you_mean
from pixelar.hub.index import find, read_card
from pixelar.hub.loading import load
from pixelar.io.folders import load_checkpoint
from pixelar.model import PixelModel
from pixelar.names import Shape
from pixelar.names.classes import class_number, listed
from pixelar.plotting import save_picture
from pixelar.sampling.masks import check_partial, check_shape, read_mask
from pixelar.sampling.regions import REGIONS, known_region

__all__ = [
    "check_writable",
    "data_named",
    "data_of",
    "drawing",
    "labels_for",
    "open_model",
    "output_file",
    "placed",
    "read_images",
    "region",
    "write_output",
]

REPORTED = 5  # unusable files that a message names


def open_model(name: str, trust: Mapping[str, type] | None = None) -> PixelModel:
    """Returns a packaged model, or that of a folder or checkpoint, with averaged weights."""
    path = find(name)
    return (load_checkpoint if path.suffix == ".ckpt" else load)(path, trust=trust)


def placed(
    model: PixelModel,
    options: Namespace,
    dtype: torch.dtype = torch.float32,
    *,
    quiet: bool = False,
) -> PixelModel:
    """Returns a model on the device of --device, and prints the device."""
    moved, said = place(model, options.device, dtype=dtype)
    if not quiet:
        print(f"pixelar: {said}", file=sys.stderr)
    return moved


def data_of(path: Path) -> str:
    """Returns the data set that a model's card names, for a command without -d."""
    card = read_card(path)
    if card is None:
        raise ConfigError("-d is missing: name a data set (pixelar list) or a folder of images")
    if card["data"]["name"] not in DATASETS.keys() - {"folder"}:
        raise ConfigError(
            f"-d is missing: the model's card is for {card['data']['title']}, a folder of images; "
            f"to measure its score again: {card['evaluate']}"
        )
    return str(card["data"]["name"])


def data_named(options: Namespace, shape: Shape) -> ImageData:
    """Returns the data set of that name, or a folder's images, for a model of this image shape."""
    name, known = options.data, sorted(DATASETS.keys() - {"folder", "arrays"})
    if name not in known:
        if Path(name).suffix in SUFFIXES:
            return _arrays(name, options)
        if not Path(name).is_dir():
            raise ConfigError(
                f"data: {did_you_mean(name, known)}; there is no folder {name} either"
            )
        return _folder(Path(name), options, shape)
    kind: Any = DATASETS[name]
    offered = {"root": options.root or "data", "download": options.download, "size": shape[1]}
    taken = inspect.signature(kind).parameters
    return kind(**{key: value for key, value in offered.items() if key in taken})


def _folder(root: Path, options: Namespace, shape: Shape) -> Folder:
    """Returns a folder's images; where nothing names a split, all of them are the test split."""
    channels, height, width = shape
    if height != width and options.fit:
        raise ConfigError(f"--fit makes squares, but the model takes {width}×{height} pixels")
    if channels not in (1, 3):
        raise ConfigError(f"image files have 1 or 3 channels, but the model takes {channels}")
    arguments: dict[str, Any] = {"size": height if height == width else None, "channels": channels}
    if not (options.split or split_folders(root)):
        arguments |= {"val_fraction": 0.0, "test_fraction": 1.0}
    return Folder(root=str(root), resize=options.fit, **arguments)


def _arrays(path: str, options: Namespace) -> Arrays:
    """Returns the arrays of a file; where nothing names a split, all of them are the test split."""
    whole: dict[str, Any] = {} if options.split else {"val": 0.0, "test": 1.0}
    return Arrays(path=path, layout=options.layout, **whole)


def read_images(files: Sequence[str], model: PixelModel, *, fit: Resize) -> Tensor:
    """Returns image files, or .npy files of an array each, as images (B, C, H, W) of the model."""
    images, wrong = [], []
    for file in files:
        try:
            images.append(_read_grid(Path(file), model, fit=fit))
        except PixelarError as error:
            wrong.append(str(error))
    if wrong:
        more = [f"and {len(wrong) - REPORTED} more"] if len(wrong) > REPORTED else []
        raise DataError("\n  ".join(wrong[:REPORTED] + more))
    stacked = torch.stack(images)
    return model.quantizer.nearest(stacked) if fit else stacked


def _read_grid(file: Path, model: PixelModel, *, fit: Resize) -> Tensor:
    """Returns what a file holds, with shape (C, H, W)."""
    shape, values = model.image_shape, model.quantizer.values
    if file.suffix != ".npy":
        if values != (0, 255):
            raise DataError(
                f"{file}: pictures are read with 8 bits, and the model takes the values "
                f"{values[0]} … {values[1]}; give .npy files"
            )
        return read_image(file, shape, resize=fit)
    grid = as_integers(read_arrays(file)["images"], str(file))
    if grid.numel() != math.prod(shape) or tuple(grid.shape[-2:]) != shape[1:]:
        raise DataError(f"{file} has shape {tuple(grid.shape)}, and the model takes {shape}")
    return grid.reshape(shape)


def region(options: Namespace, shape: Shape) -> Tensor:
    """Returns which pixels are known, with shape (1, H, W), from --mask or --keep.

    Raises PixelarError unless some pixels are known and some are not.
    """
    _, height, width = shape
    if options.mask is None:
        known = _kept(options, height, width)
        check_partial(known, f"--keep {options.keep}")
        return known
    mask, name = open_image(Path(options.mask)), f"the mask {options.mask}"
    for file in options.images:
        check_shape(mask.size, open_image(Path(file)).size, (f"{name} has", file))
    return read_mask(mask, (height, width), name, squashed=options.fit == "processor")


def _kept(options: Namespace, height: int, width: int) -> Tensor:
    """Returns which pixels are known, with shape (1, H, W), from --keep."""
    word, _, number = options.keep.partition(":")
    if word in REGIONS and not number:
        return known_region(word, height, width)
    if word == "rows":
        if not number.isdecimal() or not 0 < int(number[:9]) < height:
            raise ConfigError(
                f"--keep rows:N: N must be from 1 to {height - 1}; got {number!r:.60}"
            )
        return (torch.arange(height) < int(number[:9]))[None, :, None].expand(1, height, width)
    if Path(options.keep).is_file():
        raise ConfigError(f"--keep takes the name of a region; give a file with --mask {word}")
    raise ConfigError(f"--keep: {did_you_mean(options.keep, [*REGIONS, 'rows:N'])}")


def labels_for(model: PixelModel, label: str | None, count: int) -> Tensor | None:
    """Returns one label for all images, or None for a model without classes.

    Arguments:
        model: The model.
        label: The class by its name or its number, as --label gives it.
        count: The number of images.
    """
    if label is None and not model.classes:
        return None
    if not model.classes:
        raise ConfigError("--label is given, but the model is not conditioned on classes")
    if label is None:
        named = f" or one of {listed(model.class_names)}" if model.class_names else ""
        raise ConfigError(
            f"the model is conditioned on classes: --label must be from 0 to {model.classes - 1}"
            f"{named}; got none"
        )
    try:
        number = class_number(label, model.class_names, model.classes)
    except PixelarError as error:
        raise ConfigError(f"--label {error}") from error
    return torch.full((count,), number)


def drawing(options: Namespace) -> dict[str, Any]:
    """Returns the options that `sample` and `complete` share."""
    return {key: getattr(options, key) for key in ("temperature", "top_k", "top_p", "seed")}


def write_output(drawn: Tensor, picture: Callable[[], Tensor], path: Path) -> None:
    """Writes drawn images as an array, (N, C, H, W), or a picture of them, by the file's name."""
    if path.suffix.lower() == ".png":
        save_picture(picture(), path)
        return
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, drawn.numpy())


def output_file(name: str) -> Path:
    """Returns the path of a picture or an array, after a check that it can be written."""
    path = Path(name)
    if path.suffix.lower() not in (".png", ".npy"):
        raise ConfigError(
            f"pictures are PNG files: -o must end in .png, or in .npy for the numbers; got {name}"
        )
    if path.is_dir():
        raise StorageError(f"cannot write {path}: it is a folder")
    check_writable(path.parent)
    return path


def check_writable(folder: Path) -> None:
    """Makes a folder, and raises PixelarError if that or writing a file there is not possible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise StorageError(f"cannot write to {folder}: {error.strerror}") from error
