"""Drawing the unknown part of images, by one of three methods.

prefix      known pixels come first in the model's order: draw the rest. Exact.
particles   any mask: sequential Monte Carlo, exact as the number of particles grows.
clamp       any mask: known pixels are written over what was drawn, and that is all. Biased:
            what is drawn does not know of the known pixels that come after it.
"""

from collections.abc import Iterator
from typing import Literal, TypeAlias, Unpack, get_args

import torch
from torch import Tensor
from tqdm import tqdm

from pixelar.drawing import Drawing, check_options, invert, temper, uniforms
from pixelar.errors import PixelarError, did_you_mean
from pixelar.known import is_prefix, known_symbols
from pixelar.model import PixelModel, evaluating
from pixelar.particles import follow
from pixelar.seeds import mix
from pixelar.unroll import unroll

__all__ = ["Completing", "Method", "choose_method", "complete", "stream"]

Method: TypeAlias = Literal["auto", "prefix", "particles", "clamp"]


class Completing(Drawing, total=False):
    """How images are completed, beside how symbols are drawn.

    Attributes:
        method: "prefix", "particles" or "clamp"; "auto", the default, takes prefix where it
            applies and particles elsewhere.
        particles: The canvases of each image's population, for that method. Default: 64.
    """

    method: Method
    particles: int


def complete(
    model: PixelModel,
    images: Tensor,
    known: Tensor,
    labels: Tensor | None = None,
    **options: Unpack[Completing],
) -> Tensor:
    """Draws the unknown part of images.

    With particles, every image has a population of its own, of which one canvas is drawn;
    `posterior` returns whole populations and what they tell.

    Arguments:
        model: The model.
        images: uint8 images with shape (B, C, H, W); what the unknown part holds is ignored.
        known: Which pixels are known, with a shape that broadcasts to (B, C, H, W).
        labels: Classes with shape (B,), for a model that is conditioned on them.
        options: As in `Completing` and `Drawing`.

    Returns:
        uint8 images with shape (B, C, H, W); known pixels are those of `images`, as the model sees
        them.
    """
    *_, last = stream(model, images, known, labels, every=model.scan.sites, **options)
    return last


def stream(
    model: PixelModel,
    images: Tensor,
    known: Tensor,
    labels: Tensor | None = None,
    *,
    every: int,
    method: Method = "auto",
    particles: int = 64,
    **options: Unpack[Drawing],
) -> Iterator[Tensor]:
    """Draws as `complete` does, and yields the images every so many sites while they fill.

    Unknown pixels that are not yet drawn are those of `images`. The images yielded last are
    complete. With particles, an image on its way is the canvas that would be drawn now. Closing
    the iterator ends the work.
    """
    chosen = choose_method(model, known, images, method)
    if chosen == "particles":
        for found in follow(
            model, images, known, labels, every=every, particles=particles, **options
        ):
            yield found.draw()[:, 0]
    else:
        yield from _clamped(model, images, known, labels, every=every, **options)


def choose_method(
    model: PixelModel, known: Tensor, images: Tensor, method: Method = "auto"
) -> Literal["prefix", "particles", "clamp"]:
    """Returns the method that is used: "auto" settled, the others checked."""
    if method not in get_args(Method):
        raise PixelarError(f"method: {did_you_mean(str(method), get_args(Method))}")
    if method in ("particles", "clamp"):
        return method
    if is_prefix(model, known, images):
        return "prefix"
    if method == "prefix":
        raise PixelarError(
            "method prefix needs the known pixels to come first in the model's order "
            f"({model.scan.name}), and here some come after unknown ones; "
            "use particles (or clamp, which is biased)"
        )
    return "particles"


@torch.no_grad()
def _clamped(
    model: PixelModel,
    images: Tensor,
    known: Tensor,
    labels: Tensor | None,
    *,
    every: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
    progress: bool = False,
) -> Iterator[Tensor]:
    """Draws the unknown symbols and writes the known ones: exact where these come first."""
    check_options(temperature, top_k, top_p)
    if every < 1:
        raise PixelarError(f"every must be at least 1; got {every}")
    seed = int(torch.randint(2**62, ())) if seed is None else seed
    with evaluating(model):
        given = model.encode(images)
        mask = known_symbols(model, known, given)
        keep, kept = model.scan.gather(mask), model.scan.gather(given)  # (B, T, S)
        numbers = uniforms(kept.shape[1:], [mix(seed, k) for k in range(len(images))])
        noise = numbers.to(model.device)

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
