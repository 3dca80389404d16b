"""ELU with a vectorized exponential on CPUs, where that of PyTorch is not vectorized."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["concat_elu", "elu"]


class VectorELU(torch.autograd.Function):
    """max(x, exp(min(x, 0)) - 1), whose derivative is min(y, 0) + 1: only the result is kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ANN401
        y = torch.maximum(x.clamp(max=0).exp_().sub_(1), x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # noqa: ANN401
        (y,) = ctx.saved_tensors
        return y.clamp(max=0).add_(1).mul_(grad)


def elu(x: Tensor) -> Tensor:
    """Returns x where it is positive, and exp(x) - 1 elsewhere.

    On a CPU, it is many times as fast as `F.elu`; its absolute error is the rounding error near
    one.
    """
    if x.device.type != "cpu":
        return F.elu(x)
    found: Tensor = VectorELU.apply(x)
    return found


def concat_elu(x: Tensor, dim: int = 1) -> Tensor:
    """Returns elu([x, -x]) with twice the channels, which are in dimension `dim`."""
    return elu(torch.cat((x, -x), dim))
