"""The record of a run's data: how it was prepared and split, and which images it was trained on.

    RUN/        data.json        the data set, its arguments, the number and a digest of each split
    RUN/model/  trained_on.bin   a digest of 8 bytes of each training image's pixels, sorted

A digest is of the 8-bit image that the model takes, so that a copy under another name, in another
format or of another size has the same digest if it is resized to the same pixels. Of more than a
million training images, only the smallest digests are kept: at most 8 MB.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from pixelar.common.files import read_bytes, read_object, replacing
from pixelar.data import DATASETS, Folder
from pixelar.data.base import SPLITS, ImageData, ImageSet, compact
from pixelar.errors import DataError, PixelarError

__all__ = ["DataRecord", "copy_record", "image_digests", "read_record", "record_of"]

FORMAT = 1
MOST_DIGESTS = 1_000_000
PATHS = ("root", "cache")  # arguments that are paths


@dataclass(frozen=True)
class DataRecord:
    """The data of a run.

    Attributes:
        kind: The name of the data set's class.
        name: Its name in `DATASETS`, or None for a data set from outside of pixelar.
        arguments: Its arguments; paths are absolute.
        splits: By split, its number of "images" and their "digest".
        trained_on: Sorted digests of the training images, uint64 with shape (N,), of the
            run itself and of the runs that it began with.
        complete: Whether these are the digests of all training images.
    """

    kind: str
    name: str | None
    arguments: dict[str, Any]
    splits: dict[str, dict[str, Any]]
    trained_on: np.ndarray
    complete: bool = True

    @property
    def images(self) -> int:
        """The number of images in all splits."""
        return sum(split["images"] for split in self.splits.values())

    def open(
        self,
        root: str | None = None,
        *,
        download: bool = False,
        trust: Mapping[str, type] | None = None,
    ) -> ImageData:
        """Returns the data set, prepared and split as in the run.

        Arguments:
            root: The folder, or the file of arrays, where it is now; None for the recorded one.
            download: Whether to download what is missing.
            trust: The classes from outside of pixelar that may be built, by name.

        Raises:
            PixelarError: If it is a data set from outside of pixelar that is not trusted, or it
                cannot be read.
        """
        make: Any = DATASETS.get(self.name or "") or self._trusted(trust or {})
        # a record is untrusted: opening it neither writes files nor downloads any
        arguments = {k: v for k, v in self.arguments.items() if k not in ("cache", "download")}
        arguments |= {"download": True} if download and "download" in self.arguments else {}
        place = "path" if "path" in self.arguments else "root"
        arguments |= {} if root is None else {place: root}
        try:
            data: ImageData = make(**arguments)
        except (PixelarError, TypeError) as error:
            raise DataError(
                f"the run's data cannot be read: {error}; if it is elsewhere now, name its folder "
                "with -d"
            ) from error
        return data

    def _trusted(self, trust: Mapping[str, type]) -> type[ImageData]:
        for kind in trust.values():
            full = f"{kind.__module__}.{kind.__qualname__}"
            if full == self.kind and issubclass(kind, ImageData):
                return kind
        raise DataError(
            f"the run's data is {self.kind}, which is not part of pixelar: if you trust its code, "
            f"add --trust {self.kind}, or name a data set (pixelar list) or a folder of images by "
            "-d"
        )

    def is_of(self, root: Path) -> bool:
        """Returns whether a folder is the run's: at the same path, or with the same images."""
        if self.name != "folder":
            return False
        if root.resolve() == Path(self.arguments["root"]).resolve():
            return True
        try:
            data = self.open(str(root))
            assert isinstance(data, Folder)
            counts = {split: len(names) for split, names in data.listing().items()}
            if counts != {split: entry["images"] for split, entry in self.splits.items()}:
                return False
            return _splits(data) == self.splits
        except PixelarError:
            return False  # reading it reports what is wrong

    def same_split(self, images: ImageSet, split: str) -> bool:
        """Returns whether images are exactly those of a split of the run, in the same order."""
        return self.splits.get(split) == _digest_of(images)

    def count_trained(self, images: Tensor) -> int:
        """Returns how many of some images (N, C, H, W) are training images, copies included; a
        lower bound where the digests are not complete.
        """
        return int(np.isin(image_digests(images), self.trained_on).sum())

    def joined(self, other: "DataRecord | None") -> "DataRecord":
        """Returns the record with the training images of another run as well."""
        if other is None:
            return self
        digests = np.union1d(self.trained_on, other.trained_on)
        complete = self.complete and other.complete and len(digests) <= MOST_DIGESTS
        return replace(self, trained_on=digests[:MOST_DIGESTS], complete=complete)

    def save(self, folder: Path) -> None:
        """Writes `data.json` and `trained_on.bin`."""
        content = {
            "format": FORMAT,
            "kind": self.kind,
            "name": self.name,
            "arguments": self.arguments,
            "splits": self.splits,
            "complete": self.complete,
        }
        with (
            replacing(folder / "data.json") as text,
            replacing(folder / "trained_on.bin") as digests,
        ):
            text.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
            digests.write_bytes(self.trained_on.astype("<u8").tobytes())


