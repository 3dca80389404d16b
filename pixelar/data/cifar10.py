"""CIFAR-10: photographs of animals and vehicles.

References:
    Learning Multiple Layers of Features from Tiny Images (Krizhevsky, 2009)
    https://www.cs.toronto.edu/~kriz/learning-features-2009-TR.pdf
"""

from pixelar.data.torchvision_sets import TorchvisionData

__all__ = ["CIFAR10"]


class CIFAR10(TorchvisionData):
    """50,000 images for training and 10,000 for testing, with shape (3, 32, 32).

    Arguments: see `TorchvisionData`; the files lie in `root/cifar-10-batches-py`.

    Example:
        >>> CIFAR10(root="data").shape
        (3, 32, 32)
    """

    name = "cifar10"
    shape = (3, 32, 32)
    classes = (
        *("airplane", "automobile", "bird", "cat", "deer"),
        *("dog", "frog", "horse", "ship", "truck"),
    )
    source = "CIFAR10"
    folder = "cifar-10-batches-py"
