"""Nets. To add one: its file, a line here, one in `tests/zoo.py`, and a config."""

from pixelar.nets.any_order_gpt import AnyOrderGPT
from pixelar.nets.base import Cache, Net
from pixelar.nets.diagonal_bilstm import DiagonalBiLSTM
from pixelar.nets.gated_pixelcnn import GatedPixelCNN
from pixelar.nets.image_transformer import ImageTransformer
from pixelar.nets.imagegpt import ImageGPT
from pixelar.nets.lmconv import LMConv
from pixelar.nets.pixelcnn import PixelCNN
from pixelar.nets.pixelcnnpp import PixelCNNPP
from pixelar.nets.pixelsnail import PixelSNAIL
from pixelar.nets.raster_rnn import RasterRNN
from pixelar.nets.row_lstm import RowLSTM
from pixelar.nets.sparse_transformer import SparseTransformer
from pixelar.nets.wavenet import WaveNet

__all__ = [
    "NETS",
    "AnyOrderGPT",
    "Cache",
    "DiagonalBiLSTM",
    "GatedPixelCNN",
    "ImageGPT",
    "ImageTransformer",
    "LMConv",
    "Net",
    "PixelCNN",
    "PixelCNNPP",
    "PixelSNAIL",
    "RasterRNN",
    "RowLSTM",
    "SparseTransformer",
    "WaveNet",
]

NETS: dict[str, type[Net]] = {
    "PixelCNN": PixelCNN,
    "GatedPixelCNN": GatedPixelCNN,
    "PixelCNNPP": PixelCNNPP,
    "RowLSTM": RowLSTM,
    "DiagonalBiLSTM": DiagonalBiLSTM,
    "ImageGPT": ImageGPT,
    "PixelSNAIL": PixelSNAIL,
    "RasterRNN": RasterRNN,
    "WaveNet": WaveNet,
    "LMConv": LMConv,
    "AnyOrderGPT": AnyOrderGPT,
    "ImageTransformer": ImageTransformer,
    "SparseTransformer": SparseTransformer,
}
