"""Exact likelihood of a whole split: every image once, none padded, dropped or repeated.

The score comes with a protocol card, which says what was measured and how, and with the score of
every image, so that a number in a paper can be checked in detail.
"""

import copy
import math
import platform
from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor
from tqdm import tqdm

from pixelar._version import __version__
from pixelar.common.arrays import Array, whole_number
from pixelar.data import ImageData, ImageSet, Split
from pixelar.data.record import DataRecord
from pixelar.errors import ConfigError, DataError
from pixelar.io.folders import fingerprint
from pixelar.memory.budget import choose_batch_size
from pixelar.model import PixelModel, describe_model, evaluating
from pixelar.model.boundary import for_models
from pixelar.model.likelihood import mean as mean_of
from pixelar.model.likelihood import standard_error
from pixelar.model.orders import in_order
from pixelar.names.classes import match_labels, missing_classes
from pixelar.scan import Scan
from pixelar.scoring.orders import Orders, log_mean_prob, orders_of
from pixelar.scoring.report import EvaluationReport

__all__ = ["EvaluationReport", "bits_per_dim", "evaluate"]


@for_models
def bits_per_dim(
    model: PixelModel,
    images: Array,
    labels: Array | None = None,
    *,
    batch_size: int | None = None,
) -> Tensor:
    """Returns the exact bits per dimension of every image.

    Arguments:
        model: The model, which computes in its own data type; one of tokens or codes has no
            bits/dim, and is rejected.
        images: Images with shape (N, C, H, W), integers of any type.
        labels: Classes with shape (N,), for a model that is conditioned on them.
        batch_size: How many images are evaluated at once; None for the fastest number that fits
            into memory.

    Returns:
        Bits per dimension with shape (N,), float64.
    """
    if model.quantizer.unit != "dim":
        unit = model.quantizer.unit
        which = "a palette's tokens" if unit == "token" else "codes"
        raise DataError(
            f"{which} are not dimensions of the image, so the model has no bits/dim; "
            f"use pixelar.evaluate, which reports bits/{unit}"
        )
    batch_size = _batch_size(model, batch_size)
    images = model.check_images(images)
    found = _bits(model, images, labels, [model.scan], batch_size, progress=False)
    _check_finite(found, range(len(found)))
    return found


@for_models
def evaluate(
    model: PixelModel,
    data: ImageData | ImageSet,
    *,
    split: Split | Literal["all"] = "test",
    batch_size: int | None = None,
    dtype: torch.dtype = torch.float32,
    weights: str = "as given",
    limit: int | None = None,
    orders: Orders = "one",
    record: DataRecord | None = None,
    progress: bool = False,
) -> EvaluationReport:
    """Evaluates a model on a split.

    Classes of model and data are matched by name where both have names.

    Under `torch.distributed`, each process evaluates its share, and all get the report.

    Arguments:
        model: The model, which is not changed.
        data: A dataset, whose `split` is evaluated, or images.
        split: "train", "val", "test", or "all" for the images of all three.
        batch_size: How many images are evaluated at once, which does not affect the score; None for
            the fastest number that fits into memory.
        dtype: The data type that net and head compute in, float32 or float64.
        weights: Which weights these are, for the card.
        limit: Evaluates only this many images, the first ones; the card says so.
        orders: "one", or the orders over which an image's probabilities are averaged, for a net
            that takes any: "symmetries" of the scan, or a number of random ones; see `orders_of`.
        record: What the model was trained on (`pixelar.data.record.read_record`), so that training
            images among those evaluated are counted on the card.
        progress: Whether to show a progress bar.
    """
    if not isinstance(data, ImageData | ImageSet):
        raise DataError(
            "data must be a data set, such as pixelar.data.Digits(), or an ImageSet; "
            f"got {type(data).__name__}; for images alone use pixelar.bits_per_dim"
        )
    computing = _computing_in(model, dtype)
    scans, order = orders_of(computing, orders)
    images = _images(data, split)
    as_in_run = record.same_split(images, split) if record else None
    images = images if limit is None else images.first(limit)
    batch_size = _batch_size(computing, batch_size)
    per_image, world = _table(computing, images, scans, batch_size, progress=progress)
    sums = per_image.sum(), per_image.square().sum(), torch.tensor(len(per_image))
    mean, error = float(mean_of(sums[0], sums[2])), float(standard_error(*sums))
    unit = f"bits/{model.quantizer.unit}"
    card = {
        "figure": {
            "mean": mean,
            "standard_error": error if len(images) > 1 else None,
            "unit": unit,
            "nats_per_image": mean * model.scan.dims * math.log(2),
        },
        "data": {
            **(data.describe() if isinstance(data, ImageData) else {"name": "images given"}),
            "split": split if isinstance(data, ImageData) else None,
            "limit": limit,
            "images": len(images),
            f"{model.quantizer.unit}s_per_image": model.scan.dims,
            "fingerprint": images.fingerprint(),
            "training_images": record.count_trained(images.images) if record else None,
            "training_images_known": record.complete if record else False,
            "split_as_in_run": as_in_run,
        },
        "classes": _classes(model, images),
        **_describe(model, weights),
        "orders": orders,
        "order": order,
        "dtype": str(dtype).removeprefix("torch."),
        "batch_size": batch_size,
        "processes": world,
    }
    return EvaluationReport(mean, error, unit, per_image, images.names, card)


