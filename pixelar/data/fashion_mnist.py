"""Fashion-MNIST: articles of clothing, in the format of MNIST.

References:
    Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms
    (Xiao et al., 2017)
    https://arxiv.org/abs/1708.07747
"""

from pixelar.data.torchvision_sets import TorchvisionData

__all__ = ["FashionMNIST"]


class FashionMNIST(TorchvisionData):
    """60,000 images for training and 10,000 for testing, with shape (1, 28, 28).

    Arguments: see `TorchvisionData`; the files lie in `root/FashionMNIST/raw`.

    Example:
        >>> FashionMNIST(root="data").classes[:2]
        ('T-shirt/top', 'Trouser')
    """

    name = "fashion_mnist"
    shape = (1, 28, 28)
    classes = (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    )
    source = "FashionMNIST"
    folder = "FashionMNIST/raw"
