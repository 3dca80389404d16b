"""Drawing images: from nothing, from a known part, or as a film of the canvas while it fills.

Every symbol is drawn by inverting its distribution function at one uniform number. The numbers of
an image depend on the seed and on the image's number alone, so a seed and a number give one image,
in whatever batch it is drawn.
"""

import math
from collections.abc import Iterator
from typing import TypedDict, Unpack

import torch
from torch import Tensor
from tqdm import tqdm

from pixelar.errors import PixelarError
from pixelar.model import PixelModel, evaluating
from pixelar.seeds import mix
from pixelar.unroll import unroll

__all__ = ["Drawing", "complete", "is_prefix", "known_symbols", "sample", "stream", "temper"]


class Drawing(TypedDict, total=False):
    """How symbols are drawn.

    Attributes:
        temperature: Divides the log-probabilities; 0 takes the most probable level. Default: 1.
        top_k: Keeps the k most probable levels.
        top_p: Keeps the most probable levels that together reach this probability.
        seed: Gives the same images again; None draws new ones.
        progress: Whether to show a progress bar.
    """

    temperature: float
    top_k: int | None
    top_p: float | None
    seed: int | None
    progress: bool


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
    return complete(model, blank, torch.zeros(1, 1, 1), labels, **options)


def complete(
    model: PixelModel,
    images: Tensor,
    known: Tensor,
    labels: Tensor | None = None,
    **options: Unpack[Drawing],
) -> Tensor:
    """Draws the unknown part of images.

    Exact where the known sites come first in the model's scan (`is_prefix`). Elsewhere the known
    pixels are clamped: later known pixels do not influence earlier unknown ones, so what is drawn
    does not follow the exact conditional distribution.

    Arguments:
        model: The model.
        images: uint8 images with shape (B, C, H, W); what the unknown part holds is ignored.
        known: Which pixels are known, with a shape that broadcasts to (B, C, H, W).
        labels: Classes with shape (B,), for a model that is conditioned on them.
        options: As in `Drawing`.

    Returns:
        uint8 images with shape (B, C, H, W); known pixels are those of `images`, as the model sees
        them.
    """
    *_, last = stream(model, images, known, labels, every=model.scan.sites, **options)
    return last


@torch.no_grad()
def stream(
    model: PixelModel,
    images: Tensor,
    known: Tensor,
    labels: Tensor | None = None,
    *,
    every: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
    progress: bool = False,
) -> Iterator[Tensor]:
    """Draws as `complete` does, and yields the images every so many sites while they fill.

    Unknown pixels that are not yet drawn are those of `images`. The images yielded last are
    complete. Closing the iterator ends the work.
    """
    check_options(temperature, top_k, top_p)
    if every < 1:
        raise PixelarError(f"every must be at least 1 site; got {every}")
    seed = int(torch.randint(2**62, ())) if seed is None else seed
    with evaluating(model):
        given = model.encode(images)
        mask = known_symbols(model, known, given)
        keep = model.scan.gather(mask)  # (B, T, S)
        kept, noise = model.scan.gather(given), uniforms(model, len(images), seed)

        def choose(log_pmf: Tensor, t: int, s: int) -> Tensor:
            drawn = invert(temper(log_pmf, temperature, top_k, top_p), noise[:, t, s])
            return torch.where(keep[:, t, s], kept[:, t, s], drawn)

        canvas, start = given.clone(), model.scan.prefix(mask)
        walk = unroll(model, canvas, choose, labels, start=start)
        total = model.scan.sites - start
        for count, _ in enumerate(
            tqdm(walk, total=total, unit="site", desc="drawing", disable=not progress), 1
        ):
            if count % every == 0 and count < total:
                yield model.quantizer.decode(canvas).cpu()
        yield model.quantizer.decode(canvas).cpu()


def known_symbols(model: PixelModel, known: Tensor, x: Tensor) -> Tensor:
    """Returns a mask of pixels as a mask of the symbols x, with shape (B, C, H, W)."""
    try:
        mask = known.to(model.device, torch.bool).expand(len(x), *model.image_shape)
    except RuntimeError:
        raise PixelarError(
            f"known has shape {tuple(known.shape)}, which does not broadcast to "
            f"{(len(x), *model.image_shape)} (images, channels, height, width)"
        ) from None
    if mask.shape != x.shape:  # a palette's token is known where the whole pixel is
        mask = mask.all(1, keepdim=True)
    return mask


@torch.no_grad()
def is_prefix(model: PixelModel, known: Tensor, images: Tensor) -> bool:
    """Returns whether the known sites come first in the scan, so that completion is exact."""
    mask = known_symbols(model, known, model.encode(images))
    return bool(model.scan.prefix(mask) == model.scan.gather(mask).any(-1).sum(1).max())


def check_options(temperature: float, top_k: int | None, top_p: float | None) -> None:
    """Raises PixelarError for options that describe no distribution."""
    if not 0 <= temperature < math.inf:
        raise PixelarError(f"temperature must be 0 or more, and finite; got {temperature}")
    if top_k is not None and top_k < 1:
        raise PixelarError(f"top_k must be at least 1; got {top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise PixelarError(f"top_p must be above 0 and at most 1; got {top_p}")


def temper(
    log_pmf: Tensor, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> Tensor:
    """Returns the probabilities, in float64 with shape (B, V), that symbols are drawn from."""
    logits = log_pmf.double()
    if temperature == 0:
        top_k = 1
    else:
        logits = (logits - logits.amax(-1, keepdim=True)) / temperature
    if top_k is not None:
        # ranks rather than values, so that exactly k levels stay even where some are equal
        ranks = logits.argsort(dim=-1, descending=True, stable=True).argsort(-1)
        logits = logits.masked_fill(ranks >= top_k, -torch.inf)
    probabilities = logits.softmax(-1)
    if top_p is not None:
        ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
        before = ordered.cumsum(-1) - ordered  # the mass of more probable levels
        dropped = (before >= top_p).gather(-1, order.argsort(-1))
        probabilities = probabilities.masked_fill(dropped, 0)
        probabilities = probabilities / probabilities.sum(-1, keepdim=True)
    return probabilities


def invert(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """Returns the levels (B,) at which the cumulative masses of (B, V) pass uniforms (B,)."""
    cumulative = probabilities.cumsum(-1)
    target = uniform[:, None] * cumulative[:, -1:]
    # the first level whose cumulative mass exceeds the target: never one of probability zero
    return (cumulative <= target).sum(-1).clamp_max(probabilities.shape[-1] - 1)


def uniforms(model: PixelModel, n: int, seed: int) -> Tensor:
    """Returns a uniform number in [0, 1) for each symbol of n images, with shape (n, T, S)."""
    shape = (model.scan.sites, model.scan.symbols)
    rows = [
        torch.rand(
            shape, generator=torch.Generator().manual_seed(mix(seed, k)), dtype=torch.float64
        )
        for k in range(n)
    ]
    return torch.stack(rows).to(model.device) if rows else torch.zeros(0, *shape)
