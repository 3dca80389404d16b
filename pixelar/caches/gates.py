"""The cell of an LSTM in place, for steps that allocate nothing."""

from typing import ClassVar

import torch
from torch import Tensor

from pixelar.caches.base import Batched
from pixelar.layers.convlstm import GATES

__all__ = ["Gates"]


class Gates(Batched):
    """A scratch buffer for the maps of `cell`, for steps that write in place.

    Attributes:
        maps: The buffer, with shape (*, 4D); it can be used again after `close`.

    Arguments:
        maps: The tensor to use as the buffer.
    """

    batch_axis: ClassVar = {"maps": 0}

    def __init__(self, maps: Tensor) -> None:
        self.maps = maps
        self.make_views()

    def make_views(self) -> None:
        maps, width = self.maps, self.maps.shape[-1] // GATES
        self._open, self._content = maps[..., : 3 * width], maps[..., 3 * width :]
        self._o, self._f, self._i = self._open.chunk(3, -1)

    def close(self, c: Tensor, new_c: Tensor, new_h: Tensor) -> None:
        """Writes the new cell and hidden states (*, D); c and new_c may be the same."""
        self._open.sigmoid_()
        self._content.tanh_()
        torch.mul(self._f, c, out=new_c).addcmul_(self._i, self._content)
        torch.mul(self._o, new_c.tanh(), out=new_h)
