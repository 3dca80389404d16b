"""The base class of heads: a distribution over the symbols of one site, given the parameters that a
net computed for it.
"""

import abc

from torch import Tensor, nn

from pixelar.common.arguments import Recorded
from pixelar.errors import ConfigError

__all__ = ["Head"]


class Head(Recorded, nn.Module, abc.ABC):
    """A distribution over S symbols of V levels each, factorised symbol by symbol.

    The contract: `log_prob(params, x) = Σ_s log_pmf(params, x[:s])[x_s]`, and every `log_pmf` is
    normalized, also at extreme parameters. Both broadcast over leading dimensions and compute in
    float32 or better, whatever autocast says. `log_prob` is what training differentiates;
    `log_pmf`, by which symbols are drawn, need not carry gradients. The further arguments of a
    subclass are recorded, and saved with a model.

    Arguments:
        levels: V, the number of values a symbol can take.
        symbols: S, the number of symbols per site.
    """

    supplied = ("levels", "symbols")

    num_params: int

    def __init__(self, levels: int, symbols: int) -> None:
        super().__init__()
        if levels < 2:
            raise ConfigError(
                f"{type(self).__name__}: a symbol needs at least 2 levels; got {levels}"
            )
        self.levels, self.symbols = levels, symbols

    @abc.abstractmethod
    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        """Returns the joint log-probability in nats of the symbols of sites, in closed form.

        Arguments:
            params: Parameters with shape (*, P).
            x: Symbols with shape (*, S).

        Returns:
            Log-probabilities with shape (*).
        """

    @abc.abstractmethod
    def log_pmf(self, params: Tensor, prefix: Tensor) -> Tensor:
        """Returns the log-probabilities of the next symbol of a site.

        Arguments:
            params: Parameters with shape (*, P).
            prefix: The first s symbols of the site, with shape (*, s), 0 ≤ s < S.

        Returns:
            Log-probabilities of the V values of symbol s, with shape (*, V).
        """

    def extra_repr(self) -> str:
        return f"levels={self.levels}, symbols={self.symbols}, num_params={self.num_params}"


def at_least_float32(x: Tensor) -> Tensor:
    """Returns x in float32, or unchanged if it is float64: likelihoods are not computed in half
    precision.
    """
    return x if x.dtype.itemsize >= 4 else x.float()
