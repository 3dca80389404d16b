"""Black and white by one fixed random draw."""

from typing import Literal

import torch
from torch import Tensor

from pixelar.errors import ConfigError
from pixelar.quantizers.base import Quantizer, spread

__all__ = ["StochasticBinarisation"]


class StochasticBinarisation(Quantizer):
    """White with probability x / 255, drawn once and for all.

    The draw is a function of the seed and of the image alone: it is the same in every epoch, batch
    and process. Images that are black and white already stay as they are.

    Arguments:
        seed: Selects one of the fixed draws.
        version: Which pixels the draw depends on. 2: all of them. 1, of older models: all but the
            first, so that images that differ only in their first pixel share the draw of all other
            pixels.

    References:
        On the Quantitative Analysis of Deep Belief Networks (Salakhutdinov and Murray, 2008)
    """

    levels = 2

    def __init__(self, *, seed: int = 0, version: Literal[1, 2] = 2) -> None:
        super().__init__()
        if version not in (1, 2):
            raise ConfigError(
                f"quantizer StochasticBinarisation: version must be 1 or 2; got {version!r:.60}"
            )
        self.seed, self.version = seed, version

    def encode(self, images: Tensor) -> Tensor:
        values = images.flatten(1).long()  # (B, N)
        place = torch.arange(values.shape[1], device=images.device)
        # the 1 is added since pixel 0 alone would have the factor 0
        factor = _scramble(place + 1 if self.version > 1 else place)
        # a hash of the image, so that the draw does not depend on the image's index
        key = _scramble(factor * (values + 1)).sum(1, keepdim=True) + self.seed
        noise = _scramble(_scramble(key) + place) & 0xFFFFFF  # 24 uniform bits a pixel
        return (noise < values * (1 << 24) // 255).long().view(images.shape)

    def decode(self, x: Tensor) -> Tensor:
        return spread(x, 2)


def _scramble(x: Tensor) -> Tensor:
    """Returns well-mixed 64-bit integers: the finaliser of splitmix64, on wrapping int64."""
    for shift, factor in ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15)):
        x = (x ^ ((x >> shift) & ((1 << (64 - shift)) - 1))) * factor
    return x ^ ((x >> 31) & ((1 << 33) - 1))
