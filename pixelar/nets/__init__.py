"""Nets. To add one: its file, a line here, one in `tests/zoo.py`, and a config."""

from pixelar.nets.base import Cache, Net
from pixelar.nets.gated_pixelcnn import GatedPixelCNN
from pixelar.nets.imagegpt import ImageGPT
from pixelar.nets.pixelcnn import PixelCNN
from pixelar.nets.pixelcnnpp import PixelCNNPP

__all__ = ["NETS", "Cache", "GatedPixelCNN", "ImageGPT", "Net", "PixelCNN", "PixelCNNPP"]

NETS: dict[str, type[Net]] = {
    "PixelCNN": PixelCNN,
    "GatedPixelCNN": GatedPixelCNN,
    "PixelCNNPP": PixelCNNPP,
    "ImageGPT": ImageGPT,
}
