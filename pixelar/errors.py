"""Errors about wrong input, whose messages say how to fix it."""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

__all__ = [
    "Advice",
    "ConfigError",
    "DataError",
    "PixelarError",
    "StorageError",
    "did_you_mean",
    "extras",
    "plural",
]


class PixelarError(Exception):
    """A mistake in the input, of one of the kinds below. The command line prints its message alone
    and exits with code 2.
    """


class ConfigError(PixelarError):
    """An option, an argument of a constructor or a choice that is not valid."""


class DataError(PixelarError, ValueError):
    """Images, labels, masks or weights that do not fit what is done with them."""


class StorageError(PixelarError, OSError):
    """A file or directory that cannot be read or written, or does not hold what it should."""


class Advice(UserWarning):
    """Advice on what could be better, and how; the command line prints its message alone."""


# the extra that installs each optional package
EXTRAS = {
    "lightning": "train",
    "jsonargparse": "train",
    "tensorboard": "train",
    "gradio": "demo",
    "fastapi": "demo",
    "matplotlib": "plot",
    "numba": "fast",
}


@contextmanager
def extras(what: str) -> Iterator[None]:
    """Turns a failed import of an optional package into an error that says what to install.

    Raises:
        ConfigError: Such as `fit needs lightning: pip install 'pixelar[train]'`.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        if package not in EXTRAS:
            raise
        raise ConfigError(
            f"{what} needs {package}: pip install 'pixelar[{EXTRAS[package]}]'"
        ) from error


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
