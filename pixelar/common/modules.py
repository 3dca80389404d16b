"""Lists of modules whose type says what they hold."""

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar, cast

from torch import nn

__all__ = ["module_list"]

M = TypeVar("M", bound=nn.Module | Sequence[Any])  # a sequence: what a list of modules is here


def module_list(modules: Iterable[M]) -> Sequence[M]:
    """Returns an `nn.ModuleList`, typed as a sequence of what it holds.

    torch's annotations know its items as modules only, without their attributes.

    Example:
        >>> layers = module_list(nn.Linear(2, 2) for _ in range(3))
        >>> layers[1].in_features
        2
        >>> isinstance(layers, nn.ModuleList)
        True
    """
    return cast(Sequence[M], nn.ModuleList(cast(Iterable[nn.Module], modules)))
