"""Patches of the two photographs that come with scikit-learn: natural images without a download.

Each photograph, 427 high and 640 wide, is cut into three vertical bands, one per split:

    0                       448   544   640
    ├──────── train ─────────┼ val ─┼ test ┤

A patch lies inside one band, so that no pixel of a test patch is in a training patch.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pixelar.data.base import ImageData, ImageSet, Split
from pixelar.errors import DataError
from pixelar.rng import mix

__all__ = ["BANDS", "Photos"]

BANDS: dict[Split, tuple[int, int]] = {"train": (0, 448), "val": (448, 544), "test": (544, 640)}


class Photos(ImageData):
    """Patches with shape (3, size, size) at random positions of two photographs, without labels.

    Patches of one split may overlap, but no two are the same.

    Arguments:
        size: The side of a patch, 96 at most.
        train_images: How many patches are drawn for training.
        val_images: How many for validation.
        test_images: How many for testing.
        seed: Seed of the positions.

    Example:
        >>> Photos(size=16, train_images=50).split("train").images.shape
        torch.Size([50, 3, 16, 16])
    """

    name = "photos"
    classes = None
    preprocessing = (
        "patches at random places; each split has its own vertical band of the photographs"
    )

    def __init__(
        self,
        *,
        size: int = 32,
        train_images: int = 4000,
        val_images: int = 400,
        test_images: int = 400,
        seed: int = 0,
    ) -> None:
        widest = min(right - left for left, right in BANDS.values())
        if not 1 <= size <= widest:
            raise DataError(f"photos: size is the side of a patch, from 1 to {widest}; got {size}")
        self.size, self.seed = size, seed
        self.train_images, self.val_images, self.test_images = train_images, val_images, test_images
        self.shape = (3, size, size)

    def load(self) -> dict[Split, ImageSet]:
        from sklearn.datasets import load_sample_images  # here, as it takes a second to import

        source = load_sample_images()
        photos = torch.from_numpy(np.stack(source.images))  # (M, H, W, 3)
        files = [Path(file).name for file in source.filenames]
        counts = {"train": self.train_images, "val": self.val_images, "test": self.test_images}
        return {
            split: self._patches(
                photos.permute(0, 3, 1, 2), files, band, counts[split], mix(self.seed, i)
            )
            for i, (split, band) in enumerate(BANDS.items())
        }

    def _patches(
        self, photos: Tensor, files: list[str], band: tuple[int, int], count: int, seed: int
    ) -> ImageSet:
        """Draws `count` different patches of a band of photographs with shape (M, 3, H, W)."""
        left, right = band
        windows = photos[..., left:right].unfold(2, self.size, 1).unfold(3, self.size, 1)
        m, _, rows, columns = windows.shape[:4]  # (M, 3, rows, columns, size, size), a view
        places = m * rows * columns
        if not 0 <= count <= places:
            raise DataError(
                f"photos: {count} patches of size {self.size} are requested from columns {left} to "
                f"{right}, which have {places}"
            )
        order = torch.randperm(places, generator=torch.Generator().manual_seed(seed))[:count]
        photo, row, column = torch.unravel_index(order, (m, rows, columns))
        names = [
            f"{files[p]}/{i},{left + j}"
            for p, i, j in zip(photo.tolist(), row.tolist(), column.tolist(), strict=True)
        ]
        return ImageSet(windows[photo, :, row, column], None, names)
