"""Any folder of image files, with or without folders for splits and classes.

    root/train/cat/1.png     root/train/1.png     root/cat/1.png     root/1.png
    root/test/dog/2.png      root/test/2.png      root/dog/2.png     root/2.png

Folders named train, val and test (or training, valid, validation, testing, in any letter case) are
those splits. A validation or test split without a folder is held out of the training images.
Without any split folders, all images are training images.
"""

import hashlib
import math
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from tqdm import tqdm

from pixelar.data.base import SPLITS, ImageData, ImageSet, Split, holdout
from pixelar.data.images import Resize, advise, open_image, read_image
from pixelar.data.listing import SPLIT_NAMES, find_images, split_folders
from pixelar.data.mapped import mapped
from pixelar.errors import DataError, PixelarError, plural

__all__ = ["Folder"]

REPORTED = 5  # how many unusable files a message names
MANY = 500  # above how many files a progress bar is drawn


class Folder(ImageData):
    """The images in a folder and its subfolders, with shape (channels, size, size).

    Arguments:
        root: The folder.
        size: The side of an image. None takes the size of the first image; it needs `resize=False`.
        channels: 1 for grey or 3 for RGB.
        resize: Whether images of another size are resized (Lanczos, shorter side to `size`) and
            cropped at their centre, or refused; "processor" squashes them to the size as ImageGPT's
            image processor does (bilinear, without cropping).
        background: The colour behind what is transparent, (red, green, blue) of 0 to 255.
        val_fraction: The part of the training images held out for validation, rounded up to whole
            images, where there is no folder `val`.
        test_fraction: The part held out for testing, where there is no folder `test`.
        seed: Seed of both draws.
        cache: A file, NAME.npy, that stores the images as read: later runs start at once, and the
            images may be larger than memory. It is made again where files, their sizes or dates, or
            these arguments have changed.

    Example:
        >>> import sklearn.datasets  # ships two photographs
        >>> photographs = str(Path(sklearn.datasets.__file__).parent / "images")
        >>> data = Folder(root=photographs, size=64, val_fraction=0, test_fraction=0)
        >>> data.split("train").images.shape
        torch.Size([2, 3, 64, 64])
    """

    name = "folder"

    def __init__(
        self,
        *,
        root: str,
        size: int | None = 32,
        channels: Literal[1, 3] = 3,
        resize: Resize = True,
        background: tuple[int, int, int] = (255, 255, 255),
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        seed: int = 0,
        cache: str | None = None,
    ) -> None:
        self.root, self.size, self.channels, self.resize = root, size, channels, resize
        self.background, self.seed, self.cache = background, seed, cache
        self.val_fraction, self.test_fraction = val_fraction, test_fraction
        self._check()
        files = find_images(Path(root))
        folders = split_folders(Path(root))
        self._files = self._by_split(files, folders)
        self._class_of = self._by_class(files, depth=1 if folders else 0)
        if not folders:
            self._advise_of_splits(files)
        self.classes = sorted(set(self._class_of.values())) or None
        width = height = size or 0
        if size is None:
            width, height = open_image(files[0], notice=lambda _: None).size  # `_read` reports it
        self.shape = (channels, height, width)
        fitted = "resized (Lanczos) and centre-cropped" if resize else "not resized"
        if resize == "processor":
            fitted = "squashed (bilinear, without cropping)"
        grey = "; colours to grey by their luma" if channels == 1 else ""
        self.preprocessing = f"{fitted}; transparency composited over background{grey}"

    def _check(self) -> None:
        """Raises PixelarError for arguments that no folder could satisfy."""
        fractions = (self.val_fraction, self.test_fraction)
        if min(fractions) < 0 or sum(fractions) > 1:
            raise DataError(
                "folder: val_fraction and test_fraction are parts of 1 that add up to 1 at most; "
                f"got {fractions[0]} and {fractions[1]}"
            )
        if self.channels not in (1, 3):
            raise DataError(f"folder: channels is 1 (grey) or 3 (RGB); got {self.channels}")
        if len(self.background) != 3 or not all(0 <= value <= 255 for value in self.background):
            raise DataError(
                f"folder: background is three values from 0 to 255; got {tuple(self.background)}"
            )
        if self.size is None and self.resize:
            raise DataError(
                "folder: size: null takes images as they are, so it needs resize: false"
            )
        if self.resize not in (True, False, "processor"):
            raise DataError(
                f"folder: resize must be true, false or processor; got {self.resize!r:.60}"
            )
        if self.size is not None and self.size < 1:
            raise DataError(f"folder: size is the side of an image, at least 1; got {self.size}")

    def _by_split(self, files: list[Path], folders: dict[Split, Path]) -> dict[Split, list[Path]]:
        """Returns the files of each split, given the splits that have a folder."""
        found: dict[Split, list[Path]] = {"train": files, "val": [], "test": []}
        if folders:
            found = {
                split: [f for f in files if split in folders and f.is_relative_to(folders[split])]
                for split in SPLITS
            }
            others = sorted(set(files) - set().union(*found.values()))
            if others:
                names = ", ".join(folder.name for folder in folders.values())
                more = f" and {len(others) - 1:,} more" if len(others) > 1 else ""
                raise DataError(
                    f"{self.root} has split folders ({names}), so every image belongs in one for "
                    f"train, val or test: move {others[0]}{more} there, or rename {names} if it "
                    "is no split"
                )
        fractions: dict[Split, float] = {"test": self.test_fraction, "val": self.val_fraction}
        fractions = {split: f for split, f in fractions.items() if f and split not in folders}
        n = len(found["train"])
        for split, fraction in fractions.items():
            train = found["train"]
            count = min(math.ceil(fraction * n), len(train))
            rest, held = holdout(len(train), count, self.seed)
            found["train"], found[split] = [train[i] for i in rest], [train[i] for i in held]
        some: list[Split] = ["train"] if sum(fractions.values()) < 1 else []
        wanted = [*some, *fractions]
        if n and not all(found[split] for split in wanted):
            self.shortage = self._shortage(n, wanted, folders.get("train", Path(self.root)))
        return found

    def _shortage(self, n: int, wanted: list[Split], place: Path) -> str:
        """Returns why n images do not suffice for the wanted splits."""
        if n < len(wanted):
            return (
                f"{place} holds {plural(n, 'image')}, but {len(wanted)} are needed, one each for "
                f"{', '.join(wanted[:-1])} and {wanted[-1]}; add images, or set a fraction to 0"
            )
        return (
            f"{place} holds {plural(n, 'image')}, of which val_fraction {self.val_fraction} and "
            f"test_fraction {self.test_fraction}, rounded up, leave a split empty; add images, "
            "or choose smaller fractions"
        )

    def _by_class(self, files: list[Path], depth: int) -> dict[Path, str]:
        """Returns the class folder of every file, or nothing where there are none.

        Arguments:
            files: All files.
            depth: How many folders below the root the class folders lie.
        """
        parents = {f: f.relative_to(self.root).parts[depth:-1] for f in files}
        without = [f for f, parts in parents.items() if not parts]
        if without and len(without) < len(files):
            raise DataError(
                f"{self.root}: either all images or none lie in class folders; {len(without)} of "
                f"{len(files)} do not, such as {without[0]}"
            )
        return {f: parts[0] for f, parts in parents.items() if parts}

    def listing(self) -> dict[Split, list[str]]:
        """Returns the names of each split's files below the root, known before they are read."""
        return {
            split: [file.relative_to(self.root).as_posix() for file in files]
            for split, files in self._files.items()
        }

    def _advise_of_splits(self, files: list[Path]) -> None:
        """Warns of folders with names of splits that lie in class folders."""
        parts = [file.relative_to(self.root).parts[:-1] for file in files]
        inner = {
            Path(*p[:2]).as_posix() for p in parts if len(p) > 1 and p[1].lower() in SPLIT_NAMES
        }
        if inner:
            advise(
                f"{self.root}: only folders directly in it are splits; {', '.join(sorted(inner))} "
                "count as parts of a class"
            )

    def load(self) -> dict[Split, ImageSet]:
        files = [file for split in SPLITS for file in self._files[split]]
        shape = (len(files), *self.shape)
        if self.cache is None:
            images = torch.empty(shape, dtype=torch.uint8)
            self._read(files, images)
        else:
            fill = partial(self._read, files)
            images = mapped(Path(self.cache), self._digest(files), shape, fill)
        names = [file.relative_to(self.root).as_posix() for file in files]
        labels = None
        if self.classes:
            label_of = {name: label for label, name in enumerate(self.classes)}
            labels = torch.tensor([label_of[self._class_of[file]] for file in files])
        splits, start = {}, 0
        for split in SPLITS:  # views of one tensor
            part = slice(start, start := start + len(self._files[split]))
            labels_of_part = None if labels is None else labels[part]
            splits[split] = ImageSet(images[part], labels_of_part, names[part])
        return splits

    def _digest(self, files: list[Path]) -> str:
        """Returns a digest of what the images are made from, in hexadecimal digits."""
        digest = hashlib.sha256(repr((self.shape, self.resize, tuple(self.background))).encode())
        for file in files:
            about = file.stat()
            name = file.relative_to(self.root).as_posix()
            digest.update(f"\n{name!r} {about.st_size} {about.st_mtime_ns}".encode())
        return digest.hexdigest()

    def _read(self, files: list[Path], images: Tensor) -> None:
        """Reads files into images (N, C, H, W); raises PixelarError for unusable ones."""
        wrong: list[str] = []
        notices: list[str] = []
        read = partial(
            read_image,
            shape=self.shape,
            resize=self.resize,
            background=self.background,
            notice=notices.append,
        )
        progress = tqdm(files, "reading images", leave=False, disable=len(files) <= MANY)
        for i, file in enumerate(progress):
            try:
                images[i] = read(file)
            except PixelarError as error:
                wrong.append(str(error))
        if wrong:
            more = [f"and {len(wrong) - REPORTED} more"] if len(wrong) > REPORTED else []
            listed = "\n  ".join(wrong[:REPORTED] + more)
            raise DataError(
                f"{len(wrong)} of {plural(len(files), 'image')} cannot be used:\n  {listed}"
            )
        if notices:
            others = len(notices) - 1
            advise(notices[0] + (f", as for {plural(others, 'other file')}" if others else ""))
