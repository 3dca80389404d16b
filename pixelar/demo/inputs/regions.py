"""The region to redraw: a predefined one of a picture, or what was painted over."""

import torch
from torch import Tensor

from pixelar.errors import ConfigError, did_you_mean
from pixelar.sampling.regions import known_region

__all__ = ["CHOICES", "PAINTED", "known_pixels"]

PAINTED = "Painted"
KEPT = {
    "Bottom half": "top",
    "Right half": "left",
    "Centre box": "frame",
    "Every other row": "alternate",
}
CHOICES = (*KEPT, PAINTED)


def known_pixels(region: str, paint: Tensor) -> Tensor:
    """Returns which pixels are known, bool with shape (1, H, W).

    Arguments:
        region: One of `CHOICES`, the part to redraw unless something was painted over.
        paint: Which pixels were painted over, with shape (1, H, W).

    Example:
        >>> known_pixels("Right half", torch.zeros(1, 1, 4, dtype=torch.bool))
        tensor([[[ True,  True, False, False]]])
    """
    if region == PAINTED or bool(paint.any()):
        return ~paint
    if region not in KEPT:
        raise ConfigError(f"region: {did_you_mean(str(region), CHOICES)}")
    return known_region(KEPT[region], *torch.Size(paint.shape[1:]))
