"""Bits per dimension over images, independent of the batches: float64 sums, divided once.

Imported only where it is needed: torchmetrics takes longer to load than torch.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from pixelar.common.precision import Convert, keeping_dtype
from pixelar.model.likelihood import mean, standard_error

__all__ = ["BitsPerDim"]


class BitsPerDim(Metric):
    """The mean of bits/dim over images, and its standard error.

    Both are the same for any batching and any number of processes, and stay in float64 whatever the
    module that holds the metric is cast to.

    Arguments:
        dims: The number of dimensions of an image, C·H·W, or of its tokens.

    Example:
        >>> metric = BitsPerDim(dims=4)
        >>> metric.update(torch.tensor([2.0, 4.0]) * math.log(2))
        >>> metric.compute(), metric.standard_error()
        (tensor(0.7500, dtype=torch.float64), tensor(0.2500, dtype=torch.float64))
    """

    full_state_update = False
    bits: Tensor
    squares: Tensor
    images: Tensor

    def __init__(self, dims: int) -> None:
        super().__init__()
        self.dims = dims
        self.add_state("bits", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("squares", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("images", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, nats: Tensor) -> None:
        """Adds images, given their negative log-likelihoods in nats with shape (B,)."""
        bits = nats.detach().double() / (self.dims * math.log(2))
        # not in place, so that sums that were cast to a narrower type become float64 again
        self.bits = self.bits + bits.sum()
        self.squares = self.squares + bits.square().sum()
        self.images = self.images + len(bits)

    def compute(self) -> Tensor:
        """Returns the mean of bits/dim over the images of all processes."""
        return mean(self.bits, self.images)

    def standard_error(self) -> Tensor:
        """Returns the standard error of that mean; nan for fewer than two images."""
        with self.sync_context(should_sync=self.sync_on_compute):
            return standard_error(self.bits, self.squares, self.images)

    def _apply(self, fn: Convert, *args: Any, **kwargs: Any) -> nn.Module:  # noqa: ANN401
        """Moves the sums with the module that holds the metric, and keeps them in float64."""
        return super()._apply(keeping_dtype(fn), *args, **kwargs)
