"""Tiny builds of everything: a net or head is tested by being listed here."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import torch
from torch import Tensor

from pixelar.errors import PixelarError
from pixelar.heads import HEADS
from pixelar.model import PixelModel, build_model
from pixelar.nets import NETS, Net
from pixelar.scan import SCANS, build_scan
from pixelar.testing import randomise

NET_ARGS: dict[str, dict[str, Any]] = {
    "PixelCNN": {"width": 6, "depth": 2, "first_kernel_size": 5, "readout": [7]},
    "GatedPixelCNN": {
        "width": 6,
        "depth": 3,
        "first_kernel_size": 3,
        "dilations": [1, 2],
        "readout": [7],
        "position": True,
    },
    "ImageGPT": {"width": 8, "depth": 2, "heads": 2},
    "AxialTransformer": {
        "width": 8,
        "depth": 2,
        "outer_depth": 1,
        "encoder_depth": 1,
        "heads": 2,
        "expansion": 2,
    },
    "TransformerXL": {
        "width": 8,
        "depth": 2,
        "heads": 2,
        "segment": 4,
        "memory": 4,
        "compressed": 2,
        "compression": 2,
    },
}

# A segment may not be longer than an image: arguments for images with fewer sites than so many.
SMALL_ARGS: dict[str, tuple[int, dict[str, Any]]] = {
    "TransformerXL": (4, {"segment": 1, "memory": 1, "compressed": 1, "compression": 1}),
}

# A compiler unrolls the segments: two of them for the images of 8×8 that training is tested with.
TRAINING_ARGS: dict[str, dict[str, Any]] = {"TransformerXL": {"segment": 32, "memory": 16}}

# A memory is detached: gradients reach back to the start of the segment, so many places long, and
# site t stands at place t + 1. By perturbation, sites are seen to depend on more.
SEGMENTS = {"TransformerXL": 4}

# Noise under which pixels depend on each other a lot, where the usual one gives weak dependence:
# LayerNorms take the size out of it.
PEAKED: dict[str, dict[str, Any]] = {
    "AxialTransformer": {"seed": 12},
    "TransformerXL": {"scale": 1.0, "seed": 12},
}

HEAD_ARGS: dict[str, dict[str, Any]] = {
    "Bernoulli": {},
    "Categorical": {},
    "LogisticMixture": {"components": 2},
}

# a net that takes fewer scans is listed with them
NET_SCANS = {
    "PixelCNN": ("raster", "subpixel"),
    "GatedPixelCNN": ("raster", "subpixel"),
    "AxialTransformer": ("raster", "subpixel", "planes"),
}


def tiny(
    net: str,
    head: str = "Categorical",
    *,
    shape: tuple[int, int, int] = (1, 5, 6),
    scan: str = "raster",
    levels: int = 3,
    classes: int = 0,
    **args: Any,  # noqa: ANN401
) -> PixelModel:
    """Builds a tiny model with random parameters, in float64."""
    fewest, small = SMALL_ARGS.get(net, (0, {}))
    fitting = {**NET_ARGS[net], **(small if build_scan(scan, shape).sites < fewest else {})}
    model = build_model(
        {
            "image_shape": list(shape),
            "scan": scan,
            "quantizer": {"name": "Identity", "args": {"levels": levels}},
            "head": {"name": head, "args": HEAD_ARGS[head]},
            "net": {"name": net, "args": {**fitting, "classes": classes, **args}},
        }
    )
    return randomise(model).eval()


class Naive(Net):
    """A net without its cache: every step runs the whole network."""

    def __init__(self, inner: Net) -> None:
        super().__init__(inner.scan, inner.levels, inner.out_features, inner.classes)
        self.inner = inner

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.inner(x, labels)


def gradient_past(net: str, sites: int) -> Tensor:
    """Returns which sites (T, T) the gradient of each site of a net with full context reaches."""
    past = torch.ones(sites, sites, dtype=torch.bool).tril(-1)
    segment, place = SEGMENTS.get(net, sites), torch.arange(sites)
    return past & ((place[None] + 1) // segment == place[:, None] // segment)


def scans_of(net: str) -> tuple[str, ...]:
    return NET_SCANS.get(net, tuple(SCANS))


def every_net() -> Iterator[tuple[str, str, tuple[int, int, int], int]]:
    """Yields nets × scans × grey and colour × with and without classes."""
    for net in NETS:
        for scan, shape, classes in product(scans_of(net), ((1, 5, 6), (3, 3, 4)), (0, 3)):
            yield net, scan, shape, classes


def every_model(
    shape: tuple[int, int, int], levels: int, classes: tuple[int, ...] = (0,)
) -> Iterator[tuple[str, str, str, int]]:
    """Yields nets × scans × heads × classes that fit together at a shape and number of levels."""
    for net, head, number in product(NETS, HEADS, classes):
        for scan in scans_of(net):
            try:
                tiny(net, head, shape=shape, scan=scan, levels=levels)
            except PixelarError:
                continue  # a head for other levels
            yield net, head, scan, number
