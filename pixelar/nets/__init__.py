"""Nets, one file for each paper; what makes them fast to sample is in `pixelar.caches`.

To add one: its file, a line here, one in `tests/zoo.py`, and a config.
"""

from pixelar.nets.any_order_gpt import AnyOrderGPT
from pixelar.nets.axial_transformer import AxialTransformer
from pixelar.nets.base import Net
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
from pixelar.nets.transformer_xl import TransformerXL
from pixelar.nets.wavenet import WaveNet

__all__ = [
    "NETS",
    "AnyOrderGPT",
    "AxialTransformer",
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
    "TransformerXL",
    "WaveNet",
]

NETS: dict[str, type[Net]] = {
    "PixelCNN": PixelCNN,
    "GatedPixelCNN": GatedPixelCNN,
    "PixelCNNPP": PixelCNNPP,
    "PixelSNAIL": PixelSNAIL,
    "LMConv": LMConv,
    "RasterRNN": RasterRNN,
    "RowLSTM": RowLSTM,
    "DiagonalBiLSTM": DiagonalBiLSTM,
    "WaveNet": WaveNet,
    "ImageGPT": ImageGPT,
    "AnyOrderGPT": AnyOrderGPT,
    "ImageTransformer": ImageTransformer,
    "SparseTransformer": SparseTransformer,
    "TransformerXL": TransformerXL,
    "AxialTransformer": AxialTransformer,
}
