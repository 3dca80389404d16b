"""Named regions of an image that are known while the rest is completed."""

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["REGIONS", "known_region"]


def _rows(height: int, width: int) -> Tensor:
    return torch.arange(height)[:, None].expand(height, width)


def _columns(height: int, width: int) -> Tensor:
    return torch.arange(width).expand(height, width)


def _frame(height: int, width: int) -> Tensor:
    top, left = height // 4, width // 4
    known = torch.ones(height, width, dtype=torch.bool)
    known[top : height - top, left : width - left] = False
    return known


REGIONS: dict[str, Callable[[int, int], Tensor]] = {
    "top": lambda h, w: _rows(h, w) < h // 2,
    "bottom": lambda h, w: _rows(h, w) >= h // 2,
    "left": lambda h, w: _columns(h, w) < w // 2,
    "right": lambda h, w: _columns(h, w) >= w // 2,
    "frame": _frame,  # all but a box in the centre
    "alternate": lambda h, w: _rows(h, w) % 2 == 0,  # every other row
    "dots": lambda h, w: (_rows(h, w) % 3 == 1) & (_columns(h, w) % 3 == 1),  # one in nine
}


def known_region(name: str, height: int, width: int) -> Tensor:
    """Returns which pixels are known, bool with shape (1, H, W), for a name in `REGIONS`.

    Example:
        >>> known_region("left", 1, 4)
        tensor([[[ True,  True, False, False]]])
    """
    return REGIONS[name](height, width).clone()[None]
