"""Classes from outside pixelar that a command may build, which the user names by --trust."""

import importlib
import os
import sys
from collections.abc import Sequence

from pixelar.errors import ConfigError

__all__ = ["import_here", "trusted"]


def trusted(names: Sequence[str]) -> dict[str, type]:
    """Imports classes by their full names, and returns them by their class names.

    Raises:
        PixelarError: If one cannot be imported, or is not a class.
    """
    if names:
        import_here()
    return dict(_import_class(name) for name in names)


def import_here() -> None:
    """Allows importing modules from the current directory, after installed ones."""
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())


def _import_class(path: str) -> tuple[str, type]:
    module, _, name = path.rpartition(".")
    if not (module and path.replace(".", "").isidentifier()):
        raise ConfigError(f"--trust: write a class as module.Class; got {path!r:.100}")
    try:
        kind = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise ConfigError(f"--trust {path}: cannot import {module}: {error}") from error
    except AttributeError:
        raise ConfigError(f"--trust {path}: module {module} has no {name}") from None
    if not isinstance(kind, type):
        raise ConfigError(f"--trust {path}: {name} is not a class")
    return name, kind
