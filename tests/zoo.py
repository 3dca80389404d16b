"""Tiny builds of everything: a net or head is tested by being listed here."""

from collections.abc import Iterator
from itertools import product
from typing import Any

from torch import Tensor

from pixelar.errors import PixelarError
from pixelar.heads import HEADS
from pixelar.model import PixelModel, build_model
from pixelar.nets import NETS, Net
from pixelar.scan import SCANS
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
    "RowLSTM": {"width": 6, "depth": 2, "first_kernel_size": 5, "readout": [7]},
    "DiagonalBiLSTM": {"width": 6, "depth": 2, "first_kernel_size": 3, "readout": [7]},
    "ImageGPT": {"width": 8, "depth": 2, "heads": 2},
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
    "RowLSTM": ("raster", "subpixel"),
    "DiagonalBiLSTM": ("raster", "subpixel"),
}

# nets that never see some of the past: what they do see has tests of its own
LIMITED = ("PixelCNN", "RowLSTM")


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
    model = build_model(
        {
            "image_shape": list(shape),
            "scan": scan,
            "quantizer": {"name": "Identity", "args": {"levels": levels}},
            "head": {"name": head, "args": HEAD_ARGS[head]},
            "net": {"name": net, "args": {**NET_ARGS[net], "classes": classes, **args}},
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
