"""Nets. To add one: its file, a line here, one in `tests/zoo.py`, and a config."""

from pixelar.nets.base import Cache, Net
from pixelar.nets.diagonal_bilstm import DiagonalBiLSTM
from pixelar.nets.gated_pixelcnn import GatedPixelCNN
from pixelar.nets.imagegpt import ImageGPT
from pixelar.nets.pixelcnn import PixelCNN
from pixelar.nets.row_lstm import RowLSTM

__all__ = [
    "NETS",
    "Cache",
    "DiagonalBiLSTM",
    "GatedPixelCNN",
    "ImageGPT",
    "Net",
    "PixelCNN",
    "RowLSTM",
]

NETS: dict[str, type[Net]] = {
    "PixelCNN": PixelCNN,
    "GatedPixelCNN": GatedPixelCNN,
    "RowLSTM": RowLSTM,
    "DiagonalBiLSTM": DiagonalBiLSTM,
    "ImageGPT": ImageGPT,
}
