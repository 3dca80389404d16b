"""Weight norm: every kernel has a length g and a direction v, w = g · v / ‖v‖, and a layer begins
with g and b that are fitted to the data.

`parametrizations.weight.original0` of a layer is its g, `original1` its v; the norm is taken over
all axes but the first. From the layer's outputs t for a batch, with g = 1 and b = 0, and their mean
and deviation in each channel,

    g = scale / σ[t],   b = -scale · μ[t] / σ[t],

so that its outputs have mean 0 and deviation `scale` when training begins.

References:
    Weight Normalization (Salimans and Kingma, 2016), https://arxiv.org/abs/1602.07868
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

__all__ = ["fitting_to_data", "weight_norm"]

Layer = TypeVar("Layer", bound=nn.Module)

# a channel that hardly varies does not determine its scale; this occurs on a coarse grid of one
# row, which has no input yet
LEAST_VARIANCE = 1e-8


class WeightNorm(nn.Module):
    """The weight as a function of g and v.

    Arguments:
        scale: The deviation of the layer's outputs when training begins.
    """

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, g: Tensor, v: Tensor) -> Tensor:
        return v * (g / length(v))

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Returns g and v of a weight."""
        return length(weight), weight


def length(v: Tensor) -> Tensor:
    """Returns the norm over all axes but the first, which are kept with length 1."""
    return torch.linalg.vector_norm(v, dim=tuple(range(1, v.ndim)), keepdim=True)


def weight_norm(layer: Layer, scale: float = 1.0) -> Layer:
    """Adds weight norm, with random directions, to a layer with a weight and a bias; returns it.

    Arguments:
        layer: A convolution or transposed convolution.
        scale: The deviation of its outputs when training begins.
    """
    register_parametrization(layer, "weight", WeightNorm(scale), unsafe=True)
    g, v = lengths_and_directions(layer)
    nn.init.normal_(v, std=0.05)
    nn.init.constant_(g, scale)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


def lengths_and_directions(layer: nn.Module) -> tuple[Tensor, Tensor]:
    """Returns g and v of a layer with weight norm."""
    kept: Any = layer.parametrizations
    return kept.weight.original0, kept.weight.original1


@contextmanager
def fitting_to_data(module: nn.Module) -> Iterator[None]:
    """Fits the g and b of every layer with weight norm to the batch that it receives while the body
    runs the module, with dropout switched off.
    """
    training = module.training
    module.eval()
    handles = [
        layer.register_forward_pre_hook(_fit)
        for layer in module.modules()
        if hasattr(layer, "parametrizations")
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        module.train(training)


@torch.no_grad()
def _fit(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    g, v = lengths_and_directions(layer)
    kept: Any = layer.parametrizations
    bias, scale = layer.bias, kept.weight[0].scale
    assert isinstance(bias, Tensor)
    forward: Callable[..., Tensor] = layer.forward
    g.fill_(1)
    bias.zero_()
    variance, mean = torch.var_mean(forward(*inputs), dim=(0, 2, 3), correction=0)
    factor = scale * variance.clamp(min=LEAST_VARIANCE).rsqrt()
    factor[variance < LEAST_VARIANCE] = scale
    if isinstance(layer, nn.ConvTranspose2d):  # g is per input channel, and all outputs share it
        scaled = v * factor[:, None, None]
        g.copy_(length(scaled) / length(v))
        v.copy_(scaled)
    else:
        g.copy_(factor[:, None, None, None])
    bias.copy_(-factor * mean)
