"""Whole numbers without an order, such as the codes of a VQ-VAE."""

import torch
from torch import Tensor

from pixelar.errors import ConfigError
from pixelar.quantizers.base import Quantizer
from pixelar.quantizers.identity import MOST_LEVELS

__all__ = ["Codes"]


class Codes(Quantizer):
    """The numbers from 0 to V - 1 as they are, as names without an order: lossless.

    Scores are in bits/code. For numbers that have an order, such as 16-bit scans, use `Identity`,
    whose scores are in bits/dim.

    Arguments:
        levels: V, the number of codes.

    Example:
        >>> Codes(levels=512).encode(torch.tensor([0, 511], dtype=torch.int32))
        tensor([  0, 511])
    """

    lossless = True
    unit = "code"
    dtype = torch.int64  # as models that quantize their latent vectors give them

    def __init__(self, *, levels: int) -> None:
        super().__init__()
        if not 2 <= levels <= MOST_LEVELS:
            raise ConfigError(
                f"quantizer Codes: levels must be from 2 to {MOST_LEVELS}; got {levels}"
            )
        self.levels, self.values = levels, (0, levels - 1)

    def encode(self, images: Tensor) -> Tensor:
        return images.long()

    def decode(self, x: Tensor) -> Tensor:
        return x.long()
