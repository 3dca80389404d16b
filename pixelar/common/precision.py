"""Tensors that keep their data type, whatever the module that holds them is cast to."""

from collections.abc import Callable
from typing import TypeAlias

from torch import Tensor

__all__ = ["Convert", "keeping_dtype"]

Convert: TypeAlias = Callable[[Tensor], Tensor]


def keeping_dtype(convert: Convert) -> Convert:
    """Wraps a function for `nn.Module._apply` so that it moves tensors, but keeps their data type.

    Arguments:
        convert: What `Module.to`, `half`, `double` and the like do to each tensor of a module.
    """

    def move(tensor: Tensor) -> Tensor:
        converted = convert(tensor)
        return converted if converted.dtype == tensor.dtype else tensor.to(converted.device)

    return move
