"""From 8-bit images to symbols and back.

A likelihood is that of symbols. Where `lossless` holds, symbols and images are in one-to-one
correspondence and a score in bits per dimension is that of the images; elsewhere it is that of the
reduced images, which is a different quantity.
"""

import abc
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pixelar.common.arguments import Recorded
from pixelar.common.precision import Convert, keeping_dtype
from pixelar.names import Shape

__all__ = ["Quantizer", "spread"]


class Quantizer(Recorded, nn.Module, abc.ABC):
    """A map between 8-bit images and symbols. Its arguments are recorded, and saved with a model.

    `levels` is V, the number of values of a symbol, and `unit` what a symbol is called in reports:
    "dim" where it is a colour value, "token" where it stands for a whole colour.
    """

    levels: int
    lossless: bool = False
    unit: Literal["dim", "token"] = "dim"

    def check(self, images: Tensor) -> None:
        """Raises PixelarError if `encode` does not take these images, uint8 (B, C, H, W).

        This is separate from `encode`, since reading values means waiting for a GPU: training
        checks all images once, and no batch again.
        """

    @abc.abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """Encodes uint8 images (B, C, H, W) as symbols (B, C', H, W), int64."""

    @abc.abstractmethod
    def decode(self, x: Tensor) -> Tensor:
        """Decodes symbols (B, C', H, W) into uint8 images (B, C, H, W)."""

    def symbol_shape(self, shape: Shape) -> Shape:
        """Returns the shape of an image of symbols, given that of an image."""
        return shape

    def nearest(self, images: Tensor) -> Tensor:
        """Returns the nearest images that `encode` takes, with shape (B, C, H, W): for most
        quantizers, which take all, the images themselves.
        """
        return images

    def fit(self, images: Tensor) -> None:
        """Adapts to training images, uint8 (N, C, H, W), before training; most quantizers have
        nothing to learn.
        """

    def _apply(self, fn: Convert, *args: Any, **kwargs: Any) -> nn.Module:  # noqa: ANN401
        """Moves tensors with the model, and keeps their data type when a model is cast to another,
        so that symbols do not depend on it.
        """
        return super()._apply(keeping_dtype(fn), *args, **kwargs)


def spread(x: Tensor, levels: int) -> Tensor:
    """Returns symbols as evenly spaced values from 0 to 255."""
    return (x.float() * (255 / (levels - 1))).round().to(torch.uint8)
