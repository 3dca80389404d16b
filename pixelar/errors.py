"""The one exception that means: the input was wrong, and this sentence says how to mend it."""

import difflib
from collections.abc import Iterable

__all__ = ["Advice", "PixelarError", "did_you_mean", "plural"]


class PixelarError(ValueError):
    """A mistake in the input. The command line prints its message alone and exits with code 2."""


class Advice(UserWarning):
    """Something that could be better, and how; the command line prints its message alone."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns `unknown 'x'; did you mean 'y'? Known: …` for a name that is not in `known`."""
    known = sorted(known)
    folded = {k.lower(): k for k in known}
    near = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.4)
    guess = f"; did you mean {folded[near[0]]!r}?" if near else "."
    return f"unknown {name!r}{guess} Known: {', '.join(known)}"


def plural(count: int, noun: str) -> str:
    """Returns a number of things in words, as "1 image" or "1,024 images"."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
