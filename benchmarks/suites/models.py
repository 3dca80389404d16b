"""The models that are measured."""

from typing import Any

from pixelar.model import PixelModel, build_model
from pixelar.nets.presets import PRESETS
from pixelar.scan import build_scan
from suites.measure import Settings

__all__ = ["build"]


def build(
    settings: Settings,
    net: str,
    side: int = 28,
    *,
    channels: int = 1,
    levels: int = 256,
    scan: str = "raster",
    head: str = "Categorical",
    **args: Any,  # noqa: ANN401
) -> PixelModel:
    """Returns a model with random weights for square images."""
    preset = PRESETS[net]
    shape = (channels, side, side)
    sized = preset.tiny_for(build_scan(scan, shape)) if settings.tiny else preset.small
    description = {
        "image_shape": [*shape],
        "scan": scan,
        "quantizer": {"name": "Identity", "args": {"levels": levels}},
        "head": {"name": head, "args": {}},
        "net": {"name": net, "args": {**sized, **args}},
    }
    return build_model(description).to(settings.device).eval()
