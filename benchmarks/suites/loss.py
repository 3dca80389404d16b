"""The mixture of logistics: the head against the form it is usually written in."""

import functools
import math
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from pixelar.heads import LogisticMixture
from pixelar.heads.mixture_log_prob import by_hand
from pixelar.kernels import numba_is_there
from suites.measure import Case, Row, Settings, interleave, peak_memory, several

__all__ = ["loss"]

COMPONENTS = 10


def loss(settings: Settings) -> Iterator[Row]:
    """Forward and backward over all pixels of a batch of RGB images."""
    side, batch = (4, 2) if settings.tiny else (32, 16)
    head = LogisticMixture(256, 3, components=COMPONENTS)
    shape = (batch, side * side)
    params = torch.randn(*shape, head.num_params, device=settings.device, requires_grad=True)
    x = torch.randint(256, (*shape, 3), device=settings.device)
    ways: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "straightforward": straightforward,
        "ours": functools.partial(ours, head, by_kernel=False),
    }
    if not settings.tiny:  # compiling takes longer than all else
        ways["straightforward, compiled"] = torch.compile(straightforward)
        if settings.device.type != "cpu":
            ways["ours, compiled"] = torch.compile(head.log_prob)
        elif numba_is_there():
            ways["ours, numba"] = functools.partial(ours, head, by_kernel=True)

    def step(way: Callable[[Tensor, Tensor], Tensor]) -> Case:
        def run() -> None:
            params.grad = None
            (-way(params, x).sum()).backward()

        return run

    theirs = by_channel(params.detach())
    values = {
        name: float(way(params if "ours" in name else theirs, x).detach().double().sum())
        for name, way in ways.items()
    }
    cases = {name: several(step(way), 1 if settings.tiny else 5) for name, way in ways.items()}
    found = interleave(settings, cases, repeats=3 * settings.repeats)
    row = Row(f"{batch} images 3×{side}×{side}, {COMPONENTS} components", "straightforward", found)
    for name, way in ways.items():
        row.numbers[f"{name}: peak MB"] = peak_memory(settings, step(way)) / 1e6
        row.numbers[f"{name}: nats"] = round(-values[name], 2)
    yield row


def ours(head: LogisticMixture, params: Tensor, x: Tensor, by_kernel: bool) -> Tensor:
    """The head's likelihood, with or without machine code."""
    found = by_hand(params.flatten(0, 1), x.flatten(0, 1), head.layout, by_kernel)
    return found


def by_channel(params: Tensor) -> Tensor:
    """Returns parameters as that code has them: means, scales and couplings of each channel."""
    k = COMPONENTS
    parts = params[..., k:].unflatten(-1, (3, k, 3)).transpose(-1, -2)  # (B, T, kind, channel, K)
    return torch.cat((params[..., :k], parts.transpose(-2, -3).flatten(-3)), -1)


def straightforward(params: Tensor, x: Tensor) -> Tensor:
    """The mixture as the code around its paper puts it: everything spread over the components, bins
    by differences of sigmoids, a density where these vanish, and conditions as numbers.
    """
    k = COMPONENTS
    weights = params[..., :k]
    rest = params[..., k:].unflatten(-1, (3, 3 * k))
    means, log_scales = rest[..., :k], rest[..., k : 2 * k].clamp(min=-7.0)  # (B, T, 3, K)
    c = torch.tanh(rest[..., 2 * k :])
    values = (x.to(params.dtype) / 127.5 - 1)[..., None] + torch.zeros_like(means)
    red, green = values[..., 0, :], values[..., 1, :]
    second = means[..., 1, :] + c[..., 0, :] * red
    third = means[..., 2, :] + c[..., 1, :] * red + c[..., 2, :] * green
    means = torch.cat((means[..., :1, :], second[..., None, :], third[..., None, :]), -2)
    centred, sharpness = values - means, torch.exp(-log_scales)
    plus, minus = sharpness * (centred + 1 / 255), sharpness * (centred - 1 / 255)
    mass = torch.sigmoid(plus) - torch.sigmoid(minus)
    lowest, highest = plus - F.softplus(plus), -F.softplus(minus)
    middle = sharpness * centred
    density = middle - log_scales - 2 * F.softplus(middle)
    wide = (mass > 1e-5).to(mass.dtype)
    inner = wide * torch.log(mass.clamp(min=1e-12)) + (1 - wide) * (density - math.log(127.5))
    at_top = (values > 0.999).to(mass.dtype)
    upper = at_top * highest + (1 - at_top) * inner
    at_bottom = (values < -0.999).to(mass.dtype)
    log_bins = at_bottom * lowest + (1 - at_bottom) * upper
    joint = log_bins.sum(-2) + weights.log_softmax(-1)
    return torch.logsumexp(joint, -1)
