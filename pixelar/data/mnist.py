"""MNIST: handwritten digits.

References:
    Gradient-Based Learning Applied to Document Recognition (LeCun et al., 1998)
    http://yann.lecun.com/exdb/publis/pdf/lecun-01a.pdf
"""

from pixelar.data.torchvision_sets import TorchvisionData

__all__ = ["MNIST"]


class MNIST(TorchvisionData):
    """60,000 digits for training and 10,000 for testing, with shape (1, 28, 28).

    Arguments: see `TorchvisionData`; the files lie in `root/MNIST/raw`.

    Example:
        >>> MNIST(root="data", val_images=5000).shape
        (1, 28, 28)
    """

    name = "mnist"
    shape = (1, 28, 28)
    classes = tuple("0123456789")
    source = "MNIST"
    folder = "MNIST/raw"
