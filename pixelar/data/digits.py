"""Handwritten digits, 8×8, that come with scikit-learn: no download.

References:
    Optical Recognition of Handwritten Digits (Alpaydin and Kaynak, 1998)
    https://archive.ics.uci.edu/dataset/80
"""

import importlib.util
from pathlib import Path

import numpy as np
import torch

from pixelar.data.base import ImageData, ImageSet, Split, holdout
from pixelar.errors import DataError

__all__ = ["Digits"]


class Digits(ImageData):
    """1,797 digits with shape (1, 8, 8) and 17 grey levels.

    The levels 0 … 16 become round(255·v/16), which are 17 different values: nothing is lost.

    Arguments:
        test_images: How many images are held out for testing.
        val_images: How many of the rest are held out for validation.
        seed: Seed of both draws.

    Example:
        >>> Digits().split("test").images.shape
        torch.Size([360, 1, 8, 8])
    """

    name = "digits"
    shape = (1, 8, 8)
    classes = tuple("0123456789")
    preprocessing = "grey levels v of 0..16 scaled to round(255 v / 16)"

    def __init__(self, *, test_images: int = 360, val_images: int = 100, seed: int = 0) -> None:
        self.test_images, self.val_images, self.seed = test_images, val_images, seed

    def load(self) -> dict[Split, ImageSet]:
        values = torch.from_numpy(np.loadtxt(_file(), delimiter=","))  # (N, 65), the label last
        pixels = values[:, :-1].mul(255 / 16).round().to(torch.uint8).view(-1, *self.shape)
        labels = values[:, -1].long()
        digits = ImageSet(pixels, labels, [f"digits/{i}" for i in range(len(pixels))])
        rest, test = holdout(len(digits), self.test_images, self.seed)
        train, val = holdout(len(rest), self.val_images, self.seed)
        return {
            "train": digits.subset(rest[train]),
            "val": digits.subset(rest[val]),
            "test": digits.subset(test),
        }


def _file() -> Path:
    """Returns the file of scikit-learn that holds the digits, found without importing it, which
    takes longer than torch.
    """
    found = importlib.util.find_spec("sklearn")
    if found is None or found.origin is None:
        raise DataError("data digits is part of scikit-learn: pip install scikit-learn")
    return Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz"
