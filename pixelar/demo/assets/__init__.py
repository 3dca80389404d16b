"""The style sheet and the scripts of the page."""

from pathlib import Path

__all__ = ["read_asset"]


def read_asset(name: str) -> str:
    """Returns the text of a file in this folder, without the empty lines around it."""
    return (Path(__file__).parent / name).read_text(encoding="utf-8").strip()
