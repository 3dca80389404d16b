"""What a dataset is: three splits of images, each held as one tensor of integers.

    ImageData ── split("train") ──► ImageSet ── DataLoader ──► images (B, C, H, W), labels (B,)

An image set returns a batch by one indexing operation, so that no Python runs per image.
"""

import abc
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, TypeVar, get_args

import torch
from torch import Tensor
from torch.utils.data import Dataset

from pixelar.common.arguments import Recorded
from pixelar.common.arrays import as_grid, as_labels, narrowest, whole_number
from pixelar.errors import DataError, did_you_mean, plural
from pixelar.names import Shape

__all__ = [
    "SPLITS",
    "Batch",
    "ImageData",
    "ImageSet",
    "Split",
    "collate",
    "compact",
    "holdout",
]

Split: TypeAlias = Literal["train", "val", "test"]
Batch: TypeAlias = tuple[Tensor, Tensor | None]

T = TypeVar("T")

SPLITS: tuple[Split, ...] = get_args(Split)

AT_ONCE = 1024  # images that are read at a time


@dataclass(frozen=True, eq=False)
class ImageSet(Dataset[Batch]):
    """The images of one split.

    Batches are arguments of a model, `model(*batch)`: their labels are None where the data has
    none. Images and labels may come in any container of whole numbers, and are kept as tensors.

    Arguments:
        images: Images with shape (N, C, H, W): whole numbers, of which uint8, uint16, int32 and
            int64 are kept as they are.
        labels: Class numbers with shape (N,), or None where the data has no labels.
        names: A name for each image, unique within the dataset.
        classes: The names of the classes by number, or None where they are not known.

    Raises:
        PixelarError: If the images are not whole numbers, or shapes do not match.

    Example:
        >>> data = ImageSet(torch.zeros(3, 1, 2, 2, dtype=torch.uint8), None, ["a", "b", "c"])
        >>> images, labels = data.__getitems__([0, 2])
        >>> images.shape, labels
        (torch.Size([2, 1, 2, 2]), None)
    """

    images: Tensor
    labels: Tensor | None
    names: Sequence[str]
    classes: Sequence[str] | None = None

    def __post_init__(self) -> None:
        images = as_grid(self.images)
        labels = None if self.labels is None else as_labels(self.labels)
        if images.ndim != 4:
            raise DataError(
                "a set of images has shape (N, C, H, W) (images, channels, height, width); "
                f"got {tuple(images.shape)}"
            )
        if labels is not None and labels.shape != images.shape[:1]:
            raise DataError(
                f"{len(images)} images need labels of shape ({len(images)},), or None; "
                f"got {tuple(labels.shape)}"
            )
        if len(self.names) != len(images):
            raise DataError(f"{len(images)} images need as many names; got {len(self.names)}")
        object.__setattr__(self, "images", images)  # frozen for everyone else
        object.__setattr__(self, "labels", labels)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Batch:
        """Returns one image with shape (C, H, W) and its label with shape ()."""
        return self.images[index], None if self.labels is None else self.labels[index]

    def __getitems__(self, indices: Sequence[int] | Tensor) -> Batch:
        """Returns images with shape (B, C, H, W) and labels with shape (B,), for a DataLoader."""
        chosen = torch.as_tensor(indices, dtype=torch.long)
        return self.images[chosen], None if self.labels is None else self.labels[chosen]

    def subset(self, indices: Sequence[int] | Tensor) -> "ImageSet":
        """Returns the images at `indices`, in that order."""
        chosen = torch.as_tensor(indices, dtype=torch.long)
        names = [self.names[i] for i in chosen.tolist()]
        return ImageSet(*self.__getitems__(chosen), names, self.classes)

    def first(self, limit: int) -> "ImageSet":
        """Returns the first `limit` images, or all where there are fewer."""
        if whole_number(limit, "limit") < 1:
            raise DataError(f"limit: at least 1 image is needed; got {limit}")
        return self.subset(range(min(limit, len(self))))

    def fingerprint(self) -> str:
        """Returns the SHA-256 of shape, images and labels, in hexadecimal digits, whatever the type
        of the images.
        """
        digest = hashlib.sha256(repr(tuple(self.images.shape)).encode())
        for part in compact(self.images).split(AT_ONCE):
            digest.update(part.contiguous().numpy().data)
        if self.labels is not None:
            digest.update(self.labels.numpy().astype("<i8").data)
        return digest.hexdigest()


