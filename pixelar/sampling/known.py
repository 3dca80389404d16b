"""Which symbols of an image are known, and whether they come first in the model's order."""

from torch import Tensor

from pixelar.common.arrays import Array, as_mask
from pixelar.errors import DataError
from pixelar.model import PixelModel
from pixelar.scan import Scan

__all__ = ["come_first", "known_symbols", "same_sites_are_known"]


def known_symbols(model: PixelModel, known: Array, x: Tensor) -> Tensor:
    """Converts a mask of pixels to a mask of the symbols x, with shape (B, C, H, W)."""
    given = as_mask(known)
    try:
        mask = given.to(model.device).expand(len(x), *model.image_shape)
    except RuntimeError:
        raise DataError(
            f"known has shape {tuple(given.shape)}, which does not broadcast to "
            f"{(len(x), *model.image_shape)} (images, channels, height, width)"
        ) from None
    if mask.shape != x.shape:  # a palette's token is known where the whole pixel is
        mask = mask.all(1, keepdim=True)
    return mask


def come_first(scan: Scan, mask: Tensor) -> bool:
    """Returns whether the known symbols of a mask (B, C, H, W) come first in a scan."""
    return bool((scan.gather(mask).any(-1).sum(1) <= scan.prefix(mask)).all())


def same_sites_are_known(scan: Scan, mask: Tensor) -> bool:
    """Returns whether all images have the same known sites, each known in full or not at all.

    Then there is an order in which the known sites come first.
    """
    by_site = scan.gather(mask)  # (B, T, S)
    return bool((by_site == by_site[:1, :, :1]).all())
