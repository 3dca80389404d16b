"""Log-probabilities of all sites, without holding the parameters of all images at once.

A head of 256 levels has more parameters than the rest of a net has features: 3·32·32 sites take 3
MB an image, and the softmax and its gradient several times as much. So the features of a large
batch are divided into parts, by image:

    features ──┬── read ── params (b, T, P) ── log_prob ──┬── (B, T)
               ├── read ── params (b, T, P) ── log_prob ──┤
               └── read ── params (b, T, P) ── log_prob ──┘

For gradients a part is computed a second time, so that the parameters of only one part exist at any
moment.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

__all__ = ["Score", "add_sites", "by_parts", "images_at_once", "mean", "standard_error"]

Score = Callable[[Tensor, Tensor], Tensor]

# bytes of parameters in a part: about what stays in a processor's cache, or keeps a GPU busy
PART = {"cpu": 8 << 20, "cuda": 128 << 20}
# up to this many bytes, saving memory is not worth computing them twice
WHOLE = {"cpu": 32 << 20, "cuda": 512 << 20}


def add_sites(log_probs: Tensor) -> Tensor:
    """Returns the sums (B,) of the log-probabilities (B, T) of sites, in their data type.

    They are added up in float64, where the device has it, so that no site is lost among thousands.
    """
    if log_probs.device.type == "mps":
        return log_probs.sum(1)
    return log_probs.sum(1, dtype=torch.float64).to(log_probs.dtype)


def images_at_once(batch: int, size: int, device: str, *, twice: bool) -> int:
    """Returns how many images of a batch form a part: all, where parts do not pay off.

    Arguments:
        batch: B, the number of images.
        size: The bytes that the parameters of an image take.
        device: The type of device.
        twice: Whether the parts are computed twice, for gradients.
    """
    kind = "cpu" if device == "cpu" else "cuda"
    part = PART[kind]
    whole = WHOLE[kind] if twice else part
    if batch * size <= whole:
        return batch
    parts = -(-batch // max(1, part // size))
    return -(-batch // parts)  # all parts have the same size, but for the last


def by_parts(score: Score, features: Tensor, symbols: Tensor, size: int) -> Tensor:
    """Returns log-probabilities with shape (B, T), computed by parts of a batch where that pays
    off.

    Arguments:
        score: Computes them from features with shape (b, …) and symbols with shape (b, T, S).
        features: Features with shape (B, …).
        symbols: Symbols with shape (B, T, S).
        size: The bytes that the parameters of an image take.
    """
    if torch.compiler.is_exporting():  # the program is for batches of any size
        return score(features, symbols)
    twice = torch.is_grad_enabled() and features.requires_grad
    images = images_at_once(len(features), size, features.device.type, twice=twice)
    if images >= len(features):
        return score(features, symbols)
    parts = zip(features.split(images), symbols.split(images), strict=True)
    if twice:
        return torch.cat([checkpoint(score, *part, use_reentrant=False) for part in parts])
    return torch.cat([score(*part) for part in parts])


def mean(total: Tensor, images: Tensor) -> Tensor:
    """Returns the mean of the scores of images, given their sum, in float64, and their number."""
    return total / images


def standard_error(total: Tensor, squares: Tensor, images: Tensor) -> Tensor:
    """Returns the standard error of that mean, given the sum of squares as well; nan for fewer than
    two images.
    """
    variance = (squares - total.square() / images).clamp_min(0) / (images - 1)
    return (variance / images).sqrt()
