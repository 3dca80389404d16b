"""Datasets: three splits of images.

To add one: write its file, and add a line here and one in `tests/test_data.py`. The Lightning
data module is in `pixelar.training.data_module`, which is not imported here as Lightning takes
seconds to load.
"""

from pixelar.data.arrays import Arrays
from pixelar.data.base import ImageData, ImageSet, Split, holdout
from pixelar.data.cifar10 import CIFAR10
from pixelar.data.digits import Digits
from pixelar.data.fashion_mnist import FashionMNIST
from pixelar.data.folder import Folder
from pixelar.data.mnist import MNIST
from pixelar.data.photos import Photos

__all__ = [
    "CIFAR10",
    "DATASETS",
    "MNIST",
    "Arrays",
    "Digits",
    "FashionMNIST",
    "Folder",
    "ImageData",
    "ImageSet",
    "Photos",
    "Split",
    "holdout",
]

DATASETS: dict[str, type[ImageData]] = {
    "digits": Digits,
    "photos": Photos,
    "mnist": MNIST,
    "fashion_mnist": FashionMNIST,
    "cifar10": CIFAR10,
    "folder": Folder,
    "arrays": Arrays,
}
