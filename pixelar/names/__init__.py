"""Names and limits that the API, the command line and the demo share; nothing here needs torch."""

from typing import TypeAlias

__all__ = ["Shape"]

Shape: TypeAlias = tuple[int, int, int]
"""The size of an image: channels, height, width."""
