"""A discretised mixture of logistics with coupled colour channels.

A site's symbols, scaled to [-1, 1], come from one of K components; within a component, channel s is
a logistic distribution whose mean depends linearly on the channels before it, and a level has the
mass of its bin:

    p(x) = Σ_k π_k Π_s [ σ((x_s + ½δ - μ_ks) / τ_ks) - σ((x_s - ½δ - μ_ks) / τ_ks) ]
    μ_ks = m_ks + Σ_{r<s} c_ksr x_r

The bins tile the whole real line (the outermost two are half-open), so the mass is exactly one.
With p and q the upper and lower edge in units of τ, σ(p) - σ(q) = σ(p) σ(-q) (1 - e^{q-p}) holds
without cancellation, and p - q = δ/τ does not depend on x: the form is exact for every bin, at any
sharpness, in value and in gradient.

In float32 on a CPU and with numba (`pip install 'pixelar[fast]'`), machine code computes the same.
More than 256 levels are computed in float64: a level of 16 bits on the scale [-1, 1], rounded to
float32, is off by up to 1/250 of its bin.

References:
    PixelCNN++ (Salimans et al., 2017), https://arxiv.org/abs/1701.05517
"""

import numpy as np
import torch
from torch import Tensor

from pixelar.errors import ConfigError
from pixelar.heads.base import Head, at_least_float32
from pixelar.heads.mixture_bins import Layout, arrays, has_kernel, log_mass, pull
from pixelar.heads.mixture_log_prob import by_hand, by_parts

__all__ = ["LogisticMixture"]


PMF_AT_ONCE = 1 << 24  # numbers in a tensor of components and levels


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
            raise ConfigError(
                f"head LogisticMixture: components must be at least 1; got {components}"
            )
        self.components = components
        self.layout = Layout(levels, symbols, components)
        self.num_params = components * (1 + 2 * symbols + symbols * (symbols - 1) // 2)

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        lead = torch.broadcast_shapes(params.shape[:-1], x.shape[:-1])
        given = at_least_float32(params)
        by_site = self._wide(given).expand(*lead, -1).reshape(-1, self.num_params)
        symbols = x.expand(*lead, -1).reshape(-1, self.symbols)
        find = by_parts if by_site.device.type == "cpu" else by_hand
        return find(by_site, symbols, self.layout).view(lead).to(given.dtype)

    @torch.no_grad()
    def log_pmf(self, params: Tensor, prefix: Tensor) -> Tensor:
        lead, s = params.shape[:-1], prefix.shape[-1]
        given = at_least_float32(params)
        by_site = self._wide(given).reshape(-1, self.num_params)
        symbols = prefix.expand(*lead, s).reshape(len(by_site), s)
        find = pmf_by_kernel if has_kernel(by_site, symbols, self.layout) else pmf_by_torch
        at_once = max(1, PMF_AT_ONCE // (self.components * self.levels))
        parts = zip(by_site.split(at_once), symbols.split(at_once), strict=True)
        found = torch.cat([find(*part, self.layout) for part in parts])
        return found.view(*lead, self.levels).to(given.dtype)

    def _wide(self, params: Tensor) -> Tensor:
        """Returns parameters in the precision that the levels need."""
        return params.double() if self.levels > 256 else params


def pmf_by_kernel(params: Tensor, symbols: Tensor, layout: Layout) -> Tensor:
    """Computes the same as `pmf_by_torch`, in machine code."""
    from pixelar.kernels.logistic_mixture import log_pmf

    found = params.new_empty(len(params), layout.levels)
    sizes = layout.components, layout.symbols
    log_pmf(
        *arrays(params, symbols.long()),
        *sizes,
        *map(np.float32, layout.log_scale_range),
        *arrays(found),
    )
    return found


def pmf_by_torch(params: Tensor, symbols: Tensor, layout: Layout) -> Tensor:
    """Returns the log-probabilities (N, V) of the symbol after the symbols (N, s), given parameters
    (N, P).
    """
    s, half = symbols.shape[1], layout.half_bin
    weights, means, log_scales, couplings = layout.split(params.T.contiguous())
    log_scales, couplings = log_scales.clamp(*layout.log_scale_range), couplings.tanh()
    values = layout.scaled(symbols.T, means)  # (s, N)
    # the symbols so far turn the weights into the posterior over components
    for r, symbol in enumerate(symbols.T):
        centred = values[r] - means[:, r] - pull(couplings, values, r)
        edges = symbol == 0, symbol == layout.levels - 1
        weights = weights + log_mass(centred, log_scales[:, r], *edges, half)
    levels = torch.arange(layout.levels, device=params.device)  # (V,)
    mean = means[:, s] + pull(couplings, values, s)  # (K, N)
    centred = layout.scaled(levels, means) - mean[..., None]  # (K, N, V)
    edges = levels == 0, levels == layout.levels - 1
    log_bins = log_mass(centred, log_scales[:, s, :, None], *edges, half)
    return torch.logsumexp(weights.log_softmax(0)[..., None] + log_bins, 0)