def record_of(data: ImageData) -> DataRecord:
    """Returns the record of a data set that is about to be trained on."""
    kind = type(data)
    name = next((name for name, known in DATASETS.items() if known is kind), None)
    arguments = data.arguments()
    for key in PATHS:
        if isinstance(arguments.get(key), str):
            arguments[key] = str(Path(arguments[key]).resolve())
    digests = np.unique(image_digests(data.split("train").images))
    return DataRecord(
        kind=kind.__name__ if name else f"{kind.__module__}.{kind.__qualname__}",
        name=name,
        arguments=arguments,
        splits=_splits(data),
        trained_on=digests[:MOST_DIGESTS],
        complete=len(digests) <= MOST_DIGESTS,
    )


def read_record(folder: Path) -> DataRecord | None:
    """Returns the record in the folder of a run or a model, or None where there is none.

    Raises:
        PixelarError: If it is damaged.
    """
    file = folder / "data.json"
    if not file.is_file():
        return None
    content, digests = read_object(file), read_bytes(folder / "trained_on.bin")
    forms = {"kind": str, "arguments": dict, "splits": dict, "complete": bool}
    whole = all(isinstance(content.get(key), form) for key, form in forms.items())
    if not (
        whole
        and content.get("format") == FORMAT
        and isinstance(content.get("name"), str | None)
        and all(isinstance(content["arguments"].get(key), str | None) for key in PATHS)
        and all(_is_split(entry) for entry in content["splits"].values())
        and len(digests) % 8 == 0
        and len(digests) <= 8 * MOST_DIGESTS
    ):
        raise DataError(
            f"{file} and trained_on.bin are not a record of a run's data that this version reads; "
            "move them away to go on without it"
        )
    return DataRecord(
        **{key: content[key] for key in (*forms, "name")},
        trained_on=np.frombuffer(digests, "<u8").astype(np.uint64),
    )


def copy_record(source: Path, target: Path) -> None:
    """Copies the record of a run into a model folder, where there is one."""
    record = read_record(source)
    if record is not None:
        record.save(target)


def image_digests(images: Tensor) -> np.ndarray:
    """Returns a digest of each image's pixels, uint64 with shape (N,).

    Arguments:
        images: Images with shape (N, C, H, W); their type does not matter.
    """
    shape = repr(tuple(images.shape[1:])).encode()
    digests = [
        hashlib.blake2b(compact(image).contiguous().numpy().data, digest_size=8, key=shape).digest()
        for image in images
    ]
    return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)


def _splits(data: ImageData) -> dict[str, dict[str, Any]]:
    data.prepare()
    return {split: _digest_of(data.part(split)) for split in SPLITS}


def _digest_of(images: ImageSet) -> dict[str, Any]:
    """Returns the number of images and a digest of their pixels and labels."""
    digest = hashlib.sha256(image_digests(images.images).tobytes())
    if images.labels is not None:
        digest.update(images.labels.numpy().astype("<i8").data)
    return {"images": len(images), "digest": digest.hexdigest()}


def _is_split(entry: object) -> bool:
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("images"), int)
        and isinstance(entry.get("digest"), str)
    )
