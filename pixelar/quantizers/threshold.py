"""Black and white by a threshold."""

from torch import Tensor

from pixelar.errors import ConfigError
from pixelar.quantizers.base import Quantizer, spread

__all__ = ["Threshold"]


class Threshold(Quantizer):
    """Black below a threshold, white from it on.

    Arguments:
        threshold: The lowest value that is white.
    """

    levels = 2

    def __init__(self, *, threshold: int = 128) -> None:
        super().__init__()
        if not 1 <= threshold <= 255:
            raise ConfigError(
                f"quantizer Threshold: threshold must be from 1 to 255; got {threshold}"
            )
        self.threshold = threshold

    def encode(self, images: Tensor) -> Tensor:
        return (images >= self.threshold).long()

    def decode(self, x: Tensor) -> Tensor:
        return spread(x, 2)
