"""What a folder holds: which files are images, and which folders are splits.

Symbolic links are followed. A folder or file that has several names is listed once, by its real
name if that is below the root. Links to a folder that contains the link are not followed.
"""

import os
import warnings
from collections import Counter
from functools import cache
from pathlib import Path

from PIL import Image

from pixelar.data.base import Split
from pixelar.data.formats import FORMATS
from pixelar.errors import Advice, DataError

__all__ = ["SPLIT_NAMES", "extensions", "find_images", "split_folders"]

SPLIT_NAMES: dict[str, Split] = {  # by the names of folders in lower case
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
NAMED = 4  # how many kinds of skipped files a message names


@cache
def extensions() -> frozenset[str]:
    """Returns the extensions of file names, as ".png", of the formats that Pillow reads here."""
    known = Image.registered_extensions()  # loads the formats, so that OPEN has them
    read = {name for name in FORMATS if name in Image.OPEN}
    read |= {"MPO"} if "JPEG" in read else set()  # several JPEG images one after the other
    return frozenset(extension for extension, name in known.items() if name in read)


def split_folders(root: Path) -> dict[Split, Path]:
    """Returns the folder of each split that has one directly in `root`, by its usual names.

    Raises:
        PixelarError: If two folders stand for one split.
    """
    folders: dict[Split, Path] = {}
    for path in sorted(root.iterdir()):
        split = SPLIT_NAMES.get(path.name.lower())
        if split is None or not path.is_dir():
            continue
        if split in folders:
            raise DataError(
                f"{root}: {folders[split].name} and {path.name} are two folders for one split, "
                f"{split}; put their images into one"
            )
        folders[split] = path
    return folders


def find_images(root: Path) -> list[Path]:
    """Returns the image files in and below a folder, sorted by name; warns of all others.

    Raises:
        PixelarError: If there is no such folder, it holds no images, or one in it cannot be listed.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder")
    walk = _Walk()
    walk.folder(root, os.path.realpath(root))
    walk.follow()
    if not walk.images:
        others = f"; it has {_in_words(walk.left_out)}" if walk.left_out else ""
        raise DataError(
            f"{root} holds no images (.png, .jpg or another of the {len(extensions())} extensions "
            f"that Pillow reads){others}"
        )
    if walk.left_out:
        warnings.warn(f"{root}: left out {_in_words(walk.left_out)}", Advice, stacklevel=2)
    return sorted(walk.images, key=lambda path: path.relative_to(root).as_posix())


class _Walk:
    """Lists every image in and below a folder once."""

    def __init__(self) -> None:
        self.images: list[Path] = []
        self.left_out: Counter[str] = Counter()  # how many files, by reason
        self._links: list[tuple[Path, str]] = []  # and the real folder that each lies in
        self._folders: set[str] = set()  # the real paths of those that were listed
        self._files: set[str] = set()

    def folder(self, path: Path, real: str) -> None:
        """Lists a folder, given its real path, and all below it except behind links."""
        if real in self._folders:
            self.left_out["linked twice"] += 1
            return
        self._folders.add(real)
        try:
            entries = sorted(os.scandir(path), key=lambda entry: entry.name)
        except OSError as error:
            raise DataError(f"{path} cannot be listed: {error.strerror}") from error
        for entry in entries:
            if entry.name.startswith("."):
                self.left_out["hidden"] += 1
            elif entry.is_symlink():
                self._links.append((path / entry.name, real))
            elif entry.is_dir():
                self.folder(path / entry.name, os.path.join(real, entry.name))
            else:
                self._file(path / entry.name, os.path.join(real, entry.name), entry.is_file())

    def follow(self) -> None:
        """Follows the links that were found, and those behind them, in order of their names."""
        while self._links:  # after all else, so that a file with a name of its own is listed by it
            links, self._links = sorted(self._links), []
            for path, inside in links:
                real = os.path.realpath(path)
                if not os.path.isdir(real):
                    self._file(path, real, not path.exists() or path.is_file())
                elif Path(inside).is_relative_to(real):
                    self.left_out["linked to a folder around it"] += 1
                else:
                    self.folder(path, real)

    def _file(self, path: Path, real: str, regular: bool) -> None:
        """Lists a file, if it is an image; a broken link fails where it is read."""
        extension = path.suffix.lower()
        if not regular:
            self.left_out["neither file nor folder"] += 1
        elif extension not in extensions():
            self.left_out[extension or "without extension"] += 1
        elif real in self._files:
            self.left_out["linked twice"] += 1
        else:
            self._files.add(real)
            self.images.append(path)


def _in_words(left_out: Counter[str]) -> str:
    """Returns what was left out, most frequent first, as "10 .heic, 1 .txt, 1 hidden"."""
    common = sorted(left_out.items(), key=lambda item: (-item[1], item[0]))
    parts = [f"{count:,} {reason}" for reason, count in common[:NAMED]]
    rest = sum(count for _, count in common[NAMED:])
    return ", ".join(parts + ([f"{rest:,} of other kinds"] if rest else []))
