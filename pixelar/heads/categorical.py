"""An unconstrained probability for each level: the 256-way softmax of PixelRNN and PixelCNN.

References:
    Pixel Recurrent Neural Networks (van den Oord et al., 2016), https://arxiv.org/abs/1601.06759
"""

import torch
from torch import Tensor

from pixelar.heads.base import Head, at_least_float32

__all__ = ["Categorical"]


class Categorical(Head):
    """p(x_s = v) = softmax(logits_s)_v; the symbols of a site are independent given the past.

    For colour channels that depend on each other, use it with the scan `subpixel` (one symbol per
    site).

    Example:
        >>> head = Categorical(levels=4, symbols=1)
        >>> head.log_pmf(torch.zeros(4), torch.empty(0, dtype=torch.long)).exp()
        tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """

    def __init__(self, levels: int, symbols: int) -> None:
        super().__init__(levels, symbols)
        self.num_params = symbols * levels

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        logits = at_least_float32(params).unflatten(-1, (self.symbols, self.levels))  # (*, S, V)
        chosen = logits.gather(-1, x[..., None])[..., 0]  # (*, S)
        return (chosen - torch.logsumexp(logits, -1)).sum(-1)

    def log_pmf(self, params: Tensor, prefix: Tensor) -> Tensor:
        first = prefix.shape[-1] * self.levels
        return at_least_float32(params)[..., first : first + self.levels].log_softmax(-1)  # (*, V)
