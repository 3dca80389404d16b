"""The highest bits of every value."""

from torch import Tensor

from pixelar.errors import ConfigError
from pixelar.quantizers.base import Quantizer, spread

__all__ = ["BitDepth"]


class BitDepth(Quantizer):
    """The highest bits of every value.

    Arguments:
        bits: How many bits are kept, from 1 to `depth`.
        depth: How many bits the values have, from 1 to 16.

    Example:
        >>> import torch
        >>> BitDepth(bits=12, depth=16).encode(torch.tensor([0, 15, 16, 65535]))
        tensor([   0,    0,    1, 4095])
    """

    def __init__(self, *, bits: int = 5, depth: int = 8) -> None:
        super().__init__()
        if not 1 <= depth <= 16:
            raise ConfigError(f"quantizer BitDepth: depth must be from 1 to 16; got {depth}")
        if not 1 <= bits <= depth:
            raise ConfigError(f"quantizer BitDepth: bits must be from 1 to {depth}; got {bits}")
        self.bits, self.depth = bits, depth
        self.levels, self.lossless, self.values = 2**bits, bits == depth, (0, 2**depth - 1)

    def encode(self, images: Tensor) -> Tensor:
        return images.long() >> (self.depth - self.bits)

    def decode(self, x: Tensor) -> Tensor:
        return spread(x, self.levels, self.values)
