"""The caches that make nets fast to sample. Nets without one are recomputed for every site.

To add one: its file, a line here; see `pixelar.caches.base`.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from pixelar.caches.axial_transformer import AxialTransformerCache
from pixelar.caches.base import Cache, RecomputeCache, RecomputeWaves, StepsCache, WaveCache
from pixelar.caches.diagonal_bilstm import DiagonalBiLSTMCache
from pixelar.caches.gated_pixelcnn import GatedPixelCNNCache
from pixelar.caches.image_transformer import ImageTransformerCache
from pixelar.caches.imagegpt import GPTCache
from pixelar.caches.lmconv import LMConvCache
from pixelar.caches.pixelcnn import PixelCNNCache, PixelCNNWaves
from pixelar.caches.pixelcnnpp import PixelCNNPPCache
from pixelar.caches.pixelsnail import PixelSNAILCache
from pixelar.caches.raster_rnn import RasterRNNCache
from pixelar.caches.row_lstm import RowLSTMCache
from pixelar.caches.sparse_transformer import SparseTransformerCache
from pixelar.caches.transformer_xl import TransformerXLCache
from pixelar.caches.wavenet import WaveNetCache
from pixelar.nets.axial_transformer import AxialTransformer
from pixelar.nets.base import Net
from pixelar.nets.diagonal_bilstm import DiagonalBiLSTM
from pixelar.nets.gated_pixelcnn import GatedPixelCNN
from pixelar.nets.image_transformer import ImageTransformer
from pixelar.nets.imagegpt import GPT
from pixelar.nets.lmconv import LMConv
from pixelar.nets.pixelcnn import PixelCNN
from pixelar.nets.pixelcnnpp import PixelCNNPP
from pixelar.nets.pixelsnail import PixelSNAIL
from pixelar.nets.raster_rnn import RasterRNN
from pixelar.nets.row_lstm import RowLSTM
from pixelar.nets.sparse_transformer import SparseTransformer
from pixelar.nets.transformer_xl import TransformerXL
from pixelar.nets.wavenet import WaveNet

__all__ = ["CACHES", "WAVES", "Cache", "StepsCache", "cache_class", "new_cache", "new_waves"]
__all__ += ["has_waves", "wave_class"]

CACHES: dict[type[Net], type[Cache[Any]]] = {
    PixelCNN: PixelCNNCache,
    GatedPixelCNN: GatedPixelCNNCache,
    PixelCNNPP: PixelCNNPPCache,
    PixelSNAIL: PixelSNAILCache,
    LMConv: LMConvCache,
    RasterRNN: RasterRNNCache,
    RowLSTM: RowLSTMCache,
    DiagonalBiLSTM: DiagonalBiLSTMCache,
    WaveNet: WaveNetCache,
    GPT: GPTCache,  # type: ignore[type-abstract]  # of ImageGPT and AnyOrderGPT
    ImageTransformer: ImageTransformerCache,
    SparseTransformer: SparseTransformerCache,
    TransformerXL: TransformerXLCache,
    AxialTransformer: AxialTransformerCache,
}

WAVES: dict[type[Net], type[WaveCache[Any]]] = {PixelCNN: PixelCNNWaves}

FORWARD = {"forward", "forward_features", "forward_head"}  # methods that define what a net computes


def cache_class(net: Net) -> type[Cache[Any]]:
    """Returns the class of a net's cache: its own `cache_class`, or that of the table.

    A subclass uses the cache of its base class, unless it overrides what the base class computes:
    then it is recomputed, since the inherited cache would draw images of another distribution.
    """
    return _found(net, "cache_class", CACHES) or RecomputeCache


def _found(net: Net, attribute: str, table: Mapping[type[Net], Any]) -> Any:  # noqa: ANN401
    for kind in type(net).__mro__:
        if found := vars(kind).get(attribute) or table.get(kind):
            return found
        if FORWARD & vars(kind).keys():
            break
    return None


def new_cache(net: Net, x: Tensor, labels: Tensor | None = None) -> Cache[Any]:
    """Returns the cache of a pass over a canvas like x (B, C, H, W), before its first site.

    Arguments:
        net: The net.
        x: The canvas; only its size and device matter.
        labels: Classes with shape (B,), if the net is conditioned on them.
    """
    return cache_class(net)(net, x, labels)


def wave_class(net: Net) -> type[WaveCache[Any]]:
    """Returns the class that computes waves of pixels of a net, looked up as in `cache_class`."""
    return _found(net, "wave_class", WAVES) or RecomputeWaves


def has_waves(net: Net) -> bool:
    """Returns whether a net computes waves faster than by running `forward` for each."""
    return wave_class(net) is not RecomputeWaves


def new_waves(net: Net, x: Tensor, labels: Tensor | None = None) -> WaveCache[Any]:
    """Returns the wave cache of a pass over a canvas like x (B, C, H, W), before its first wave."""
    return wave_class(net)(net, x, labels)