def compact(images: Tensor) -> Tensor:
    """Returns images in the narrowest type that holds their values, by which digests are formed."""
    if images.dtype == torch.uint8 or not images.numel():
        return images
    # by parts, since the images may be larger than memory; and as int64, since torch finds neither
    # minimum nor maximum of uint16
    ends = [(int(part.min()), int(part.max())) for part in map(Tensor.long, images.split(AT_ONCE))]
    return images.to(narrowest(min(ends)[0], max(most for _, most in ends)))


def collate(batch: T) -> T:
    """Returns the batch as it is: `ImageSet.__getitems__` has already put it together."""
    return batch


def holdout(n: int, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Holds out `count` of n items at random, as a pure function of its arguments.

    Returns:
        The sorted indices of the items that remain, with shape (n - count,), and of those held out,
        with shape (count,).
    """
    if not 0 <= count <= n:
        raise DataError(
            f"cannot hold out {count} of {plural(n, 'image')}; choose a number of at most {n}"
        )
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    return order[count:].sort().values, order[:count].sort().values


class ImageData(Recorded, abc.ABC):
    """A dataset: the shape of its images, the names of its classes, and three splits.

    The contract: shape and classes are known at construction, pixels are read at the first use;
    the splits share no image and are a pure function of the arguments, which are recorded.

    Attributes:
        name: Its name in `DATASETS`.
        shape: The shape (C, H, W) of an image.
        dtype: The type of the images: uint8, uint16, int32 or int64.
        classes: The names of the classes by label, or None where the data has no labels.
        preprocessing: How the images of the source became images of that shape and type, in words.
        shortage: Why there are too few images for all splits, in words, or "".
    """

    name: str
    shape: Shape
    dtype: torch.dtype = torch.uint8
    classes: Sequence[str] | None
    preprocessing: str
    shortage: str = ""
    _splits: dict[Split, ImageSet] | None = None

    @abc.abstractmethod
    def load(self) -> dict[Split, ImageSet]:
        """Reads all splits from the source."""

    def prepare(self) -> None:
        """Loads the images now, rather than when a split is first requested."""
        if self._splits is None:
            self._splits = {
                split: replace(images, classes=None if images.labels is None else self.classes)
                for split, images in self.load().items()
            }

    def split(self, name: Split) -> ImageSet:
        """Returns the images of a split, which has at least one."""
        if name not in SPLITS:
            raise DataError(f"split: {did_you_mean(str(name), SPLITS)}")
        self.prepare()
        assert self._splits is not None
        if not len(self._splits[name]):
            counts = ", ".join(f"{split} {len(images)}" for split, images in self._splits.items())
            raise DataError(
                self.shortage or f"{self.name} has no images to use as {name} (it has {counts})"
            )
        return self._splits[name]

    def part(self, name: Split) -> ImageSet:
        """Returns the images of a split, which may have none."""
        self.prepare()
        assert self._splits is not None
        return self._splits[name]

    def everything(self) -> ImageSet:
        """Returns the images of all splits, one after the other."""
        parts = [part for part in map(self.part, SPLITS) if len(part)]
        if len(parts) < 2:
            return parts[0] if parts else self.split("test")  # raises, since there are none
        labels = [part.labels for part in parts if part.labels is not None]
        return ImageSet(
            torch.cat([part.images for part in parts]),
            torch.cat(labels) if labels else None,
            [name for part in parts for name in part.names],
            parts[0].classes,
        )

    def describe(self) -> dict[str, Any]:
        """Describes the data in plain values, constructor arguments included.

        Raises:
            PixelarError: If an attribute is missing, or an argument cannot be recorded.
        """
        missing = [a for a in ("name", "shape", "classes", "preprocessing") if not hasattr(self, a)]
        if missing:
            raise DataError(
                f"data set {type(self).__name__} must set {', '.join(missing)}; see "
                "pixelar.data.ImageData"
            )
        return {
            "name": self.name,
            "shape": list(self.shape),
            "preprocessing": self.preprocessing,
            **self.arguments(),
        }
