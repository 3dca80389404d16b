"""The mixture of logistics: the head against the form it is usually written in."""

import math
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.measure import Case, Row, Settings, interleave, peak_memory, several
from pixelar.heads import LogisticMixture

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
        "ours": head.log_prob,
    }
    if not settings.tiny:  # compiling takes longer than all else
        ways["straightforward, compiled"] = torch.compile(straightforward)
        ways["ours, compiled"] = torch.compile(head.log_prob)

    def step(way: Callable[[Tensor, Tensor], Tensor]) -> Case:
        def run() -> None:
            params.grad = None
            (-way(params, x).sum()).backward()

        return run

    values = {name: float(way(params, x).detach().double().sum()) for name, way in ways.items()}
    cases = {name: several(step(way), 1 if settings.tiny else 5) for name, way in ways.items()}
    found = interleave(settings, cases, repeats=3 * settings.repeats)
    row = Row(f"{batch} images 3×{side}×{side}, {COMPONENTS} components", "straightforward", found)
    for name, way in ways.items():
        row.numbers[f"{name}: peak MB"] = peak_memory(settings, step(way)) / 1e6
        row.numbers[f"{name}: nats"] = round(-values[name], 2)
    yield row


def straightforward(params: Tensor, x: Tensor) -> Tensor:
    """The mixture as its paper's code puts it: bins by differences of sigmoids, with a density in
    their place where these vanish.
    """
    k = COMPONENTS
    weights, means, log_scales, couplings = params.split((k, 3 * k, 3 * k, 3 * k), -1)
    means, log_scales = means.unflatten(-1, (k, 3)), log_scales.unflatten(-1, (k, 3)).clamp(min=-7)
    c = couplings.unflatten(-1, (k, 3)).tanh()
    values = (x.to(params.dtype) / 127.5 - 1)[..., None, :].expand_as(means)
    red, green = values[..., 0], values[..., 1]
    means = torch.stack(
        (
            means[..., 0],
            means[..., 1] + c[..., 0] * red,
            means[..., 2] + c[..., 1] * red + c[..., 2] * green,
        ),
        -1,
    )
    centred, sharpness = values - means, torch.exp(-log_scales)
    plus, minus = sharpness * (centred + 1 / 255), sharpness * (centred - 1 / 255)
    mass = torch.sigmoid(plus) - torch.sigmoid(minus)
    middle = sharpness * centred
    density = middle - log_scales - 2 * F.softplus(middle) - math.log(127.5)
    inner = torch.where(mass > 1e-5, torch.log(mass.clamp(min=1e-12)), density)
    upper = torch.where(values > 0.999, -F.softplus(minus), inner)
    log_bins = torch.where(values < -0.999, plus - F.softplus(plus), upper)
    return torch.logsumexp(log_bins.sum(-1) + weights.log_softmax(-1), -1)
