"""Arguments of the scripts that measure."""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

__all__ = ["earlier", "positive"]

R = TypeVar("R")


def positive(text: str) -> int:
    """Reads a whole number of at least 1, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1; got {text!r}")
    return int(text)


def earlier(
    parser: argparse.ArgumentParser,
    path: Path,
    load: Callable[[Path], tuple[dict[str, Any], dict[str, R]]],
    protocol: Mapping[str, Any],
) -> dict[str, R]:
    """Returns what was measured before; the script ends if that was by another protocol.

    Arguments:
        parser: Ends the script.
        path: The file, which may be missing.
        load: Reads its protocol, and its results by name.
        protocol: That of what is to be added.
    """
    if not path.is_file():
        return {}
    try:
        before, kept = load(path)
    except (ValueError, KeyError, TypeError, AttributeError):
        parser.error(f"{path} does not hold results: name another file with -o")
    unlike = [f"{k} {before.get(k)}" for k, v in protocol.items() if before.get(k) != v]
    if unlike:
        parser.error(
            f"{path} holds results of another protocol ({'; '.join(unlike)}): "
            "name another file with -o"
        )
    return kept
