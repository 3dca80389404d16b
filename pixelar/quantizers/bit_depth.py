"""The highest bits of every colour value."""

from torch import Tensor

from pixelar.errors import ConfigError
from pixelar.quantizers.base import Quantizer, spread

__all__ = ["BitDepth"]


class BitDepth(Quantizer):
    """The highest bits of every colour value.

    Arguments:
        bits: How many bits are kept, from 1 to 8.
    """

    def __init__(self, *, bits: int = 5) -> None:
        super().__init__()
        if not 1 <= bits <= 8:
            raise ConfigError(f"quantizer BitDepth: bits must be from 1 to 8; got {bits}")
        self.bits, self.levels, self.lossless = bits, 2**bits, bits == 8

    def encode(self, images: Tensor) -> Tensor:
        return images.long() >> (8 - self.bits)

    def decode(self, x: Tensor) -> Tensor:
        return spread(x, self.levels)
