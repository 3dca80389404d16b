"""Exact likelihood of a whole split: every image once, none padded, dropped or repeated.

The figure comes with a protocol card, which says what was measured and how, and a table of all images, so that a
number in a paper can be taken apart again.
"""

import csv
import json
import math
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

import pixelar
from pixelar.data import ImageData, ImageSet, Split
from pixelar.data.base import collate
from pixelar.data.sampling import ShardSampler
from pixelar.errors import PixelarError
from pixelar.files import replacing
from pixelar.metrics import BitsPerDim
from pixelar.model import PixelModel, describe_model, evaluating

__all__ = ["EvaluationReport", "bits_per_dim", "evaluate"]


@dataclass(frozen=True)
class EvaluationReport:
    """What an evaluation found.

    Attributes:
        mean: Bits per dimension, or per token of a palette, averaged over all images.
        standard_error: The standard error of the mean over images.
        unit: "bits/dim" or "bits/token"; the two are not comparable.
        per_image: The figure of every image with shape (N,), float64.
        names: The images' names.
        card: The protocol, as plain values.
    """

    mean: float
    standard_error: float
    unit: str
    per_image: Tensor
    names: Sequence[str]
    card: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.mean:.4f} ± {self.standard_error:.4f} {self.unit}"

    def save(self, folder: str | Path) -> None:
        """Writes the protocol card, `card.json`, and the table of images, `per_image.csv`."""
        with replacing(Path(folder) / "card.json") as temporary:
            temporary.write_text(json.dumps(self.card, indent=2, ensure_ascii=False) + "\n")
        with (
            replacing(Path(folder) / "per_image.csv") as temporary,
            temporary.open("w", newline="") as file,
        ):
            writer = csv.writer(file)
            writer.writerow(["image", self.unit])
            writer.writerows(zip(self.names, self.per_image.tolist(), strict=True))


def bits_per_dim(
    model: PixelModel, images: Tensor, labels: Tensor | None = None, *, batch_size: int = 64
) -> Tensor:
    """Returns the exact bits per dimension of every image.

    Arguments:
        model: The model; one with a palette has no bits/dim, and is refused.
        images: uint8 images with shape (N, C, H, W).
        labels: Classes with shape (N,), for a model that is conditioned on them.
        batch_size: How many images are evaluated at once.

    Returns:
        Bits per dimension with shape (N,), float64.
    """
    if model.quantizer.unit != "dim":
        raise PixelarError(
            "a palette's tokens are not dimensions of the image, so the model has no bits/dim; "
            "use pixelar.evaluate, which reports bits/token"
        )
    data = ImageSet(images, labels, range(len(images)))
    return _bits(model, data, range(len(data)), batch_size, torch.float32, progress=False)


def evaluate(
    model: PixelModel,
    data: ImageData | ImageSet,
    *,
    split: Split = "test",
    batch_size: int = 64,
    dtype: torch.dtype = torch.float32,
    weights: str = "as given",
    limit: int | None = None,
    progress: bool = False,
) -> EvaluationReport:
    """Evaluates a model on a split. Under `torch.distributed`, each process takes its share and all get the report.

    Arguments:
        model: The model.
        data: A dataset, of which `split` is taken, or images.
        split: "train", "val" or "test".
        batch_size: How many images are evaluated at once; the figure does not depend on it.
        dtype: What the net computes in, float32 or float64.
        weights: Which weights these are, for the card.
        limit: Takes only the first images; the card says so.
        progress: Whether to show a progress bar.
    """
    if batch_size < 1:
        raise PixelarError(f"batch_size must be at least 1; got {batch_size}")
    images = data.split(split) if isinstance(data, ImageData) else data
    images = images if limit is None else images.first(limit)
    labels = images.labels if model.classes else None
    if model.classes and labels is None:
        raise PixelarError(
            f"the model is conditioned on {model.classes} classes, but these images have no labels"
        )
    described = ImageSet(images.images, labels, images.names)
    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    own = list(ShardSampler(len(images), rank, world))
    original = next(model.parameters()).dtype
    model.to(dtype)
    try:
        bits = _bits(model, described, own, batch_size, dtype, progress=progress and rank == 0)
    finally:
        model.to(original)
    per_image = _gather(bits, own, len(images))
    metric = BitsPerDim(model.scan.dims)
    metric.sync_on_compute = False  # the table is whole already
    metric.update(per_image * (model.scan.dims * math.log(2)))
    mean, error = float(metric.compute()), float(metric.standard_error())
    unit = f"bits/{model.quantizer.unit}"
    card = {
        "figure": {"mean": mean, "standard_error": error, "unit": unit},
        "nats_per_image": mean * model.scan.dims * math.log(2),
        "data": {
            **(data.describe() if isinstance(data, ImageData) else {"name": "images given"}),
            "split": split,
            "images": len(images),
            "limit": limit,
            "dims_per_image": model.scan.dims,
            "lossless": model.quantizer.lossless,
            "fingerprint": images.fingerprint(),
        },
        "model": describe_model(model),
        "parameters": sum(p.numel() for p in model.parameters()),
        "weights": weights,
        "dtype": str(dtype).removeprefix("torch."),
        "order": f"{model.scan.name}, one order, not averaged",
        "device": str(model.device),
        "batch_size": batch_size,
        "processes": world,
        "versions": {
            "pixelar": pixelar.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }
    return EvaluationReport(mean, error, unit, per_image, images.names, card)


@torch.no_grad()
def _bits(
    model: PixelModel,
    data: ImageSet,
    indices: Sequence[int],
    batch_size: int,
    dtype: torch.dtype,
    *,
    progress: bool,
) -> Tensor:
    """Returns bits per dimension of the images at `indices`, float64."""
    loader = DataLoader(data, batch_size, sampler=indices, collate_fn=collate)
    found = [torch.zeros(0, dtype=torch.float64)]
    with evaluating(model), tqdm(total=len(indices), unit="image", disable=not progress) as bar:
        for images, labels in loader:
            nats = -model.log_prob_sites(model.encode(images), labels).double().sum(1)
            found.append(nats.cpu() / (model.scan.dims * math.log(2)))
            bar.update(len(images))
    return torch.cat(found)


def _gather(bits: Tensor, indices: Sequence[int], total: int) -> Tensor:
    """Returns the figures of all images, with shape (total,), from the shares of all processes."""
    shares: list[Any] = [(indices, bits)]
    if dist.is_initialized():
        shares = [None] * dist.get_world_size()
        dist.all_gather_object(shares, (indices, bits))
    table = torch.full((total,), torch.nan, dtype=torch.float64)
    for places, values in shares:
        table[list(places)] = values
    return table
