"""A private folder for uploads to the demo and its results, which are deleted soon.

It is in the system's folder for temporary files, only this user can read it, and it is removed when
the demo ends. A demo that was killed cannot remove its own, so the next one does: a running demo
holds a lock in its folder. While it runs, old files are removed, and the oldest when there are too
many; the files of work in progress stay until it ends, however long it takes.
"""

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from pixelar.errors import StorageError

try:
    import fcntl
except ImportError:  # Windows, where the folder of a killed demo stays until the system clears it
    fcntl = None  # type: ignore[assignment]

__all__ = ["IN_USE", "MOST_FILES", "private_folder", "sweep", "sweeping", "work_folder"]

PREFIX = "pixelar-demo-"
LOCK = "lock"
IN_USE = "in-use-"  # prefix of what is not swept, since its maker removes it
LARGEST = 256_000_000  # bytes of all files
MOST_FILES = 3000
OLDEST = 3600  # seconds
EVERY = 10  # seconds
FRESH = 60  # seconds in which a folder without files may be about to get one


@contextmanager
def private_folder() -> Iterator[Path]:
    """Yields a new folder that only this user can read, and removes it with all in it on exit."""
    remove_abandoned(Path(tempfile.gettempdir()))
    try:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    except OSError as error:
        raise StorageError(
            f"cannot write to the folder for temporary files: {error.strerror} (set TMPDIR)"
        ) from error
    lock = (folder / LOCK).open("w")
    try:
        _take(lock)
        yield folder
    finally:
        lock.close()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def work_folder() -> Iterator[Path]:
    """Yields a folder for the files of one piece of work, and removes it when that ends.

    It is in the folder for temporary files, and is not swept before that.
    """
    with tempfile.TemporaryDirectory(prefix=IN_USE, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def remove_abandoned(parent: Path) -> None:
    """Removes the folders of this user's demos that were killed."""
    if fcntl is None:
        return
    for folder in parent.glob(f"{PREFIX}*"):
        try:
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            with (folder / LOCK).open("r+") as lock:  # a demo that starts has no lock yet
                if _take(lock):
                    shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # it was removed in the meantime
            continue


def _take(lock: TextIO) -> bool:
    """Takes a lock, kept until the file is closed, and returns whether it was free."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@contextmanager
def sweeping(folder: Path) -> Iterator[None]:
    """Keeps a folder within its limits while the context lasts; existing files stay."""
    kept = set(folder.rglob("*"))
    done = threading.Event()

    def watch() -> None:
        while not done.wait(EVERY):
            sweep(folder, kept)

    watcher = threading.Thread(target=watch, name="sweeper", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def sweep(
    folder: Path,
    kept: set[Path],
    *,
    largest: int = LARGEST,
    most: int = MOST_FILES,
    oldest: float = OLDEST,
    fresh: float = FRESH,
) -> None:
    """Removes files that are too old, then the oldest ones until the rest is within the limits.

    Files in use stay and do not count: files and folders whose names begin with `IN_USE`, and
    everything in such folders.

    Arguments:
        folder: The folder; its subfolders without files are removed as well.
        kept: Files that stay, and do not count.
        largest: The bytes that the others may have together.
        most: How many others there may be.
        oldest: Their greatest age in seconds.
        fresh: The age in seconds from which folders without files are removed.
    """
    now, total, count = time.time(), 0, 0
    for age, path, size, is_folder in sorted(_entries(folder, now)):
        if path in kept or _in_use(path, folder):
            continue
        total, count = total + size, count + (not is_folder)
        try:
            if is_folder and age > fresh:
                path.rmdir()
            elif not is_folder and (age > oldest or total > largest or count > most):
                path.unlink()
        except OSError:  # not empty, or gone already
            continue


def _in_use(path: Path, folder: Path) -> bool:
    return any(part.startswith(IN_USE) for part in path.relative_to(folder).parts)


def _entries(folder: Path, now: float) -> list[tuple[float, Path, int, bool]]:
    """Returns age, path, size in bytes, and whether it is a folder, of everything in a folder."""
    entries = []
    for path in folder.rglob("*"):
        try:
            state = path.lstat()
        except OSError:
            continue
        is_folder = path.is_dir() and not path.is_symlink()
        entries.append((now - state.st_mtime, path, 0 if is_folder else state.st_size, is_folder))
    return entries
