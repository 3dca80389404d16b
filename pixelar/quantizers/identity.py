"""Evenly spaced grey levels as they are."""

import torch
from torch import Tensor

from pixelar.errors import ConfigError, DataError
from pixelar.quantizers.base import Quantizer, spread

__all__ = ["Identity"]


class Identity(Quantizer):
    """Evenly spaced grey levels as they are: lossless; images with other values are refused.

    Arguments:
        levels: V, the number of values that occur: 256, or fewer where images have fewer, as 17 for
            `digits`.

    Example:
        >>> Identity(levels=17).encode(torch.tensor([0, 16, 255], dtype=torch.uint8))
        tensor([ 0,  1, 16])
    """

    lossless = True

    def __init__(self, *, levels: int = 256) -> None:
        super().__init__()
        if not 2 <= levels <= 256:
            raise ConfigError(f"quantizer Identity: levels must be from 2 to 256; got {levels}")
        self.levels = levels

    def check(self, images: Tensor) -> None:
        if self.levels == 256:
            return
        odd = self.nearest(images) != images
        if odd.any():
            raise DataError(
                f"quantizer Identity(levels={self.levels}): "
                f"the images hold the value {int(images[odd][0])}, "
                f"which is not one of {self.levels} evenly spaced levels; "
                "use images of that kind, or a model with more levels"
            )

    def encode(self, images: Tensor) -> Tensor:
        if self.levels == 256:
            return images.long()
        return (images.float() * ((self.levels - 1) / 255)).round().long()

    def decode(self, x: Tensor) -> Tensor:
        return x.to(torch.uint8) if self.levels == 256 else spread(x, self.levels)

    def nearest(self, images: Tensor) -> Tensor:
        """Returns images with each value moved to the nearest level, which are not refused."""
        return images if self.levels == 256 else self.decode(self.encode(images))
