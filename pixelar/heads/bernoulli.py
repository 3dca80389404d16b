"""Black or white: one logit per symbol."""

import torch
import torch.nn.functional as F
from torch import Tensor

from pixelar.errors import ConfigError
from pixelar.heads.base import Head, at_least_float32

__all__ = ["Bernoulli"]


class Bernoulli(Head):
    """A symbol of two levels with p(x_s = 1) = σ(logit_s); the symbols of a site are independent
    given the past.

    Example:
        >>> head = Bernoulli(levels=2, symbols=1)
        >>> head.log_prob(torch.zeros(5, 1), torch.ones(5, 1, dtype=torch.long)).exp()
        tensor([0.5000, 0.5000, 0.5000, 0.5000, 0.5000])
    """

    def __init__(self, levels: int, symbols: int) -> None:
        super().__init__(levels, symbols)
        if levels != 2:
            raise ConfigError(
                f"head Bernoulli: codes 2 levels but the quantizer has {levels}; "
                "use head: Categorical, or quantizer: Threshold"
            )
        self.num_params = symbols

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        logits = at_least_float32(params)
        return F.logsigmoid(torch.where(x > 0, logits, -logits)).sum(-1)

    def log_pmf(self, params: Tensor, prefix: Tensor) -> Tensor:
        logit = at_least_float32(params)[..., prefix.shape[-1], None]  # (*, 1)
        return F.logsigmoid(torch.cat((-logit, logit), -1))  # (*, 2)
