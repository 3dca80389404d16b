"""The metaclass of the demo's own components."""

from abc import ABCMeta
from typing import Any

from gradio.component_meta import ComponentMeta

__all__ = ["OwnComponent"]


class OwnComponent(ComponentMeta):
    """Creates component classes without a stub file next to their source, which Gradio writes.

    The stub would get in the way of type checkers, in a source tree or an installed package.
    """

    def __new__(cls, name: str, bases: tuple[type, ...], attributes: dict[str, Any]) -> type:
        return ABCMeta.__new__(cls, name, bases, attributes)
