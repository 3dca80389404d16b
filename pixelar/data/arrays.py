"""Arrays in a .npy, .npz or .pt file: codes, scans, spectra, spins, or pictures.

images.npy                                     one array, split by `val` and `test`
codes.npz    images, labels                    likewise, with classes
breast.npz   train_images, train_labels,       split as the names say: the layout of MedMNIST
             val_images, …, test_labels
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from pixelar.data.array_files import Layout, as_channels_first, as_integers, read_arrays
from pixelar.data.base import SPLITS, ImageData, ImageSet, Split, holdout
from pixelar.errors import DataError, did_you_mean

__all__ = ["Arrays"]


class Arrays(ImageData):
    """Images of any integers in a .npy, .npz or .pt file, whose type is kept.

    If the file has arrays whose names begin with train_, val_ and test_, these are the splits;
    otherwise `val` and `test` of the images are held out. A .npy file is mapped into memory, so it
    may be larger than memory if it is split by order.

    Arguments:
        path: The file.
        layout: The order of the axes: NHW, or NHWC or NCHW with channels. It has to be given if
            there are four axes.
        images: The name of the images in the file.
        labels: The name of their class numbers, which the file need not have, or a .npy file of
            them.
        classes: The names of the classes by number; None for the numbers themselves.
        val: The share of the images held out for validation.
        test: The share of the images held out for testing.
        split_by: "random": images are held out at random, and each split is copied; "order": the
            last ones are held out.
        seed: Seed of the random choice.
    """

    name = "arrays"
    preprocessing = "integers as they are in the file"

    def __init__(
        self,
        *,
        path: str,
        layout: Layout | None = None,
        images: str = "images",
        labels: str = "labels",
        classes: Sequence[str] | None = None,
        val: float = 0.1,
        test: float = 0.1,
        split_by: Literal["random", "order"] = "random",
        seed: int = 0,
    ) -> None:
        if not (val >= 0 and test >= 0 and val + test <= 1):
            raise DataError(
                "arrays: val and test are shares of the images, which add up to at most 1; got "
                f"{val} and {test}"
            )
        if split_by not in ("random", "order"):
            raise DataError(f"split_by: {did_you_mean(str(split_by), ('random', 'order'))}")
        self.path, self.layout = Path(path), layout
        self.val, self.test, self.split_by, self.seed = val, test, split_by, seed
        arrays = read_arrays(self.path)
        if labels.endswith(".npy"):
            arrays["labels"] = read_arrays(Path(labels))["images"]
            labels = "labels"
        named = [f"{split}_" for split in SPLITS if f"{split}_{images}" in arrays]
        if not named and images not in arrays:
            raise DataError(f"{path}: images: {did_you_mean(images, arrays)}")
        # by the prefix of their names
        self._images, self._labels = dict[str, Tensor](), dict[str, Tensor | None]()
        for prefix in named or [""]:
            called = f"{path}, {prefix}{images}"
            given = as_integers(arrays[prefix + images], called)
            self._images[prefix] = as_channels_first(given, layout, called)
            numbers = arrays.get(prefix + labels)
            own = None if numbers is None else as_integers(numbers, f"{path}, {prefix}{labels}")
            self._labels[prefix] = own
        if labels != "labels" and not any(own is not None for own in self._labels.values()):
            raise DataError(f"{path}: labels: {did_you_mean(labels, arrays)}")
        first = next(iter(self._images.values()))
        self.shape, self.dtype = (first.shape[1], first.shape[2], first.shape[3]), first.dtype
        self.classes = self._name_classes(classes)

    def _name_classes(self, names: Sequence[str] | None) -> Sequence[str] | None:
        """Checks the labels, and returns the names of their classes; None if there are none."""
        given = {prefix: labels for prefix, labels in self._labels.items() if labels is not None}
        if not given:
            return None
        if len(given) < len(self._labels):
            raise DataError(f"{self.path}: some splits have labels, and others have none")
        for prefix, labels in given.items():
            images = len(self._images[prefix])
            if labels.numel() != images or len(labels) != images:
                raise DataError(
                    f"{self.path}: {images} images need one class number each; {prefix}labels have "
                    f"shape {tuple(labels.shape)}"
                )
            given[prefix] = labels.flatten().long()
            if images and int(given[prefix].min()) < 0:
                raise DataError(f"{self.path}: {prefix}labels hold a class below 0")
        self._labels.update(given)
        count = max(int(labels.max()) + 1 for labels in given.values() if len(labels))
        if names is not None and len(names) < count:
            raise DataError(
                f"classes: {self.path} has labels up to {count - 1}, but only {len(names)} classes "
                "are named"
            )
        return [str(number) for number in range(count)] if names is None else [*names]

    def load(self) -> dict[Split, ImageSet]:
        if "" not in self._images:
            empty = next(iter(self._images.values()))[:0]
            return {split: self._part(f"{split}_", slice(None), empty) for split in SPLITS}
        images = len(self._images[""])
        val, test = round(self.val * images), round(self.test * images)
        if self.split_by == "order":
            ends = images - val - test, images - test, images
            rows: list[slice | Tensor] = [slice(0, ends[0]), slice(ends[0], ends[1])]
            rows.append(slice(ends[1], ends[2]))
        else:
            rest, tested = holdout(images, test, self.seed)
            trained, validated = holdout(len(rest), val, self.seed)
            rows = [rest[trained], rest[validated], tested]
        return {split: self._part("", chosen) for split, chosen in zip(SPLITS, rows, strict=True)}

    def _part(self, prefix: str, rows: slice | Tensor, default: Tensor | None = None) -> ImageSet:
        """Returns some of the images whose arrays have a prefix; a slice of them is not copied."""
        images, labels = self._images.get(prefix, default), self._labels.get(prefix)
        assert images is not None
        numbers = torch.arange(len(images))[rows].tolist()
        names = [f"{self.path.name}/{prefix}{number}" for number in numbers]
        if labels is None and self.classes is not None:
            labels = torch.zeros(0, dtype=torch.long)  # of a split that the file does not have
        return ImageSet(images[rows], None if labels is None else labels[rows], names)
