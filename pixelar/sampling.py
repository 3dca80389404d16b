"""Drawing images from nothing: completing images of which nothing is known."""

from typing import Unpack

import torch
from torch import Tensor

from pixelar.completion import complete
from pixelar.drawing import Drawing
from pixelar.model import PixelModel

__all__ = ["sample"]


def sample(
    model: PixelModel, n: int, labels: Tensor | None = None, **options: Unpack[Drawing]
) -> Tensor:
    """Draws images from the model.

    Arguments:
        model: The model.
        n: The number of images.
        labels: Classes with shape (n,), for a model that is conditioned on them.
        options: As in `Drawing`.

    Returns:
        uint8 images with shape (n, C, H, W).
    """
    blank = torch.zeros(n, *model.image_shape, dtype=torch.uint8)
    return complete(model, blank, torch.zeros(1, 1, 1), labels, method="prefix", **options)
