"""From images to symbols and back.

A likelihood is that of the symbols. If the quantizer is `lossless`, symbols and images are in
one-to-one correspondence, and a score in bits per dimension is that of the images; otherwise it is
the score of the reduced images, which is a different quantity.
"""

import abc
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pixelar.common.arguments import Recorded
from pixelar.common.arrays import narrowest
from pixelar.common.precision import Convert, keeping_dtype
from pixelar.names import Shape

__all__ = ["Quantizer", "nearest_level", "spread"]


class Quantizer(Recorded, nn.Module, abc.ABC):
    """A map between images and symbols. Its arguments are recorded, and saved with a model.

    Attributes:
        levels: V, the number of values of a symbol.
        lossless: Whether each image has symbols of its own.
        unit: What a symbol is called in reports: "dim" where it is a value that has an order, such
            as a brightness, "token" where it stands for a whole colour, "code" where its values are
            names without an order.
        values: The smallest and the largest value of an image.
    """

    levels: int
    lossless: bool = False
    unit: Literal["dim", "token", "code"] = "dim"
    values: tuple[int, int] = (0, 255)

    @property
    def dtype(self) -> torch.dtype:
        """The type of decoded images: the narrowest that holds `values`."""
        return narrowest(*self.values)

    def check(self, images: Tensor) -> None:
        """Raises PixelarError if `encode` does not take these images (B, C, H, W), whose values lie
        in the range of `values`.

        This is separate from `encode`, since reading values means waiting for a GPU: training
        checks all images once, and no batch again.
        """

    @abc.abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """Encodes images (B, C, H, W), integers of any type, as symbols (B, C', H, W), int64."""

    @abc.abstractmethod
    def decode(self, x: Tensor) -> Tensor:
        """Decodes symbols (B, C', H, W) into images (B, C, H, W) of type `dtype`."""

    def symbol_shape(self, shape: Shape) -> Shape:
        """Returns the shape of an image of symbols, given that of an image."""
        return shape

    def nearest(self, images: Tensor) -> Tensor:
        """Returns the nearest images that `encode` takes, with shape (B, C, H, W). Most quantizers
        take all images, and return the images themselves.
        """
        return images

    def fit(self, images: Tensor) -> None:
        """Adapts to training images (N, C, H, W) before training; most quantizers have nothing to
        learn.
        """

    def _apply(self, fn: Convert, *args: Any, **kwargs: Any) -> nn.Module:  # noqa: ANN401
        """Moves tensors with the model, but keeps their data type when the model is cast, so that
        symbols do not depend on its precision.
        """
        return super()._apply(keeping_dtype(fn), *args, **kwargs)


def spread(x: Tensor, levels: int, values: tuple[int, int] = (0, 255)) -> Tensor:
    """Returns symbols as evenly spaced values of a range, in the narrowest type that holds it."""
    least, most = values
    wide = x.float() if most - least < 256 else x.double()  # float32 holds no product of 16 bits
    found = (wide * ((most - least) / (levels - 1))).round()
    return (found if not least else found + least).to(narrowest(least, most))


def nearest_level(images: Tensor, levels: int, values: tuple[int, int] = (0, 255)) -> Tensor:
    """Returns the symbols, int64, whose values in `spread` are nearest to those of images."""
    least, most = values
    shifted = images if not least else images.long() - least
    wide = shifted.float() if most - least < 256 else shifted.double()
    return (wide * ((levels - 1) / (most - least))).round().long()
