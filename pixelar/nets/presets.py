"""Sizes of every net: the smallest that has all its parts, one for benchmarks, one to compare.

The paper's size is what the constructor takes by default. Tests, benchmarks, the comparison and
`pixelar.testing.tiny_model` read this table: a net that is listed here and in `NETS` is in all of
them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pixelar.scan import Scan

__all__ = ["PRESETS", "Preset"]

Args = dict[str, Any]


def _nothing(scan: Scan) -> Args:
    return {}


@dataclass(frozen=True)
class Preset:
    """The arguments of a net at several sizes, all but scan, levels, out_features and classes.

    Attributes:
        tiny: The smallest that has all its parts, for tests.
        small: Ten layers of 64 channels, or about as many parameters, for benchmarks.
        compared: All arguments but the width, given the width of an image, for nets of equally many
            parameters.
        multiple: What the width must then be a multiple of.
        fitted: The arguments that the size of an image requires beyond `tiny`.
        depth: The name of the argument for the number of blocks.
        scans: The scans that it takes; all of them if empty.
    """

    tiny: Args
    small: Args
    compared: Callable[[int], Args]
    multiple: int = 1
    fitted: Callable[[Scan], Args] = _nothing
    depth: str = "depth"
    scans: tuple[str, ...] = ()

    def tiny_for(self, scan: Scan) -> Args:
        """Returns the arguments of a tiny net for images of any size."""
        return {**self.tiny, **self.fitted(scan)}


def _stages(scan: Scan) -> Args:
    """Returns as many stages as the image can be halved for, up to three."""
    _, height, width = scan.shape
    return {"stages": next(n for n in (3, 2, 1) if (height | width) % 2 ** (n - 1) == 0)}


def _segment(scan: Scan) -> Args:
    """Returns the sizes for an image that is shorter than the segment of `tiny`."""
    small = {"segment": 1, "memory": 1, "compressed": 1, "compression": 1}
    return small if scan.sites < 4 else {}


def _attention(width: int) -> Args:
    return {"depth": 4, "heads": 4}


GPT = Preset(
    tiny={"width": 8, "depth": 2, "heads": 2},
    small={"width": 128, "depth": 4, "heads": 4},
    compared=_attention,
    multiple=4,
)

PRESETS: Mapping[str, Preset] = {
    "PixelCNN": Preset(
        tiny={"width": 6, "depth": 2, "first_kernel_size": 5, "readout": [7]},
        small={"width": 64, "depth": 10, "readout": [64]},
        compared=lambda _: {"depth": 6, "readout": [64]},
        scans=("raster", "subpixel"),
    ),
    "GatedPixelCNN": Preset(
        tiny={
            "width": 6,
            "depth": 3,
            "first_kernel_size": 3,
            "dilations": [1, 2],
            "readout": [7],
            "position": True,
        },
        small={"width": 64, "depth": 10},
        compared=lambda _: {"depth": 6},
        scans=("raster", "subpixel"),
    ),
    "PixelCNNPP": Preset(
        tiny={"width": 4, "blocks": 1, "stages": 2, "dropout": 0.0},
        small={"width": 40, "blocks": 2},
        compared=lambda _: {"blocks": 1, "dropout": 0.0},
        fitted=_stages,
        depth="blocks",
        scans=("raster",),
    ),
    "PixelSNAIL": Preset(
        tiny={"width": 6, "depth": 2, "layers": 2, "key_width": 4},
        small={"width": 96, "depth": 2},
        compared=lambda _: {"depth": 2, "layers": 2},
        multiple=2,
        scans=("raster",),
    ),
    "LMConv": Preset(
        tiny={"width": 6, "depth": 1, "version": 2},
        small={"width": 64, "depth": 1},
        # the form that the published results are of; the authors' is version 2
        compared=lambda _: {"depth": 1, "version": 1},
        multiple=2,
        scans=("raster", "snake", "hilbert"),
    ),
    "RasterRNN": Preset(
        tiny={"width": 16, "depth": 2},
        small={"width": 128, "depth": 3},
        compared=lambda _: {"depth": 2},
    ),
    "RowLSTM": Preset(
        tiny={"width": 6, "depth": 2, "first_kernel_size": 5, "readout": [7]},
        small={"width": 64, "depth": 10, "readout": [64]},
        compared=lambda _: {"depth": 3, "readout": [64]},
        scans=("raster", "subpixel"),
    ),
    "DiagonalBiLSTM": Preset(
        tiny={"width": 6, "depth": 2, "first_kernel_size": 3, "readout": [7]},
        small={"width": 64, "depth": 10, "readout": [64]},
        compared=lambda _: {"depth": 2, "readout": [64]},
        scans=("raster", "subpixel"),
    ),
    "WaveNet": Preset(
        tiny={
            "width": 5,
            "skip_width": 7,
            "depth": 4,
            "dilations": [1, 2, 4, 8],
            "position": True,
        },
        small={"width": 64, "skip_width": 64, "depth": 10},
        compared=lambda _: {"skip_width": 64, "depth": 10},
    ),
    "ImageGPT": GPT,
    "AnyOrderGPT": GPT,
    "ImageTransformer": Preset(
        tiny={"width": 8, "depth": 2, "heads": 2, "block": 4},
        small={"width": 128, "depth": 4, "heads": 4, "block": 64},
        compared=lambda width: {**_attention(width), "block": 4 * width},
        multiple=4,
    ),
    "SparseTransformer": Preset(
        tiny={"width": 8, "depth": 2, "heads": 2, "stride": 4},
        small={"width": 128, "depth": 4, "heads": 4, "stride": 64},
        compared=lambda width: {**_attention(width), "stride": width},
        multiple=4,
    ),
    "TransformerXL": Preset(
        tiny={
            "width": 8,
            "depth": 2,
            "heads": 2,
            "segment": 4,
            "memory": 4,
            "compressed": 2,
            "compression": 2,
        },
        small={"width": 128, "depth": 4, "heads": 4, "segment": 56, "memory": 56},
        compared=lambda width: {**_attention(width), "segment": 4 * width, "memory": 4 * width},
        multiple=4,
        fitted=_segment,
    ),
    "AxialTransformer": Preset(
        tiny={
            "width": 8,
            "depth": 2,
            "outer_depth": 1,
            "encoder_depth": 1,
            "heads": 2,
            "expansion": 2,
        },
        small={"width": 128, "depth": 4, "outer_depth": 2, "heads": 4},
        compared=lambda width: {**_attention(width), "outer_depth": 2},
        multiple=4,
        scans=("raster", "subpixel", "planes"),
    ),
}
