"""Writing files so that nothing is lost: a file is whole or it is not there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pixelar.errors import PixelarError

__all__ = ["replacing"]


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a temporary path beside `path`, and moves it there, on disk, if the body succeeds.

    Raises:
        PixelarError: If the disk is full or the folder cannot be written; what `path` held before
            is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise PixelarError(
            f"cannot write {path}: {reason}. Files written before are intact; "
            "make room or choose another folder, and go on from there"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
