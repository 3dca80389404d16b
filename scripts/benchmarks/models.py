"""The models that are measured."""

from typing import Any

from benchmarks.measure import Settings
from pixelar.model import PixelModel, build_model

__all__ = ["DEPTHS", "NETS", "TINY", "build"]

# of one size: ten layers of 64 channels; ImageGPT has about as many parameters
NETS: dict[str, dict[str, Any]] = {
    "PixelCNN": {"width": 64, "depth": 10, "readout": [64]},
    "GatedPixelCNN": {"width": 64, "depth": 10},
    "PixelCNNPP": {"width": 40, "blocks": 2},
    "ImageGPT": {"width": 128, "depth": 4, "heads": 4},
}
TINY: dict[str, dict[str, Any]] = {
    "PixelCNN": {"width": 4, "depth": 2, "readout": [4]},
    "GatedPixelCNN": {"width": 4, "depth": 2},
    "PixelCNNPP": {"width": 4, "blocks": 1, "stages": 2},
    "ImageGPT": {"width": 8, "depth": 2, "heads": 2},
}
# what a net calls the number of its blocks
DEPTHS = {"PixelCNNPP": "blocks"}


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
    description = {
        "image_shape": [channels, side, side],
        "scan": scan,
        "quantizer": {"name": "Identity", "args": {"levels": levels}},
        "head": {"name": head, "args": {}},
        "net": {"name": net, "args": {**(TINY if settings.tiny else NETS)[net], **args}},
    }
    return build_model(description).to(settings.device).eval()
