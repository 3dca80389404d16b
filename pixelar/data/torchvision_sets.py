"""What the datasets read by torchvision have in common."""

from typing import ClassVar

import torch
from torch import Tensor

from pixelar.data.base import ImageData, ImageSet, Split, holdout
from pixelar.errors import DataError

__all__ = ["TorchvisionData"]


class TorchvisionData(ImageData):
    """A dataset with a training and a test set in torchvision's own files.

    Subclasses set `source`, torchvision's class, and `folder`, what it reads below the root.

    Arguments:
        root: The folder that torchvision's files lie below, or are to be downloaded to.
        download: Whether to download what is missing.
        val_images: How many of the training images are held out for validation.
        seed: Seed of that draw.
    """

    preprocessing = "none"
    source: ClassVar[str]
    folder: ClassVar[str]

    def __init__(
        self, *, root: str, download: bool = False, val_images: int = 5000, seed: int = 0
    ) -> None:
        self.root, self.download, self.val_images, self.seed = root, download, val_images, seed

    def load(self) -> dict[Split, ImageSet]:
        development = self._read("train")
        train, val = holdout(len(development), self.val_images, self.seed)
        return {
            "train": development.subset(train),
            "val": development.subset(val),
            "test": self._read("test"),
        }

    def _read(self, part: Split) -> ImageSet:
        """Reads the training or the test set."""
        from torchvision import datasets  # takes seconds, and most commands do not need it

        where = f"{self.root}/{self.folder}"
        try:
            source = getattr(datasets, self.source)(
                self.root, train=part == "train", download=self.download
            )
        # what torchvision raises where files are missing, cut off, or of another format
        except (RuntimeError, OSError, ValueError, TypeError, AssertionError) as error:
            if self.download:
                reason = " ".join(str(error).split())
                raise DataError(f"{self.name}: the download to {where} failed: {reason}") from error
            raise DataError(
                f"{self.name}: there is no complete copy in {where}; "
                "name the folder that holds one as root (or --root), "
                "or pass download: true (or --download) to fetch it"
            ) from error
        images = self.as_images(torch.as_tensor(source.data))
        names = [f"{part}/{i}" for i in range(len(images))]
        return ImageSet(images, torch.as_tensor(source.targets), names)

    @staticmethod
    def as_images(pixels: Tensor) -> Tensor:
        """Returns torchvision's (N, H, W) or (N, H, W, C) as images with shape (N, C, H, W)."""
        if pixels.ndim == 3:
            return pixels[:, None]
        return pixels.permute(0, 3, 1, 2).contiguous()
