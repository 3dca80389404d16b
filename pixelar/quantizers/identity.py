"""Evenly spaced values as they are."""

from torch import Tensor

from pixelar.errors import ConfigError, DataError
from pixelar.quantizers.base import Quantizer, nearest_level, spread

__all__ = ["Identity"]

MOST_LEVELS = 1 << 16


class Identity(Quantizer):
    """Evenly spaced values as they are: lossless; images with other values are refused.

    Arguments:
        levels: V, the number of values that occur: all of 8 bits (256) or 16 bits (65536), or fewer
            where images have fewer, as 17 for `digits`.
        low: The smallest value.
        high: The largest value; None for 255 with at most 256 levels, else 65535.

    Example:
        >>> import torch
        >>> Identity(levels=17).encode(torch.tensor([0, 16, 255], dtype=torch.uint8))
        tensor([ 0,  1, 16])
        >>> Identity(levels=4096, high=4095).decode(torch.tensor([0, 4095]))  # 12 bits
        tensor([   0, 4095], dtype=torch.uint16)
        >>> Identity(levels=2, low=-1, high=1).encode(torch.tensor([-1, 1]))  # spins
        tensor([0, 1])
    """

    lossless = True

    def __init__(self, *, levels: int = 256, low: int = 0, high: int | None = None) -> None:
        super().__init__()
        if not 2 <= levels <= MOST_LEVELS:
            raise ConfigError(
                f"quantizer Identity: levels must be from 2 to {MOST_LEVELS}; got {levels}"
            )
        top = (255 if levels <= 256 else 65535) if high is None else high
        if top - low < levels - 1:
            raise ConfigError(
                f"quantizer Identity: from {low} to {top} there are {max(0, top - low + 1)} whole "
                f"numbers, which is less than levels: {levels}"
            )
        self.levels, self.low, self.high = levels, low, high
        self.values = low, top

    @property
    def _shift(self) -> int | None:
        """What is subtracted from values to get symbols, where every whole number is a level."""
        return self.values[0] if self.values[1] - self.values[0] == self.levels - 1 else None

    def check(self, images: Tensor) -> None:
        if self._shift is not None:
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
        if self._shift is not None:
            return images.long() - self._shift if self._shift else images.long()
        return nearest_level(images, self.levels, self.values)

    def decode(self, x: Tensor) -> Tensor:
        if self._shift is not None:
            return (x + self._shift if self._shift else x).to(self.dtype)
        return spread(x, self.levels, self.values)

    def nearest(self, images: Tensor) -> Tensor:
        """Returns images with each value moved to the nearest level, which are not refused."""
        return images if self._shift is not None else self.decode(self.encode(images))
