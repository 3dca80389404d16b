"""Nets. To add one: its file, a line here, one in `tests/zoo.py`, and a config."""

from pixelar.nets.base import Cache, Net
from pixelar.nets.gated_pixelcnn import GatedPixelCNN
from pixelar.nets.image_transformer import ImageTransformer
from pixelar.nets.imagegpt import ImageGPT
from pixelar.nets.pixelcnn import PixelCNN
from pixelar.nets.sparse_transformer import SparseTransformer

__all__ = [
    "NETS",
    "Cache",
    "GatedPixelCNN",
    "ImageGPT",
    "ImageTransformer",
    "Net",
    "PixelCNN",
    "SparseTransformer",
]

NETS: dict[str, type[Net]] = {
    "PixelCNN": PixelCNN,
    "GatedPixelCNN": GatedPixelCNN,
    "ImageGPT": ImageGPT,
    "ImageTransformer": ImageTransformer,
    "SparseTransformer": SparseTransformer,
}
