"""Tiny builds of everything: a net or head is tested by being listed here."""

from collections.abc import Callable, Iterator
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
    "PixelCNNPP": {"width": 4, "blocks": 1, "stages": 2, "dropout": 0.0},
    "RowLSTM": {"width": 6, "depth": 2, "first_kernel_size": 5, "readout": [7]},
    "DiagonalBiLSTM": {"width": 6, "depth": 2, "first_kernel_size": 3, "readout": [7]},
    "ImageGPT": {"width": 8, "depth": 2, "heads": 2},
    "PixelSNAIL": {"width": 6, "depth": 2, "layers": 2, "key_width": 4},
    "RasterRNN": {"width": 16, "depth": 2},
    "WaveNet": {
        "width": 5,
        "skip_width": 7,
        "depth": 4,
        "dilations": [1, 2, 4, 8],
        "position": True,
    },
    "LMConv": {"width": 6, "depth": 1},
    "AnyOrderGPT": {"width": 8, "depth": 2, "heads": 2},
    "ImageTransformer": {"width": 8, "depth": 2, "heads": 2, "block": 4},
    "SparseTransformer": {"width": 8, "depth": 2, "heads": 2, "stride": 4},
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
    "PixelSNAIL": ("raster",),
    "LMConv": ("raster", "snake", "hilbert"),
    "PixelCNNPP": ("raster",),
    "RowLSTM": ("raster", "subpixel"),
    "DiagonalBiLSTM": ("raster", "subpixel"),
}

# nets that never see some of the past: what they do see has tests of its own
LIMITED = ("PixelCNN", "LMConv", "RowLSTM")


def stages(shape: tuple[int, int, int]) -> dict[str, int]:
    """As many as the image can be halved for, up to three."""
    return {"stages": next(n for n in (3, 2, 1) if not any(s % 2 ** (n - 1) for s in shape[1:]))}


# what the size of an image asks for
NET_SIZES: dict[str, Callable[[tuple[int, int, int]], dict[str, int]]] = {"PixelCNNPP": stages}

# shapes beside the usual, where they make a difference
NET_SHAPES = {"PixelCNNPP": ((1, 4, 6), (2, 4, 8))}

# the scale of noise at which pixels depend on each other a lot, where a kernel's length is a number
NET_NOISE = {"PixelCNNPP": 1.2}

# what a net calls the number of its blocks
NET_DEPTH = {"PixelCNNPP": "blocks"}


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
    sized = {**NET_ARGS[net], **NET_SIZES.get(net, lambda shape: {})(shape)}
    model = build_model(
        {
            "image_shape": list(shape),
            "scan": scan,
            "quantizer": {"name": "Identity", "args": {"levels": levels}},
            "head": {"name": head, "args": HEAD_ARGS[head]},
            "net": {"name": net, "args": {**sized, "classes": classes, **args}},
        }
    )
    return randomise(model).eval()


def deep(net: str, depth: int) -> dict[str, int]:
    """Returns the argument that gives a net so many blocks."""
    return {NET_DEPTH.get(net, "depth"): depth}


class Naive(Net):
    """A net without its cache: every step runs the whole network."""

    def __init__(self, inner: Net) -> None:
        super().__init__(inner.scan, inner.levels, inner.out_features, inner.classes)
        self.inner = inner

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.inner(x, labels)


def scans_of(net: str) -> tuple[str, ...]:
    return NET_SCANS.get(net, tuple(SCANS))


BY_COLOUR = [name for name in NETS if "subpixel" in NET_SCANS.get(name, SCANS)]
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
