"""Tiny builds of everything: a net or head is tested by being listed here."""

from collections.abc import Iterable, Iterator
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from pixelar.errors import PixelarError
from pixelar.heads import HEADS
from pixelar.model import PixelModel, build_model
from pixelar.nets import NETS, Net
from pixelar.nets.presets import PRESETS
from pixelar.scan import SCANS, build_scan
from pixelar.testing import randomize

# A compiler unrolls the segments, and checkpointing keeps the generator's state (5 kB) for each:
# two of them for the images of 8×8 that training is tested with.
TRAINING_ARGS: dict[str, dict[str, Any]] = {"TransformerXL": {"segment": 32, "memory": 16}}

# A memory is detached: gradients reach back to the start of the segment, whose length in positions
# this is; site t is at position t + 1. By perturbation, sites depend on more.
SEGMENTS = {"TransformerXL": 4}

# noise under which pixels depend on each other a lot, where the usual one gives weak dependence:
# norms, of layers or of kernels, take the size out of it
PEAKED: dict[str, dict[str, Any]] = {
    "PixelCNNPP": {"scale": 1.2},
    "LMConv": {"seed": 5},
    "RasterRNN": {"scale": 1.0},
    "WaveNet": {"seed": 5},
    "ImageTransformer": {"scale": 1.0, "seed": 13},
    "SparseTransformer": {"scale": 1.0, "seed": 11},
    "AxialTransformer": {"seed": 12},
    "TransformerXL": {"scale": 1.0, "seed": 12},
}

HEAD_ARGS: dict[str, dict[str, Any]] = {
    "Bernoulli": {},
    "Categorical": {},
    "FactoredCategorical": {"components": 2},
    "LogisticMixture": {"components": 2},
}

# nets that never read some of the past: what they do read has tests of its own
LIMITED = ("PixelCNN", "LMConv", "RowLSTM")


# shapes other than the usual, where they make a difference
NET_SHAPES = {"PixelCNNPP": ((1, 4, 6), (2, 4, 8))}


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
    sized = PRESETS[net].tiny_for(build_scan(scan, shape))
    model = build_model(
        {
            "image_shape": list(shape),
            "scan": scan,
            "quantizer": {"name": "Identity", "args": {"levels": levels}},
            "head": {"name": head, "args": HEAD_ARGS[head]},
            "net": {"name": net, "args": {**sized, "classes": classes, **args}},
        }
    )
    return randomize(model).eval()


# convolutions, attention, recurrence, and one with several resolutions: for what takes long
UNLIKE = ("GatedPixelCNN", "PixelCNNPP", "RowLSTM", "ImageGPT", "TransformerXL")


def quick(values: Iterable[Any], *chosen: Any) -> list[Any]:  # noqa: ANN401
    """Returns all values of a parameter; the values not chosen run with --full only."""
    return [
        value if value in chosen else pytest.param(value, marks=pytest.mark.full)
        for value in values
    ]


def deep(net: str, depth: int) -> dict[str, Any]:
    """Returns the argument that gives a net so many blocks."""
    return {PRESETS[net].depth: depth}


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
    return PRESETS[net].scans or tuple(SCANS)


BY_COLOUR = [name for name in NETS if "subpixel" in scans_of(name)]
ANY_ORDER = [name for name, net in NETS.items() if net.reorder is not Net.reorder]


def finest(net: str) -> str:
    """Returns the scan with the most sites that a net takes."""
    return "subpixel" if net in BY_COLOUR else "raster"


def every_net() -> Iterator[tuple[str, str, tuple[int, int, int], int]]:
    """Yields nets × scans × grey and colour × with and without classes."""
    for net in NETS:
        shapes = ((1, 5, 6), (3, 3, 4), *NET_SHAPES.get(net, ()))
        for scan, shape, classes in product(scans_of(net), shapes, (0, 3)):
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
