"""Which method completes an image: by its known pixels, and by the orders that the net takes."""

from typing import Literal, TypeAlias

import torch
from torch import Tensor

from pixelar.common.arrays import Array
from pixelar.errors import ConfigError, did_you_mean
from pixelar.model import PixelModel
from pixelar.names import METHODS, Method
from pixelar.nets.base import takes_any_order
from pixelar.sampling.known import come_first, known_symbols, same_sites_are_known

__all__ = ["Settled", "choose_method", "settle"]

Settled: TypeAlias = Literal["prefix", "known_first", "particles", "clamp"]


@torch.no_grad()
def choose_method(
    model: PixelModel, known: Array, images: Array, method: Method = "auto"
) -> Settled:
    """Returns the method that completes images: resolves "auto", and checks the others.

    Arguments as in `pixelar.complete`.
    """
    return settle(model, known_symbols(model, known, model.encode(images)), method)


def settle(model: PixelModel, mask: Tensor, method: Method) -> Settled:
    """Returns the method that completes images, given a mask (B, C, H, W) of known symbols.

    Raises:
        PixelarError: If there is no such method, or it cannot complete these images.
    """
    if method not in METHODS:
        raise ConfigError(f"method: {did_you_mean(str(method), METHODS)}")
    if method in ("particles", "clamp"):
        return method
    if method != "known_first" and come_first(model.scan, mask):
        return "prefix"
    if method == "prefix":
        raise ConfigError(
            "method prefix needs the known pixels to come first in the model's order "
            f"({model.scan.name}), and here some come after unknown ones; "
            "use particles (or clamp, which is biased)"
        )
    obstacle = _against_known_first(model, mask)
    if method == "known_first" and obstacle:
        raise ConfigError(f"method known_first needs {obstacle}")
    return "particles" if obstacle else "known_first"


def _against_known_first(model: PixelModel, mask: Tensor) -> str:
    """Returns why there is no order in which the known sites come first, or ""."""
    if not takes_any_order(model.net):
        return (
            f"a net that takes any order, and the order of {type(model.net).__name__} is fixed; "
            "use particles (or clamp, which is biased)"
        )
    if not same_sites_are_known(model.scan, mask):
        return (
            "one mask for all images, in which a site is known in full or not at all; complete "
            "the images one by one, or use particles"
        )
    return ""
