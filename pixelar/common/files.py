"""Writes files completely or not at all, and checks files before their content is trusted."""

import errno
import json
import os
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pixelar.errors import PixelarError, StorageError

__all__ = ["read_bytes", "read_object", "read_torch", "replacing"]

LARGEST_OBJECT = 1 << 20  # bytes of JSON
# parts of torch's messages when it cannot write
TORCH_WRITER = ("PytorchStreamWriter", "inline_container", "unexpected pos", "Parent directory")
ALMOST_FULL = 1 << 16  # with fewer free bytes, a write that failed in torch means a full disk


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path next to `path`; if the body succeeds, syncs that file to disk and
    moves it to `path`.

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
    except (OSError, RuntimeError) as error:
        if not _is_of_writing(error, temporary):
            raise
        full = isinstance(error, RuntimeError) and shutil.disk_usage(path.parent).free < ALMOST_FULL
        full_disk = os.strerror(errno.ENOSPC) if full else ""
        reason = full_disk or getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise StorageError(
            f"cannot write {path}: {reason}. Files written before are intact; "
            "free disk space or choose another folder, then continue"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _is_of_writing(error: OSError | RuntimeError, temporary: Path) -> bool:
    """Returns whether an error came from writing that file, not from anything else in the body."""
    if isinstance(error, PixelarError):
        return False
    if isinstance(error, RuntimeError):  # torch reports a full disk this way
        return any(word in str(error) for word in TORCH_WRITER)
    return error.filename is None or Path(error.filename) in (temporary, *temporary.parents)


def read_torch(path: Path) -> Any:  # noqa: ANN401
    """Returns what `torch.save` wrote, after checking every byte of it; nothing in it is executed.

    Raises:
        PixelarError: If the file is damaged, or holds more than plain values and tensors.
    """
    import torch

    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged:
            raise StorageError(
                f"checkpoint {path} is damaged: {damaged} does not match its checksum"
            )
        return torch.load(path, map_location="cpu", weights_only=True)
    except PixelarError:
        raise
    except Exception as error:  # of any type, where the file was crafted
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise StorageError(f"{path} is not a readable checkpoint: {reason}") from error


def read_bytes(path: Path) -> bytes:
    """Returns the contents of a file; raises PixelarError if it cannot be read."""
    try:
        return path.read_bytes()
    except (OSError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or "it does not fit into memory"
        raise StorageError(f"{path} cannot be read: {reason}") from error


def read_object(path: Path) -> dict[str, Any]:
    """Returns the JSON object in a file; raises PixelarError if it holds none, or is too large."""
    if path.is_file() and path.stat().st_size > LARGEST_OBJECT:
        raise StorageError(f"{path} has more than {LARGEST_OBJECT:,} bytes: it is not a config")
    try:
        found = json.loads(read_bytes(path))
    except PixelarError:
        raise
    except (ValueError, RecursionError) as error:
        raise StorageError(f"{path} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise StorageError(f"{path} is not a config: it is not a JSON object")
    return found
