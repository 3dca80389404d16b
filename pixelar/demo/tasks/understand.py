"""The score of a picture and of its pixels: the computations of the tab "Understand"."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pixelar.demo.tasks.labels import LIKELIEST, class_probabilities, read_label
from pixelar.errors import DataError, PixelarError
from pixelar.hub.index import find, read_card
from pixelar.model import PixelModel, evaluating
from pixelar.scoring.analysis import seen_by, surprise_map, surprise_unit

__all__ = ["Pixel", "Reading", "histogram_of", "look_at_pixel", "read", "share_below"]


@dataclass(frozen=True)
class Reading:
    """The score of a picture.

    Attributes:
        image: The picture as the model's input, uint8 with shape (1, C, H, W).
        bits: The bits of each pixel with shape (H, W).
        per_dim: Their sum for each dimension or token of the picture.
        unit: "bits/dim" or "bits/token".
        map_unit: "bits per pixel" or "bits/token", of `bits`.
        label: The class that the picture was scored as; None for a model without classes.
        classes: The probabilities of all classes; None where there are none.
    """

    image: Tensor
    bits: Tensor
    per_dim: float
    unit: str
    map_unit: str
    label: int | None
    classes: Tensor | None

    @property
    def numbers(self) -> dict[str, Any]:
        """All results, as plain values."""
        return {
            self.unit: self.per_dim,
            "bits": float(self.bits.sum()),
            "label": self.label,
            "class_probabilities": None if self.classes is None else self.classes.tolist(),
            "bits_of_rows": self.bits.sum(1).tolist(),
            "bits_of_pixels": self.bits.tolist(),
        }


@dataclass(frozen=True)
class Pixel:
    """The prediction of a model at one pixel.

    Attributes:
        names: The names of the pixel's symbols.
        probabilities: The distribution over the levels of each symbol given what comes before,
            with shape (C', V).
        true: The true symbols, with shape (C',).
        seen: How much the prediction changes with each pixel, with shape (H, W); 0 where it does
            not depend on the pixel.
    """

    names: Sequence[str]
    probabilities: Tensor
    true: Tensor
    seen: Tensor

    @property
    def bits(self) -> Tensor:
        """The bits of each symbol with shape (C',)."""
        return -self.probabilities.gather(1, self.true[:, None])[:, 0].log2()


def read(model: PixelModel, picture: Tensor, label: str) -> Reading:
    """Scores a picture.

    Arguments:
        model: The model.
        picture: The picture, uint8 with shape (1, C, H, W).
        label: The number of a class, or "likeliest".
    """
    classes = class_probabilities(model, picture) if model.classes else None
    chosen: int | None = None
    if classes is not None:
        chosen = int(classes.argmax()) if label == LIKELIEST else read_label(model, label)
    bits = surprise_map(model, picture, _labels(chosen))[0]
    return Reading(
        image=model.decode(model.encode(picture)).cpu(),
        bits=bits,
        per_dim=float(bits.sum()) / model.scan.dims,
        unit=f"bits/{model.quantizer.unit}",
        map_unit=surprise_unit(model),
        label=chosen,
        classes=classes,
    )


def look_at_pixel(
    model: PixelModel, picture: Tensor, label: int | None, row: int, column: int
) -> Pixel:
    """Returns the prediction at a pixel of a picture (1, C, H, W), scored as a class."""
    _, height, width = model.image_shape
    if not (0 <= row < height and 0 <= column < width):
        raise DataError(
            f"the picture has rows 0 to {height - 1} and columns 0 to {width - 1}; "
            f"got row {row}, column {column}"
        )
    x, labels, order = model.encode(picture), _labels(label), model.scan.index
    flat = x.flatten(1)
    channels = range(model.scan.shape[0])
    places = [(order == (c * height + row) * width + column).nonzero()[0] for c in channels]
    pmfs = []
    with torch.no_grad(), evaluating(model):
        params = model.net(x, model.check_labels(labels, 1))  # (1, T, P)
        for t, s in places:
            prefix = flat[:, order[t, :s]]
            pmfs.append(model.head.log_pmf(params[:, t], prefix)[0].double().exp().cpu())
    return Pixel(
        names=("red", "green", "blue") if len(channels) == 3 else ("",),
        probabilities=torch.stack(pmfs),
        true=x[0, :, row, column].cpu(),
        seen=seen_by(model, int(places[0][0]), x, labels),
    )


def histogram_of(name: str) -> tuple[list[float], list[int]] | None:
    """Returns edges and counts of the scores of the test set, if a model's card has them."""
    try:
        card = read_card(find(name))
        bars = (card or {})["histogram"]
        edges, counts = [float(e) for e in bars["edges"]], [int(n) for n in bars["counts"]]
    except (PixelarError, KeyError, TypeError, ValueError):
        return None
    sound = len(edges) == len(counts) + 1 and sum(counts) > 0 and all(map(math.isfinite, edges))
    return (edges, counts) if sound else None


def share_below(edges: Sequence[float], counts: Sequence[int], value: float) -> float:
    """Returns the approximate share of a histogram below a value.

    Example:
        >>> share_below([0, 1, 2], [30, 10], 1.5)
        0.875
    """
    below = np.concatenate(([0], np.cumsum(counts))) / sum(counts)
    return float(np.interp(value, edges, below))


def _labels(label: int | None) -> Tensor | None:
    return None if label is None else torch.tensor([label])
