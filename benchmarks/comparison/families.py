"""The families, each of a depth that suits it; the width is what makes them equally large."""

from typing import Any

import torch

from pixelar.model import PixelModel, build_model
from pixelar.names import Shape
from pixelar.nets.presets import PRESETS

__all__ = ["build"]


def build(name: str, shape: Shape, levels: int, parameters: int, seed: int) -> PixelModel:
    """Returns a family's model with random weights, as near to a number of parameters as its
    width allows.
    """
    preset, width = PRESETS[name], PRESETS[name].multiple
    counts: dict[int, int] = {}
    while not counts or counts[width - preset.multiple] < parameters:
        with torch.device("meta"):
            model = build_model(describe(name, shape, levels, width))
        counts[width] = sum(p.numel() for p in model.net.parameters())
        width += preset.multiple
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
        "net": {"name": name, "args": {**PRESETS[name].compared(shape[2]), "width": width}},
    }
