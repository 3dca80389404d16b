"""The families, each of a depth that suits it; the width is what makes them equally large."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from pixelar.model import PixelModel, build_model
from pixelar.names import Shape

__all__ = ["FAMILIES", "Family", "build"]


@dataclass(frozen=True)
class Family:
    """A net as it is compared.

    Attributes:
        args: All its arguments but the width, given the width of an image.
        multiple: What the width must be a multiple of.
    """

    args: Callable[[int], dict[str, Any]]
    multiple: int = 1


ATTENTION = {"depth": 4, "heads": 4}
FAMILIES: dict[str, Family] = {
    "PixelCNN": Family(lambda _: {"depth": 6, "readout": [64]}),
    "GatedPixelCNN": Family(lambda _: {"depth": 6}),
    "PixelCNNPP": Family(lambda _: {"blocks": 1, "dropout": 0.0}),
    "PixelSNAIL": Family(lambda _: {"depth": 2, "layers": 2}, multiple=2),
    # the form that the published results are of; the authors' is version 2
    "LMConv": Family(lambda _: {"depth": 1, "version": 1}, multiple=2),
    "RasterRNN": Family(lambda _: {"depth": 2}),
    "RowLSTM": Family(lambda _: {"depth": 3, "readout": [64]}),
    "DiagonalBiLSTM": Family(lambda _: {"depth": 2, "readout": [64]}),
    "WaveNet": Family(lambda _: {"skip_width": 64, "depth": 10}),
    "ImageGPT": Family(lambda _: ATTENTION, multiple=4),
    "AnyOrderGPT": Family(lambda _: ATTENTION, multiple=4),
    "ImageTransformer": Family(lambda width: {**ATTENTION, "block": 4 * width}, multiple=4),
    "SparseTransformer": Family(lambda width: {**ATTENTION, "stride": width}, multiple=4),
    "TransformerXL": Family(
        lambda width: {**ATTENTION, "segment": 4 * width, "memory": 4 * width}, multiple=4
    ),
    "AxialTransformer": Family(lambda _: {**ATTENTION, "outer_depth": 2}, multiple=4),
}


def build(name: str, shape: Shape, levels: int, parameters: int, seed: int) -> PixelModel:
    """Returns a family's model with random weights, as near to so many parameters as its width
    allows.
    """
    family, width = FAMILIES[name], FAMILIES[name].multiple
    counts: dict[int, int] = {}
    while not counts or counts[width - family.multiple] < parameters:
        with torch.device("meta"):
            model = build_model(describe(name, shape, levels, width))
        counts[width] = sum(p.numel() for p in model.net.parameters())
        width += family.multiple
    nearest = min(counts, key=lambda w: abs(counts[w] - parameters))
    torch.manual_seed(seed)
    return build_model(describe(name, shape, levels, nearest))


def describe(name: str, shape: Shape, levels: int, width: int) -> dict[str, Any]:
    """Returns the description of a family's model of grey images at a width."""
    return {
        "image_shape": list(shape),
        "scan": "raster",
        "quantizer": {"name": "Identity", "args": {"levels": levels}},
        "head": {"name": "Categorical", "args": {}},
        "net": {"name": name, "args": {**FAMILIES[name].args(shape[2]), "width": width}},
    }
