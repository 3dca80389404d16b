"""The cell of an LSTM whose gates are maps of convolutions, for many pixels at once.

    o, f, i = σ(·)    g = tanh(·)        c' = f ⊙ c + i ⊙ g        h' = o ⊙ tanh(c')

The four maps are concatenated, in this order, in the last dimension.

References:
    Pixel Recurrent Neural Networks (van den Oord et al., 2016), https://arxiv.org/abs/1601.06759
"""

from torch import Tensor

__all__ = ["GATES", "cell"]

GATES = 4  # o, f, i and g: parts of a map that are masked alike


def cell(maps: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the new hidden state h' and the new cell state c', each with shape (*, D).

    Arguments:
        maps: The sum of what the input and the last state contribute, with shape (*, 4D).
        c: The last cell state with shape (*, D).
    """
    width = c.shape[-1]
    o, f, i = maps[..., : 3 * width].sigmoid().chunk(3, -1)
    c = f * c + i * maps[..., 3 * width :].tanh()
    return o * c.tanh(), c
