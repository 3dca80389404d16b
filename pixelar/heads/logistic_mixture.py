"""A discretised mixture of logistics with coupled colour channels.

A site's symbols, scaled to [-1, 1], come from one of K components; within a component, channel s is
a logistic distribution whose mean moves linearly with the channels before it, and a level has the
mass of its bin:

    p(x) = Σ_k π_k Π_s [ σ((x_s + ½δ - μ_ks) / τ_ks) - σ((x_s - ½δ - μ_ks) / τ_ks) ],   μ_ks = m_ks
    + Σ_{r<s} c_ksr x_r

The bins tile the whole real line (the outermost two are half-open), so the mass is exactly one.
With p and q the upper and lower edge in units of τ, σ(p) - σ(q) = σ(p) σ(-q) (1 - e^{q-p}) holds
without cancellation, and p - q = δ/τ does not depend on x: the form is exact for every bin, at any
sharpness, in value and in gradient.

References:
    PixelCNN++ (Salimans et al., 2017), https://arxiv.org/abs/1701.05517
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from pixelar.errors import PixelarError
from pixelar.heads.base import Head, at_least_float32

__all__ = ["LogisticMixture"]

LOG_SCALE_RANGE = (
    -7.0,
    7.0,
)  # at V = 256, from 1/9 of a bin's width to 1,000 times the whole range


class LogisticMixture(Head):
    """K logistics per site with shared mixture weights: P = K (1 + 2S + S(S-1)/2).

    Arguments:
        components: K, the number of mixture components.

    Example:
        >>> head = LogisticMixture(levels=256, symbols=3, components=10)
        >>> head.num_params
        100
        >>> head.log_pmf(torch.randn(100), torch.tensor([17, 200])).exp().sum().round(decimals=4)
        tensor(1.)
    """

    def __init__(self, levels: int, symbols: int, *, components: int = 10) -> None:
        super().__init__(levels, symbols)
        if components < 1:
            raise PixelarError(
                f"head LogisticMixture: components must be at least 1; got {components}"
            )
        self.components = components
        self.num_params = components * (1 + 2 * symbols + symbols * (symbols - 1) // 2)

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        # sites last in memory, so that every operation runs along them
        lead = torch.broadcast_shapes(params.shape[:-1], x.shape[:-1])
        weights, means, log_scales, couplings = self._split(params.expand(*lead, -1))
        symbols = x.expand(*lead, -1).reshape(-1, self.symbols).T[None].contiguous()  # (1, S, N)
        values = self._scaled(symbols, means)
        edges = symbols == 0, symbols == self.levels - 1
        log_bins = SiteBins.apply(means, couplings, log_scales, values, *edges, self._half)
        found = torch.logsumexp(weights.log_softmax(0) + log_bins.sum(1), 0)
        return found.view(lead)

    def log_pmf(self, params: Tensor, prefix: Tensor) -> Tensor:
        s, half = prefix.shape[-1], self._half
        weights, means, log_scales, couplings = self._split(params)
        symbols = prefix.expand(*params.shape[:-1], s).reshape(means.shape[-1], s).T[None]
        values = self._scaled(symbols, means)  # (1, s, N)
        # the symbols already seen tell which component the site came from
        for r in range(s):
            centred = values[:, r] - means[:, r] - pull(couplings, values, r)
            edges = symbols[:, r] == 0, symbols[:, r] == self.levels - 1
            weights = weights + log_mass(centred, log_scales[:, r], *edges, half)
        levels = torch.arange(self.levels, device=params.device)  # (V,)
        mean = means[:, s] + pull(couplings, values, s)  # (K, N)
        centred = self._scaled(levels, means) - mean[..., None]  # (K, N, V)
        edges = levels == 0, levels == self.levels - 1
        log_bins = log_mass(centred, log_scales[:, s, :, None], *edges, half)
        found = torch.logsumexp(weights.log_softmax(0)[..., None] + log_bins, 0)
        return found.view(*params.shape[:-1], self.levels)

    @property
    def _half(self) -> float:
        """Half the width of a bin, on the scale [-1, 1]."""
        return 1 / (self.levels - 1)

    def _split(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Returns logits (K, N), means and log-scales (K, S, N), couplings (K, S(S-1)/2, N) of all
        N sites.
        """
        k, s = self.components, self.symbols
        by_site = at_least_float32(params).reshape(-1, self.num_params)
        weights, means, log_scales, couplings = by_site.T.contiguous().split(
            (k, k * s, k * s, k * s * (s - 1) // 2)
        )
        return (
            weights,
            means.unflatten(0, (k, s)),
            log_scales.unflatten(0, (k, s)).clamp(*LOG_SCALE_RANGE),
            couplings.unflatten(0, (k, s * (s - 1) // 2)).tanh(),
        )

    def _scaled(self, x: Tensor, like: Tensor) -> Tensor:
        """Returns symbols on the scale [-1, 1]."""
        return x.to(like.dtype) * (2 / (self.levels - 1)) - 1


def pull(couplings: Tensor, values: Tensor, s: int) -> Tensor:
    """Returns how far the channels before s move its means, with shape (K, N).

    Arguments:
        couplings: With shape (K, S(S-1)/2, N): first that of channel 1, then those of channel 2 …
        values: The channels on the scale [-1, 1], with shape (1, S, N), at least s of them.
        s: The channel.
    """
    first = s * (s - 1) // 2
    return (couplings[:, first : first + s] * values[:, :s]).sum(1)


def log_mass(
    centred: Tensor, log_scales: Tensor, bottom: Tensor, top: Tensor, half: float
) -> Tensor:
    """Returns the log-masses of bins of half a width `half`, at distances `centred` from a mean."""
    sharpness = (-log_scales).exp()
    log_width = (-torch.expm1(-2 * half * sharpness)).log()
    return (
        F.logsigmoid((centred + half) * sharpness).masked_fill(top, 0)  # the topmost bin has no
        + F.logsigmoid((half - centred) * sharpness).masked_fill(bottom, 0)  # upper edge, the
        + log_width.expand_as(centred).masked_fill(bottom | top, 0)  # lowest no lower one
    )


class SiteBins(torch.autograd.Function):
    """`log_mass` of the symbols of sites, with the means moved by the channels before each.

    Written with its gradient by hand, it keeps two tensors of that size where autograd would keep a
    dozen. With the edges p and q of a bin in units of the scale τ = 1/s,

        ∂/∂mean  = -s (σ(-p) - σ(q))
        ∂/∂log τ = -s ((centred + ½δ) σ(-p) - (centred - ½δ) σ(q) + δ / (e^{δs} - 1))

    without the terms of an edge that the outermost bins do not have.
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        means: Tensor,
        couplings: Tensor,
        log_scales: Tensor,
        values: Tensor,
        bottom: Tensor,
        top: Tensor,
        half: float,
    ) -> Tensor:
        centred = values - means
        for s in range(1, means.shape[1]):
            centred[:, s] -= pull(couplings, values, s)
        ctx.half = half
        ctx.save_for_backward(centred, log_scales, values, bottom, top)
        return log_mass(centred, log_scales, bottom, top, half)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        (centred, log_scales, values, bottom, top), half = ctx.saved_tensors, ctx.half
        sharpness = (-log_scales).exp()
        above = torch.sigmoid(-(centred + half) * sharpness).masked_fill_(top, 0)
        below = torch.sigmoid((centred - half) * sharpness).masked_fill_(bottom, 0)
        by_scale = (2 * half / torch.expm1(2 * half * sharpness)).masked_fill_(bottom | top, 0)
        by_scale += (centred + half).mul_(above)
        by_scale -= (centred - half).mul_(below)
        grad = sharpness.mul_(grad).neg_()
        by_scale *= grad
        by_mean = above.sub_(below).mul_(grad)
        by_coupling = [
            by_mean[:, s] * values[:, r] for s in range(1, by_mean.shape[1]) for r in range(s)
        ]
        couplings = torch.stack(by_coupling, 1) if by_coupling else by_mean[:, :0]
        return by_mean, couplings, by_scale, None, None, None, None
