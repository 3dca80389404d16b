"""Arguments of the scripts that measure."""

import argparse

__all__ = ["positive"]


def positive(text: str) -> int:
    """Reads a whole number of at least 1, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1; got {text!r}")
    return int(text)