def _images(data: ImageData | ImageSet, split: Split | Literal["all"]) -> ImageSet:
    if not isinstance(data, ImageData):
        return data
    return data.everything() if split == "all" else data.split(split)


def _classes(model: PixelModel, images: ImageSet) -> dict[str, Any] | None:
    """Returns the card's entry on the classes of model and images, as plain values."""
    if not model.classes:
        return None
    names, given = model.class_names, images.classes
    return {
        "names": None if names is None else [*names],
        "matched_by": "number" if names is None or given is None else "name",
        "missing": missing_classes(given, names),
    }


def _table(
    model: PixelModel, images: ImageSet, scans: Sequence[Scan], batch_size: int, *, progress: bool
) -> tuple[Tensor, int]:
    """Returns the scores of all images, with shape (N,), and the number of processes."""
    if not len(images):
        raise DataError("there are no images to evaluate")
    labels = _labels(model, images)
    rank, world = _world()
    own = slice(rank, None, world)  # a view: a memory-mapped file is not read at once
    own_labels = None if labels is None else labels[own]
    shown = progress and rank == 0
    bits = _bits(model, images.images[own], own_labels, scans, batch_size, progress=shown)
    table = _gather(bits, range(rank, len(images), world), len(images))
    _check_finite(table, images.names)
    return table, world


def _describe(model: PixelModel, weights: str) -> dict[str, Any]:
    """Returns the card's entries on a model and the software that ran it."""
    return {
        "model": describe_model(model),
        "model_sha256": fingerprint(model),
        "parameters": sum(p.numel() for p in model.parameters()),
        "weights": weights,
        "lossless": model.quantizer.lossless,
        "device": str(model.device),
        "versions": {
            "pixelar": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }


def _labels(model: PixelModel, images: ImageSet) -> Tensor | None:
    """Returns all labels in the model's numbering, if it takes any, checked before any scoring."""
    if not model.classes:
        return None
    if images.labels is None:
        raise DataError(
            f"the model is conditioned on {model.classes} classes, but these images have no labels"
        )
    labels = match_labels(images.labels, images.classes, model.class_names, model.classes)
    model.check_labels(labels, len(images))
    return labels


def _computing_in(model: PixelModel, dtype: torch.dtype) -> PixelModel:
    """Returns the model, or a converted copy if net and head have another data type.

    The quantizer stays as it is, so that symbols do not depend on the data type.
    """
    if dtype not in (torch.float32, torch.float64):
        raise ConfigError(f"dtype must be torch.float32 or torch.float64; got {dtype}")
    parts = model.net, model.head
    if all(p.dtype == dtype for part in parts for p in part.parameters()):
        return model
    model = copy.deepcopy(model)
    model.net.to(dtype)
    model.head.to(dtype)
    return model


def _batch_size(model: PixelModel, asked: int | None) -> int:
    """Returns the requested batch size, or one that suits model and memory."""
    if asked is None:
        return choose_batch_size(model, processes=_world()[1])
    return whole_number(asked, "batch_size", 1)


def _world() -> tuple[int, int]:
    """Returns the rank of this process, and the number of processes."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


@torch.no_grad()
def _bits(
    model: PixelModel,
    images: Tensor,
    labels: Array | None,
    scans: Sequence[Scan],
    batch_size: int,
    *,
    progress: bool,
) -> Tensor:
    """Returns the bits per dimension of images, their probabilities averaged over scans, float64.

    Orders are evaluated one after another, so that several need hardly more memory than one.
    """
    labels = model.check_labels(labels, len(images))
    found = [torch.zeros(0, dtype=torch.float64)]
    with evaluating(model), tqdm(total=len(images), unit="image", disable=not progress) as bar:
        twins = [model if scan is model.scan else in_order(model, scan) for scan in scans]
        for start in range(0, len(images), batch_size):
            batch = slice(start, start + batch_size)
            x = model.encode(images[batch])
            nats = log_mean_prob(twins, x, None if labels is None else labels[batch])  # (B,)
            found.append(nats.cpu() / (-model.scan.dims * math.log(2)))
            bar.update(len(x))
    return torch.cat(found)


def _check_finite(bits: Tensor, names: Sequence[str | int]) -> None:
    """Raises PixelarError for a likelihood that is not finite."""
    wrong = (~bits.isfinite()).nonzero().flatten().tolist()
    if wrong:
        raise DataError(
            f"the likelihood of {len(wrong)} of {len(bits)} images is {float(bits[wrong[0]])} "
            f"(image {names[wrong[0]]} first): the model's weights are not finite, or so large "
            "that they overflow"
        )


def _gather(bits: Tensor, indices: Sequence[int], total: int) -> Tensor:
    """Gathers the scores of all images, with shape (total,), from the shares of all processes."""
    shares: list[Any] = [(indices, bits)]
    if dist.is_initialized():
        shares = [None] * dist.get_world_size()
        dist.all_gather_object(shares, (indices, bits))
    table = torch.full((total,), torch.nan, dtype=torch.float64)
    for places, values in shares:
        table[list(places)] = values
    return table
