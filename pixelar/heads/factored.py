"""A mixture of products, for alphabets too large for a free probability of every value.

A value v is a pair, v = R i + j with R = ⌈√V⌉. Within each of K components, i and j are
independent:

    p(v) = Σ_k π_k a_k(i) b_k(j),    P = K (1 + ⌈V / R⌉ + R) ≪ V

As a matrix of i and j, p is one of non-negative rank K, whichever K values are the likely ones. In
the last row, where R does not divide V, b_k is normalized over the values that exist, so that the
probabilities add up to one for every V.
"""

import math

import torch
from torch import Tensor

from pixelar.errors import ConfigError
from pixelar.heads.base import Head, at_least_float32

__all__ = ["FactoredCategorical"]


class FactoredCategorical(Head):
    """p(x_s = R i + j) = Σ_k π_k a_k(i) b_k(j); the symbols of a site are independent given the
    past.

    For unordered values, such as codes, of which there are thousands.

    Arguments:
        components: K, the number of products.

    Example:
        >>> head = FactoredCategorical(levels=65536, symbols=1, components=4)
        >>> head.num_params
        2052
        >>> head.log_pmf(torch.randn(2052), torch.empty(0, dtype=torch.long)).exp().sum().round()
        tensor(1.)
    """

    def __init__(self, levels: int, symbols: int, *, components: int = 8) -> None:
        super().__init__(levels, symbols)
        if components < 1:
            raise ConfigError(
                f"head FactoredCategorical: components must be at least 1; got {components}"
            )
        self.components = components
        self.columns = math.isqrt(levels - 1) + 1  # R
        self.rows = -(-levels // self.columns)
        self.last = levels - (self.rows - 1) * self.columns  # values in the last row
        self.num_params = symbols * components * (1 + self.rows + self.columns)

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        by_symbol = at_least_float32(params).unflatten(-1, (self.symbols, -1))
        weights, rows, columns = self._logits(by_symbol)  # (*, S, K), (*, S, K, ·)
        lead = torch.broadcast_shapes(x.shape, weights.shape[:-1])
        i, j = (
            value.expand(lead)[..., None, None].expand(*lead, self.components, 1)
            for value in (x // self.columns, x % self.columns)
        )
        total = columns.logsumexp(-1)
        total_of_last = columns[..., : self.last].logsumexp(-1)
        in_last = x[..., None] >= self.levels - self.last
        row = rows.expand(*lead, *rows.shape[-2:]).gather(-1, i)[..., 0]
        column = columns.expand(*lead, *columns.shape[-2:]).gather(-1, j)[..., 0]
        column = column - torch.where(in_last, total_of_last, total)
        return (weights + row + column).logsumexp(-1).sum(-1)

    def log_pmf(self, params: Tensor, prefix: Tensor) -> Tensor:
        each = self.num_params // self.symbols
        first = prefix.shape[-1] * each
        weights, rows, columns = self._logits(at_least_float32(params)[..., first : first + each])
        inner = (weights[..., None] + rows)[..., None]  # (*, K, rows, 1)
        full = columns.log_softmax(-1)[..., None, :]
        found = (inner[..., :-1, :] + full).logsumexp(-3).flatten(-2)
        last = columns[..., : self.last].log_softmax(-1)[..., None, :]
        return torch.cat((found, (inner[..., -1:, :] + last).logsumexp(-3).flatten(-2)), -1)

    def _logits(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Splits the parameters of a symbol (*, P / S) into log π (*, K), log a (*, K, rows), and
        the logits of b (*, K, columns).
        """
        k = self.components
        weights, rows, columns = params.split((k, k * self.rows, k * self.columns), -1)
        rows, columns = rows.unflatten(-1, (k, -1)), columns.unflatten(-1, (k, -1))
        return weights.log_softmax(-1), rows.log_softmax(-1), columns
