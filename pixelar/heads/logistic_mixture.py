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
from torch.autograd.function import FunctionCtx, once_differentiable

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
        weights, means, log_scales, couplings = self._split(params)
        log_bins = self._log_bins(x, self._means(means, couplings, x), log_scales)  # (*, K, S)
        return torch.logsumexp(weights.log_softmax(-1) + log_bins.sum(-1), -1)

    def log_pmf(self, params: Tensor, prefix: Tensor) -> Tensor:
        s = prefix.shape[-1]
        weights, means, log_scales, couplings = self._split(params)
        means = self._means(means, couplings, F.pad(prefix, (0, self.symbols - s)))
        # the symbols already seen tell which component the site came from
        seen = self._log_bins(prefix, means[..., :s], log_scales[..., :s]).sum(-1)  # (*, K)
        posterior = (weights + seen).log_softmax(-1)
        values = torch.arange(self.levels, device=params.device)  # (V,)
        log_bins = self._log_bins(
            values, means[..., s, None], log_scales[..., s, None]
        )  # (*, K, V)
        return torch.logsumexp(posterior[..., None] + log_bins, -2)

    def _split(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Returns logits (*, K), means and log-scales (*, K, S), couplings (*, K, S(S-1)/2)."""
        k, s = self.components, self.symbols
        weights, means, log_scales, couplings = at_least_float32(params).split(
            (k, k * s, k * s, k * s * (s - 1) // 2), -1
        )
        return (
            weights,
            means.unflatten(-1, (k, s)),
            log_scales.unflatten(-1, (k, s)).clamp(*LOG_SCALE_RANGE),
            couplings.unflatten(-1, (k, s * (s - 1) // 2)).tanh(),
        )

    def _scaled(self, x: Tensor, like: Tensor) -> Tensor:
        """Returns symbols on the scale [-1, 1]."""
        return x.to(like.dtype) * (2 / (self.levels - 1)) - 1

    def _means(self, means: Tensor, couplings: Tensor, x: Tensor) -> Tensor:
        """Returns the means given the channels before each, with shape (*, K, S)."""
        if self.symbols == 1:
            return means
        values = self._scaled(x, means)[..., None, :]  # (*, 1, S)
        shifted, first = [means[..., 0]], 0
        for s in range(1, self.symbols):
            pull = (couplings[..., first : first + s] * values[..., :s]).sum(-1)
            shifted.append(means[..., s] + pull)
            first += s
        return torch.stack(shifted, -1)

    def _log_bins(self, x: Tensor, means: Tensor, log_scales: Tensor) -> Tensor:
        """Returns the log-mass of the bins of x, with shape (*, L), under each component: (*, K,
        L).
        """
        x = x[..., None, :]
        centred = self._scaled(x, means) - means
        edges = x == 0, x == self.levels - 1
        return LogBins.apply(centred, log_scales, *edges, 1 / (self.levels - 1))


class LogBins(torch.autograd.Function):
    """The log-masses of bins of half a width ½δ around the distances `centred` from a mean.

    Written with its gradient by hand, it keeps two tensors of that shape where autograd would keep
    a dozen. With p and q the edges in units of the scale τ = 1/s,

        ∂/∂centred = s (σ(-p) - σ(q))
        ∂/∂log τ   = -s ((centred + ½δ) σ(-p) - (centred - ½δ) σ(q) + δ / (e^{δs} - 1))

    without the terms of an edge that the outermost bins do not have.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        centred: Tensor,
        log_scales: Tensor,
        bottom: Tensor,
        top: Tensor,
        half: float,
    ) -> Tensor:
        sharpness = (-log_scales).exp()
        ctx.save_for_backward(centred, sharpness, bottom, top)
        ctx.half = half  # type: ignore[attr-defined]
        # the topmost bin has no upper edge, the lowest no lower one
        masses = F.logsigmoid((centred + half) * sharpness).masked_fill_(top, 0)
        masses += F.logsigmoid((half - centred) * sharpness).masked_fill_(bottom, 0)
        masses += (-torch.expm1(-2 * half * sharpness)).log().where(~(bottom | top), 0)
        return masses

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        centred, sharpness, bottom, top = ctx.saved_tensors
        half = ctx.half
        above = torch.sigmoid(-(centred + half) * sharpness).masked_fill_(top, 0)
        below = torch.sigmoid((centred - half) * sharpness).masked_fill_(bottom, 0)
        grad = grad * sharpness
        by_scale = (centred + half).mul_(above).sub_((centred - half).mul_(below))
        by_scale += (2 * half / torch.expm1(2 * half * sharpness)).where(~(bottom | top), 0)
        by_scale = by_scale.mul_(grad).neg_()
        by_centre = above.sub_(below).mul_(grad)
        return by_centre, by_scale.sum_to_size(sharpness.shape), None, None, None
