"""The cell of an LSTM whose gates are maps of convolutions, for many pixels at once.

    o, f, i = σ(·)    g = tanh(·)        c' = f ⊙ c + i ⊙ g        h' = o ⊙ tanh(c')

The four maps lie beside each other, in this order, in the last dimension.

References:
    Pixel Recurrent Neural Networks (van den Oord et al., 2016), https://arxiv.org/abs/1601.06759
"""

import torch
from torch import Tensor

__all__ = ["GATES", "Gates", "cell"]

GATES = 4  # o, f, i and g: parts of a map that are masked alike


def cell(maps: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the new hidden state h' and the new cell state c', each with shape (*, D).

    Arguments:
        maps: What the input and the last state add up to, with shape (*, 4D).
        c: The last cell state with shape (*, D).
    """
    width = c.shape[-1]
    o, f, i = maps[..., : 3 * width].sigmoid().chunk(3, -1)
    c = f * c + i * maps[..., 3 * width :].tanh()
    return o * c.tanh(), c


class Gates:
    """Room for the maps of `cell`, for steps that write in place.

    Attributes:
        maps: The room, with shape (*, 4D); it is free again after `close`.

    Arguments:
        maps: A tensor to use.
    """

    def __init__(self, maps: Tensor) -> None:
        self.maps = maps
        width = maps.shape[-1] // GATES
        self._open, self._content = maps[..., : 3 * width], maps[..., 3 * width :]
        self._o, self._f, self._i = self._open.chunk(3, -1)

    def close(self, c: Tensor, new_c: Tensor, new_h: Tensor) -> None:
        """Writes the new cell and hidden states (*, D); c and new_c may be the same."""
        self._open.sigmoid_()
        self._content.tanh_()
        torch.mul(self._f, c, out=new_c).addcmul_(self._i, self._content)
        torch.mul(self._o, new_c.tanh(), out=new_h)
