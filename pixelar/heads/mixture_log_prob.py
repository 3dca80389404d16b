"""The log-probability of a mixture of logistics, with a gradient written by hand."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pixelar.common.graphs import outside_graphs, writes_program
from pixelar.heads.mixture_bins import (
    Bins,
    Layout,
    arrays,
    beyond,
    has_kernel,
    pull,
)

__all__ = [
    "AT_ONCE",
    "SiteLogProb",
    "as_program",
    "by_hand",
    "by_parts",
    "log_prob_by_kernel",
    "one_part",
    "parts",
]


AT_ONCE = 2**15  # numbers in a tensor by component and channel: a few such tensors fit the cache


class SiteLogProb(torch.autograd.Function):
    """`LogisticMixture.log_prob` of parameters (N, P) and symbols (N, S), with a gradient written
    by hand.

    The gradient is computed along with the value, some sites at a time: everything that the two
    share is computed once, stays in the processor's cache and is dropped before the next sites.
    """

    @staticmethod
    def forward(
        params: Tensor,
        symbols: Tensor,
        layout: Layout,
        with_gradient: bool,
        by_kernel: bool,
    ) -> tuple[Tensor, Tensor]:
        if by_kernel and has_kernel(params, symbols, layout):
            return log_prob_by_kernel(params, symbols, layout, with_gradient)
        found = params.new_empty(len(params))
        gradient = params.new_empty(len(params) if with_gradient else 0, params.shape[1])
        for part in parts(params, layout):
            # sites last in memory, so that every operation runs along them
            turned, x = params[part].T.contiguous(), symbols[part].T.contiguous()
            found[part], by_params = one_part(turned, x, layout, with_gradient)
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
        layout: Layout,
        with_gradient: bool,
        by_kernel: bool,
    ) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
        """Treats the mapped dimension as further sites, since sites are independent."""
        size = info.batch_size
        params, symbols = (
            tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
            for tensor, dim in zip((params, symbols), in_dims, strict=False)
        )
        flat = params.flatten(0, 1), symbols.flatten(0, 1)
        found, gradient = SiteLogProb.apply(*flat, layout, with_gradient, by_kernel)
        sites = size, params.shape[1]
        gradient = gradient.view(size, -1, gradient.shape[1])
        return (found.view(sites), gradient), (0, 0)


def by_hand(params: Tensor, symbols: Tensor, layout: Layout, by_kernel: bool = True) -> Tensor:
    """Returns log-probabilities (N,) of symbols (N, S) given parameters (N, P), by machine code
    where there is some. The gradient is the one written by hand, except while a program is
    recorded: then whatever runs the program derives it.
    """
    if writes_program():
        return as_program(params.T, symbols.T, layout)
    wrapped = torch._C._functorch.is_functorch_wrapped_tensor(params)
    with_gradient = wrapped or (torch.is_grad_enabled() and params.requires_grad)
    found: Tensor = SiteLogProb.apply(params, symbols, layout, with_gradient, by_kernel)[0]
    return found


# on a CPU, parts that fit the cache are faster than what a compiler makes of the whole
by_parts = outside_graphs(by_hand)


def log_prob_by_kernel(
    params: Tensor, symbols: Tensor, layout: Layout, with_gradient: bool
) -> tuple[Tensor, Tensor]:
    """Returns log-probabilities (N,) and their gradient (N, P), by machine code."""
    from pixelar.kernels.logistic_mixture import log_prob

    found = params.new_empty(len(params))
    gradient = params.new_empty(len(params) if with_gradient else 0, params.shape[1])
    sizes, limits = (layout.components, layout.levels), map(np.float32, layout.log_scale_range)
    log_prob(*arrays(params, symbols.long()), *sizes, *limits, *arrays(found, gradient))
    return found, gradient


def as_program(params: Tensor, x: Tensor, layout: Layout) -> Tensor:
    """Computes the same as `one_part`, by operations that have gradients and change no tensor."""
    logits, means, log_scales, couplings = layout.split(params)
    values, pulls = layout.scaled(x, means), couplings.tanh()
    drawn = torch.stack([pull(pulls, values, s) for s in range(layout.symbols)], 1)
    centred, sharpness = values - means - drawn, (-log_scales.clamp(*layout.log_scale_range)).exp()
    bottom, top = x == 0, x == layout.levels - 1
    upper = (centred + beyond(top, layout.half_bin, centred)) * sharpness
    lower = (beyond(bottom, layout.half_bin, centred) - centred) * sharpness
    t = (beyond(bottom | top, layout.half_bin, centred) * sharpness).tanh()
    mass = upper.abs().sigmoid() * lower.abs().sigmoid() * 2 * t / (1 + t)
    log_mass = mass.log() + upper.clamp(max=0) + lower.clamp(max=0)
    return (logits.log_softmax(0) + log_mass.sum(1)).logsumexp(0)


def one_part(
    params: Tensor, x: Tensor, layout: Layout, with_gradient: bool
) -> tuple[Tensor, Tensor]:
    """Returns log-probabilities (N,) for parameters (P, N) and symbols (S, N), and their gradient
    (P, N), which is empty where it is not requested.
    """
    logits, means, log_scales, couplings = layout.split(params)
    couplings = (2 * couplings).sigmoid_().mul_(2).sub_(1)  # tanh, ten times as fast
    values = layout.scaled(x, means)
    centred = values - means
    for s in range(1, layout.symbols):
        centred[:, s] -= pull(couplings, values, s)
    smallest, largest = layout.log_scale_range
    edges = x == 0, x == layout.levels - 1
    bins = Bins(centred, log_scales.clamp(smallest, largest), *edges, layout.half_bin)
    weights = logits.log_softmax(0)
    joint = bins.log_mass().sum(1).add_(weights)  # (K, N)
    found = joint.logsumexp(0)
    if not with_gradient:
        return found, params.new_empty(0)
    share = joint.sub_(found).exp_()  # the posterior of each component
    by_mean, by_log_scale = (each.mul_(share[:, None]) for each in bins.gradients())
    by_log_scale.masked_fill_((log_scales < smallest) | (log_scales > largest), 0)
    slopes = couplings.mul_(couplings).neg_().add_(1)
    by_coupling = [
        slopes[:, s * (s - 1) // 2 + r] * by_mean[:, s] * values[r]
        for s in range(1, layout.symbols)
        for r in range(s)
    ]
    found_by = [share.sub_(weights.exp_()), by_mean.flatten(0, 1), by_log_scale.flatten(0, 1)]
    if by_coupling:
        found_by.append(torch.stack(by_coupling, 1).flatten(0, 1))
    return found, torch.cat(found_by)


def parts(params: Tensor, layout: Layout) -> list[slice]:
    """Returns slices of the sites of params (N, P) that are computed at a time."""
    sites = at_once = len(params)
    if params.device.type == "cpu":
        at_once = max(1, AT_ONCE // (layout.components * layout.symbols))
    return [slice(first, first + at_once) for first in range(0, sites, max(1, at_once))]
