"""Classes of components of our own."""

from abc import ABCMeta
from typing import Any

from gradio.component_meta import ComponentMeta

__all__ = ["OwnComponent"]


class OwnComponent(ComponentMeta):
    """Makes such classes without writing a stub file beside their source, as Gradio's own does.

    The stub would lie in the way of type checkers, in a source tree or an installed package.
    """

    def __new__(cls, name: str, bases: tuple[type, ...], attributes: dict[str, Any]) -> type:
        return ABCMeta.__new__(cls, name, bases, attributes)
