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

In float32 on a CPU and with numba (`pip install 'pixelar[fast]'`), machine code computes the same.

References:
    PixelCNN++ (Salimans et al., 2017), https://arxiv.org/abs/1701.05517
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pixelar.common.graphs import holds_values, outside_graphs, writes_program
from pixelar.errors import ConfigError
from pixelar.heads.base import Head, at_least_float32
from pixelar.kernels import numba_is_there

__all__ = ["LogisticMixture"]

# at V = 256, from 1/9 of a bin's width to 1,000 times the whole range
LOG_SCALE_RANGE = (-7.0, 7.0)
BEYOND = 1e30  # of an edge where there is none, on the scale [-1, 1]
AT_ONCE = 2**15  # numbers of all components and channels, for a few such tensors to fit the cache


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
        self.num_params = components * (1 + 2 * symbols + symbols * (symbols - 1) // 2)

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        lead = torch.broadcast_shapes(params.shape[:-1], x.shape[:-1])
        by_site = at_least_float32(params).expand(*lead, -1).reshape(-1, self.num_params)
        symbols = x.expand(*lead, -1).reshape(-1, self.symbols)
        if by_site.device.type == "cpu":
            return by_parts(by_site, symbols, self).view(lead)
        return by_hand(by_site, symbols, self).view(lead)

    @torch.no_grad()
    def log_pmf(self, params: Tensor, prefix: Tensor) -> Tensor:
        lead, s = params.shape[:-1], prefix.shape[-1]
        by_site = at_least_float32(params).reshape(-1, self.num_params)
        symbols = prefix.expand(*lead, s).reshape(len(by_site), s)
        find = pmf_by_kernel if has_kernel(by_site, symbols, self) else pmf_by_torch
        return find(by_site, symbols, self).view(*lead, self.levels)

    @property
    def half_bin(self) -> float:
        """Half the width of a bin, on the scale [-1, 1]."""
        return 1 / (self.levels - 1)

    def split(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Returns views of parameters (P, N): logits (K, N), means and log-scales (K, S, N), and
        what becomes couplings (K, S(S-1)/2, N).
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


def has_kernel(params: Tensor, symbols: Tensor, head: LogisticMixture) -> bool:
    """Returns whether there is machine code for parameters and symbols."""
    if params.device.type != "cpu" or params.dtype != torch.float32:
        return False
    if not holds_values(params, symbols) or not numba_is_there():
        return False
    from pixelar.kernels.logistic_mixture import MOST_SYMBOLS

    return head.symbols <= MOST_SYMBOLS


def pmf_by_kernel(params: Tensor, symbols: Tensor, head: LogisticMixture) -> Tensor:
    """Returns what `pmf_by_torch` does, by machine code."""
    from pixelar.kernels.logistic_mixture import log_pmf

    found = params.new_empty(len(params), head.levels)
    sizes = head.components, head.symbols
    log_pmf(
        *arrays(params, symbols.long()), *sizes, *map(np.float32, LOG_SCALE_RANGE), *arrays(found)
    )
    return found


def pmf_by_torch(params: Tensor, symbols: Tensor, head: LogisticMixture) -> Tensor:
    """Returns the log-probabilities (N, V) of the symbol after the symbols (N, s), given parameters
    (N, P).
    """
    s, half = symbols.shape[1], head.half_bin
    weights, means, log_scales, couplings = head.split(params.T.contiguous())
    log_scales, couplings = log_scales.clamp(*LOG_SCALE_RANGE), couplings.tanh()
    values = head.scaled(symbols.T, means)  # (s, N)
    # the symbols already seen tell which component the site came from
    for r, symbol in enumerate(symbols.T):
        centred = values[r] - means[:, r] - pull(couplings, values, r)
        edges = symbol == 0, symbol == head.levels - 1
        weights = weights + log_mass(centred, log_scales[:, r], *edges, half)
    levels = torch.arange(head.levels, device=params.device)  # (V,)
    mean = means[:, s] + pull(couplings, values, s)  # (K, N)
    centred = head.scaled(levels, means) - mean[..., None]  # (K, N, V)
    edges = levels == 0, levels == head.levels - 1
    log_bins = log_mass(centred, log_scales[:, s, :, None], *edges, half)
    return torch.logsumexp(weights.log_softmax(0)[..., None] + log_bins, 0)


def arrays(*tensors: Tensor) -> list[np.ndarray]:
    """Returns tensors as the machine code takes them; it writes into what is contiguous."""
    return [tensor.detach().contiguous().numpy() for tensor in tensors]


def pull(couplings: Tensor, values: Tensor, s: int) -> Tensor:
    """Returns how far the channels before s move its means, with shape (K, N).

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
    """Returns the log-masses of bins of half a width `half`, at distances `centred` from a mean."""
    return Bins(centred, log_scales, bottom, top, half).log_mass()


class Bins:
    """Bins of half a width `half`, at distances `centred` from the means of logistics.

    Attributes:
        sharpness: s = 1/τ.
        upper, lower: The edges p and -q in units of the scale, huge where there is none.
        t: tanh(½δs), by which 1 - e^{-δs} = 2t / (1 + t) and 1 / (e^{δs} - 1) = (1 - t) / 2t: to
            full precision, and quicker in vectors than expm1. One where an edge is missing.
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
        """Returns how the log-mass changes with the mean, and with the logarithm of the scale:

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
    """Returns a number beyond all others where `edge` is true and `half` elsewhere. It is finite,
    as infinity times a gradient of zero would be none.
    """
    return torch.full_like(edge, half, dtype=like.dtype).masked_fill_(edge, BEYOND)


class SiteLogProb(torch.autograd.Function):
    """`LogisticMixture.log_prob` of parameters (N, P) and symbols (N, S), its gradient by hand.

    The gradient is made along with the value, some sites at a time: everything that the two share
    is computed once, stays in the processor's cache and is gone with the next sites.
    """

    @staticmethod
    def forward(
        params: Tensor,
        symbols: Tensor,
        head: LogisticMixture,
        with_gradient: bool,
        by_kernel: bool,
    ) -> tuple[Tensor, Tensor]:
        if by_kernel and has_kernel(params, symbols, head):
            return log_prob_by_kernel(params, symbols, head, with_gradient)
        found = params.new_empty(len(params))
        gradient = params.new_empty(len(params) if with_gradient else 0, params.shape[1])
        for part in parts(params, head):
            # sites last in memory, so that every operation runs along them
            turned, x = params[part].T.contiguous(), symbols[part].T.contiguous()
            found[part], by_params = one_part(turned, x, head, with_gradient)
            if with_gradient:
                gradient[part] = by_params.T
        return found, gradient

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:  # noqa: ANN401
        gradient = output[1]
        ctx.mark_non_differentiable(gradient)
        ctx.save_for_backward(gradient)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        (gradient,) = ctx.saved_tensors
        return gradient * grad[:, None], None, None, None, None

    @staticmethod
    def vmap(
        info: Any,  # noqa: ANN401
        in_dims: tuple[int | None, ...],
        params: Tensor,
        symbols: Tensor,
        head: LogisticMixture,
        with_gradient: bool,
        by_kernel: bool,
    ) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
        """Takes what is mapped over as more sites, as sites know nothing of each other."""
        size = info.batch_size
        params, symbols = (
            tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
            for tensor, dim in zip((params, symbols), in_dims, strict=False)
        )
        flat = params.flatten(0, 1), symbols.flatten(0, 1)
        found, gradient = SiteLogProb.apply(*flat, head, with_gradient, by_kernel)
        sites = size, params.shape[1]
        gradient = gradient.view(size, -1, gradient.shape[1])
        return (found.view(sites), gradient), (0, 0)


def by_hand(
    params: Tensor, symbols: Tensor, head: LogisticMixture, by_kernel: bool = True
) -> Tensor:
    """Returns log-probabilities (N,) of symbols (N, S) given parameters (N, P), by machine code
    where there is some. The gradient is made by hand, or by whoever reads the program that is being
    written.
    """
    if writes_program():
        return as_program(params.T, symbols.T, head)
    wrapped = torch._C._functorch.is_functorch_wrapped_tensor(params)
    with_gradient = wrapped or (torch.is_grad_enabled() and params.requires_grad)
    found: Tensor = SiteLogProb.apply(params, symbols, head, with_gradient, by_kernel)[0]
    return found


# parts that fit the cache are quicker than what a compiler makes of the whole on a CPU
by_parts = outside_graphs(by_hand)


def log_prob_by_kernel(
    params: Tensor, symbols: Tensor, head: LogisticMixture, with_gradient: bool
) -> tuple[Tensor, Tensor]:
    """Returns log-probabilities (N,) and their gradient (N, P), by machine code."""
    from pixelar.kernels.logistic_mixture import log_prob

    found = params.new_empty(len(params))
    gradient = params.new_empty(len(params) if with_gradient else 0, params.shape[1])
    sizes, limits = (head.components, head.levels), map(np.float32, LOG_SCALE_RANGE)
    log_prob(*arrays(params, symbols.long()), *sizes, *limits, *arrays(found, gradient))
    return found, gradient


def as_program(params: Tensor, x: Tensor, head: LogisticMixture) -> Tensor:
    """Returns what `one_part` does, by operations that have gradients and change no tensor."""
    logits, means, log_scales, couplings = head.split(params)
    values, pulls = head.scaled(x, means), couplings.tanh()
    drawn = torch.stack([pull(pulls, values, s) for s in range(head.symbols)], 1)
    centred, sharpness = values - means - drawn, (-log_scales.clamp(*LOG_SCALE_RANGE)).exp()
    bottom, top = x == 0, x == head.levels - 1
    upper = (centred + beyond(top, head.half_bin, centred)) * sharpness
    lower = (beyond(bottom, head.half_bin, centred) - centred) * sharpness
    t = (beyond(bottom | top, head.half_bin, centred) * sharpness).tanh()
    mass = upper.abs().sigmoid() * lower.abs().sigmoid() * 2 * t / (1 + t)
    log_mass = mass.log() + upper.clamp(max=0) + lower.clamp(max=0)
    return (logits.log_softmax(0) + log_mass.sum(1)).logsumexp(0)


def one_part(
    params: Tensor, x: Tensor, head: LogisticMixture, with_gradient: bool
) -> tuple[Tensor, Tensor]:
    """Returns log-probabilities (N,) for parameters (P, N) and symbols (S, N), and their gradient
    (P, N), which is empty where it is not asked for.
    """
    logits, means, log_scales, couplings = head.split(params)
    couplings = (2 * couplings).sigmoid_().mul_(2).sub_(1)  # tanh, ten times as quick
    values = head.scaled(x, means)
    centred = values - means
    for s in range(1, head.symbols):
        centred[:, s] -= pull(couplings, values, s)
    smallest, largest = LOG_SCALE_RANGE
    edges = x == 0, x == head.levels - 1
    bins = Bins(centred, log_scales.clamp(smallest, largest), *edges, head.half_bin)
    weights = logits.log_softmax(0)
    joint = bins.log_mass().sum(1).add_(weights)  # (K, N)
    found = joint.logsumexp(0)
    if not with_gradient:
        return found, params.new_empty(0)
    share = joint.sub_(found).exp_()  # of each component in what was found
    by_mean, by_log_scale = (each.mul_(share[:, None]) for each in bins.gradients())
    by_log_scale.masked_fill_((log_scales < smallest) | (log_scales > largest), 0)
    slopes = couplings.mul_(couplings).neg_().add_(1)
    by_coupling = [
        slopes[:, s * (s - 1) // 2 + r] * by_mean[:, s] * values[r]
        for s in range(1, head.symbols)
        for r in range(s)
    ]
    found_by = [share.sub_(weights.exp_()), by_mean.flatten(0, 1), by_log_scale.flatten(0, 1)]
    if by_coupling:
        found_by.append(torch.stack(by_coupling, 1).flatten(0, 1))
    return found, torch.cat(found_by)


def parts(params: Tensor, head: LogisticMixture) -> list[slice]:
    """Returns slices of the sites of params (N, P) that are computed at a time."""
    sites = at_once = len(params)
    if params.device.type == "cpu":
        at_once = max(1, AT_ONCE // (head.components * head.symbols))
    return [slice(first, first + at_once) for first in range(0, sites, max(1, at_once))]
