"""Which method completes an image: by what is known of it, and by the orders that a net takes."""

from typing import Literal, TypeAlias, get_args

from torch import Tensor

from pixelar.common.arrays import Array
from pixelar.errors import ConfigError, did_you_mean
from pixelar.model import PixelModel
from pixelar.model.orders import in_order
from pixelar.nets.base import takes_any_order
from pixelar.sampling.known import is_prefix, known_symbols, knows_alike
from pixelar.scan import known_first

__all__ = ["Method", "choose_method", "ordered"]

Method: TypeAlias = Literal["auto", "prefix", "known_first", "particles", "clamp"]


def choose_method(
    model: PixelModel, known: Array, images: Array, method: Method = "auto"
) -> Literal["prefix", "known_first", "particles", "clamp"]:
    """Returns the method that is used: "auto" settled, the others checked."""
    if method not in get_args(Method):
        raise ConfigError(f"method: {did_you_mean(str(method), get_args(Method))}")
    if method in ("particles", "clamp"):
        return method
    if method != "known_first" and is_prefix(model, known, images):
        return "prefix"
    if method == "prefix":
        raise ConfigError(
            "method prefix needs the known pixels to come first in the model's order "
            f"({model.scan.name}), and here some come after unknown ones; "
            "use particles (or clamp, which is biased)"
        )
    obstacle = _against_known_first(model, known, images)
    if method == "known_first" and obstacle:
        raise ConfigError(f"method known_first needs {obstacle}")
    return "particles" if obstacle else "known_first"


def _against_known_first(model: PixelModel, known: Array, images: Array) -> str:
    """Returns why there is no order in which the known sites come first, or ""."""
    if not takes_any_order(model.net):
        return (
            f"a net that takes any order, and the order of {type(model.net).__name__} is fixed; "
            "use particles (or clamp, which is biased)"
        )
    if not knows_alike(model, known, images):
        return (
            "one mask for all images, in which a site is known in full or not at all; complete "
            "the images one by one, or use particles"
        )
    return ""


def ordered(model: PixelModel, known: Tensor, images: Tensor, method: Method) -> PixelModel:
    """Returns the model in the order in which a method draws: its own, or a twin in another."""
    if method != "known_first" or len(images) == 0:
        return model
    mask = known_symbols(model, known, model.encode(images))[0]
    return in_order(model, known_first(model.scan, mask))
