"""Bins of logistics, and how the parameters of a mixture of them are laid out."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pixelar.common.graphs import holds_values
from pixelar.kernels import numba_is_there

__all__ = [
    "BEYOND",
    "Bins",
    "Layout",
    "arrays",
    "beyond",
    "has_kernel",
    "log_mass",
    "pull",
]


BEYOND = 1e30  # in place of an edge at infinity, on the scale [-1, 1]


@dataclass(frozen=True)
class Layout:
    """The sizes of a mixture, and where its parameters are.

    Arguments:
        levels: V, the number of values of a symbol.
        symbols: S, the number of symbols per site.
        components: K, the number of mixture components.
    """

    levels: int
    symbols: int
    components: int

    @property
    def log_scale_range(self) -> tuple[float, float]:
        """Where log-scales are clamped. The largest is about 550 times the whole range;
        the smallest, with 256 levels or more, is 1/9 of a bin's width.
        """
        return -7 - max(0, math.log((self.levels - 1) / 255)), 7.0

    @property
    def half_bin(self) -> float:
        """Half the width of a bin, on the scale [-1, 1]."""
        return 1 / (self.levels - 1)

    def split(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Returns views of parameters (P, N): logits (K, N), means and log-scales (K, S, N), and
        couplings before tanh (K, S(S-1)/2, N).
        """
        k, s = self.components, self.symbols
        pairs = s * (s - 1) // 2
        logits, means, log_scales, couplings = params.split((k, k * s, k * s, k * pairs))
        return (
            logits,
            means.unflatten(0, (k, s)),
            log_scales.unflatten(0, (k, s)),
            couplings.unflatten(0, (k, pairs)),
        )

    def scaled(self, x: Tensor, like: Tensor) -> Tensor:
        """Returns symbols on the scale [-1, 1]."""
        return x.to(like.dtype) * (2 / (self.levels - 1)) - 1


def has_kernel(params: Tensor, symbols: Tensor, layout: Layout) -> bool:
    """Returns whether there is machine code for these parameters and symbols."""
    if params.device.type != "cpu" or params.dtype != torch.float32:
        return False
    if not holds_values(params, symbols) or not numba_is_there():
        return False
    from pixelar.kernels.logistic_mixture import MOST_SYMBOLS

    return layout.symbols <= MOST_SYMBOLS


def arrays(*tensors: Tensor) -> list[np.ndarray]:
    """Returns tensors as arrays for machine code; contiguous ones share their memory."""
    return [tensor.detach().contiguous().numpy() for tensor in tensors]


def pull(couplings: Tensor, values: Tensor, s: int) -> Tensor:
    """Returns how far the channels before s shift its means, with shape (K, N).

    Arguments:
        couplings: With shape (K, S(S-1)/2, N): first that of channel 1, then those of channel 2 …
        values: The channels on the scale [-1, 1], with shape (S, N), at least s of them.
        s: The channel.
    """
    first = s * (s - 1) // 2
    return (couplings[:, first : first + s] * values[:s]).sum(1)


def log_mass(
    centred: Tensor, log_scales: Tensor, bottom: Tensor, top: Tensor, half: float
) -> Tensor:
    """Returns the log-masses of bins of half-width `half`, centred at distances `centred` from a
    mean.
    """
    return Bins(centred, log_scales, bottom, top, half).log_mass()


class Bins:
    """Bins of half-width `half`, centred at distances `centred` from the means of logistics.

    Attributes:
        sharpness: s = 1/τ.
        upper, lower: The edges p and -q in units of the scale, huge where there is none.
        t: tanh(½δs), which gives 1 - e^{-δs} = 2t / (1 + t) and 1 / (e^{δs} - 1) = (1 - t) / 2t to
            full precision, and vectorizes better than expm1. It is 1 where an edge is missing.
    """

    def __init__(
        self, centred: Tensor, log_scales: Tensor, bottom: Tensor, top: Tensor, half: float
    ) -> None:
        self.centred, self.half = centred, half
        self.sharpness = (-log_scales).exp_()
        self.upper = (centred + beyond(top, half, centred)).mul_(self.sharpness)
        self.lower = (beyond(bottom, half, centred) - centred).mul_(self.sharpness)
        self.t = (beyond(bottom | top, half, centred) * self.sharpness).tanh_()

    def log_mass(self) -> Tensor:
        # log σ(p) = log σ(|p|) + min(p, 0), which never underflows; one logarithm for all factors
        mass = self.upper.abs().sigmoid_().mul_(self.lower.abs().sigmoid_())
        mass.mul_(self.t).mul_(2).div_(1 + self.t)
        return mass.log_().add_(self.upper.clamp(max=0)).add_(self.lower.clamp(max=0))

    def gradients(self) -> tuple[Tensor, Tensor]:
        """Returns the derivatives of the log-mass with respect to the mean and the log-scale:

            ∂/∂mean  = -s (σ(-p) - σ(q))
            ∂/∂log τ = -s ((centred + ½δ) σ(-p) - (centred - ½δ) σ(q) + δ / (e^{δs} - 1))

        without the terms of a missing edge.
        """
        above, below = (-self.upper).sigmoid_(), (-self.lower).sigmoid_()
        by_scale = (1 - self.t).mul_(self.half).div_(self.t)
        by_scale.addcmul_(self.centred + self.half, above)
        by_scale.addcmul_(self.centred - self.half, below, value=-1)
        return below.sub_(above).mul_(self.sharpness), by_scale.mul_(self.sharpness).neg_()


def beyond(edge: Tensor, half: float, like: Tensor) -> Tensor:
    """Returns a huge number where `edge` is true and `half` elsewhere. It is finite, since infinity
    times a gradient of zero would be nan.
    """
    return torch.full_like(edge, half, dtype=like.dtype).masked_fill_(edge, BEYOND)
