"""Nets. To add one: its file, a line here, one in `tests/zoo.py`, and a config."""

from pixelar.nets.axial_transformer import AxialTransformer
from pixelar.nets.base import Cache, Net
from pixelar.nets.gated_pixelcnn import GatedPixelCNN
from pixelar.nets.imagegpt import ImageGPT
from pixelar.nets.pixelcnn import PixelCNN
from pixelar.nets.transformer_xl import TransformerXL

__all__ = [
    "NETS",
    "AxialTransformer",
    "Cache",
    "GatedPixelCNN",
    "ImageGPT",
    "Net",
    "PixelCNN",
    "TransformerXL",
]

NETS: dict[str, type[Net]] = {
    "PixelCNN": PixelCNN,
    "GatedPixelCNN": GatedPixelCNN,
    "ImageGPT": ImageGPT,
    "AxialTransformer": AxialTransformer,
    "TransformerXL": TransformerXL,
}
