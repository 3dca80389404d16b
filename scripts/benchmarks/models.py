"""The models that are measured."""

from typing import Any

from benchmarks.measure import Settings
from pixelar.model import PixelModel, build_model

__all__ = ["DEPTHS", "NETS", "TINY", "build"]

# of one size: ten layers of 64 channels, or about as many parameters
NETS: dict[str, dict[str, Any]] = {
    "PixelCNN": {"width": 64, "depth": 10, "readout": [64]},
    "GatedPixelCNN": {"width": 64, "depth": 10},
    "PixelCNNPP": {"width": 40, "blocks": 2},
    "PixelSNAIL": {"width": 96, "depth": 2},
    "LMConv": {"width": 64, "depth": 1},
    "RasterRNN": {"width": 128, "depth": 3},
    "RowLSTM": {"width": 64, "depth": 10, "readout": [64]},
    "DiagonalBiLSTM": {"width": 64, "depth": 10, "readout": [64]},
    "WaveNet": {"width": 64, "skip_width": 64, "depth": 10},
    "ImageGPT": {"width": 128, "depth": 4, "heads": 4},
    "AnyOrderGPT": {"width": 128, "depth": 4, "heads": 4},
    "ImageTransformer": {"width": 128, "depth": 4, "heads": 4, "block": 64},
    "SparseTransformer": {"width": 128, "depth": 4, "heads": 4, "stride": 64},
    "TransformerXL": {"width": 128, "depth": 4, "heads": 4, "segment": 56, "memory": 56},
    "AxialTransformer": {"width": 128, "depth": 4, "outer_depth": 2, "heads": 4},
}
TINY: dict[str, dict[str, Any]] = {
    "PixelCNN": {"width": 4, "depth": 2, "readout": [4]},
    "GatedPixelCNN": {"width": 4, "depth": 2},
    "PixelCNNPP": {"width": 4, "blocks": 1, "stages": 2},
    "PixelSNAIL": {"width": 4, "depth": 2, "layers": 1, "key_width": 2},
    "LMConv": {"width": 4, "depth": 1},
    "RasterRNN": {"width": 8, "depth": 2},
    "RowLSTM": {"width": 4, "depth": 2, "readout": [4]},
    "DiagonalBiLSTM": {"width": 4, "depth": 2, "readout": [4]},
    "WaveNet": {"width": 4, "skip_width": 4, "depth": 2},
    "ImageGPT": {"width": 8, "depth": 2, "heads": 2},
    "AnyOrderGPT": {"width": 8, "depth": 2, "heads": 2},
    "ImageTransformer": {"width": 8, "depth": 2, "heads": 2, "block": 4},
    "SparseTransformer": {"width": 8, "depth": 2, "heads": 2, "stride": 4},
    "TransformerXL": {"width": 8, "depth": 2, "heads": 2, "segment": 12, "memory": 12},
    "AxialTransformer": {"width": 8, "depth": 2, "outer_depth": 1, "heads": 2},
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
