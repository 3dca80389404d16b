"""Drawing the unknown part of images, by one of four methods.

prefix      known pixels come first in the model's order: draw the rest. Exact.
known_first any mask of whole sites, for nets that take any order: the known pixels are moved to its
            front. Exact, in that order.
particles   any mask: sequential Monte Carlo, exact as the number of particles grows.
clamp       any mask: known pixels are written over what was drawn, and that is all. Biased:
            what is drawn does not know of the known pixels that come after it.

All but particles can walk in several ways, which all give the same images.

sequential   site by site, with the net's cache.
compiled     the same in machine code, where there is some; see `schedules.numba_rows`.
wavefront    many pixels at once, for nets whose dependence allows it; see `schedules.parallel`.
fixed_point  all sites at once, or some sites ahead, again and again until nothing changes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias, Unpack, get_args

import torch
from torch import Tensor
from tqdm import tqdm

from pixelar.caches import has_waves
from pixelar.common.arrays import Array, as_images, as_mask, whole_number
from pixelar.errors import ConfigError, did_you_mean
from pixelar.kernels import numba_is_there
from pixelar.model import PixelModel, evaluating
from pixelar.model.boundary import for_models
from pixelar.rng import mix
from pixelar.sampling.draw import Draw, Drawing, seed_of, uniforms
from pixelar.sampling.known import known_symbols
from pixelar.sampling.methods import Method, choose_method, ordered
from pixelar.sampling.particles import follow
from pixelar.sampling.schedules.numba_rows import (
    can_compile,
    compiled_rows,
    require_kernel,
    tell_once,
)
from pixelar.sampling.schedules.parallel import fixed_point, looks_ahead, wavefront, waves
from pixelar.sampling.unroll import unroll

__all__ = [
    "Drawn",
    "Method",
    "Walk",
    "choose_method",
    "choose_walk",
    "complete",
    "draw_unknown",
    "stream",
]

Walk: TypeAlias = Literal["auto", "sequential", "compiled", "wavefront", "fixed_point"]
# the largest batches for which they are the quicker way, by docs/performance.md
LARGEST_WAVES = 16
LARGEST_COMPILED = 64
LARGEST_AHEAD = 8
MANY_SITES = 256  # for which few images are worth another way, or a word that there is one
SITES_A_WAVE = 3  # on average, for waves to be worth it


@for_models
def complete(
    model: PixelModel,
    images: Array,
    known: Array,
    labels: Array | None = None,
    *,
    method: Method = "auto",
    particles: int = 64,
    walk: Walk = "auto",
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
    progress: bool = False,
) -> Tensor:
    """Draws the unknown part of images.

    With particles, every image has a population of its own, of which one canvas is drawn;
    `posterior` returns whole populations and what they tell. `temperature`, `top_k` and `top_p` act
    symbol by symbol: with any of them no method draws from the model's exact conditional
    distribution.

    Arguments:
        model: The model.
        images: uint8 images with shape (B, C, H, W); what the unknown part holds is ignored.
        known: Which pixels are known, with a shape that broadcasts to (B, C, H, W).
        labels: Classes with shape (B,), for a model that is conditioned on them.
        method: "prefix", "known_first", "particles" or "clamp"; "auto" takes the first of them
            that applies.
        particles: The canvases of each image's population, for that method.
        walk: How all but particles walk; "auto" takes the quickest. The images are the same, but
            for float32's rounding where two levels are almost equally far from being drawn.
        temperature: Divides the log-probabilities of a symbol; 0 takes the most probable level.
        top_k: Keeps the k most probable levels of a symbol.
        top_p: Keeps the most probable levels of a symbol that together reach this probability.
        seed: Gives the same images again; None draws new ones.
        progress: Whether to show a progress bar.

    Returns:
        uint8 images with shape (B, C, H, W); known pixels are those of `images`, as the model sees
        them.
    """
    options = Drawing(
        temperature=temperature, top_k=top_k, top_p=top_p, seed=seed, progress=progress
    )
    images, known = as_images(images), as_mask(known)
    method = choose_method(model, known, images, method)
    if method != "particles":
        model = ordered(model, known, images, method)
        return draw_unknown(model, images, known, labels, walk=walk, **options).images
    if walk not in ("auto", "sequential"):
        raise ConfigError(f"particles walk site by site, so walk: {walk} is not for them")
    every = model.scan.sites
    *_, last = follow(model, images, known, labels, every=every, particles=particles, **options)
    return last.draw()[:, 0]


@for_models
def stream(
    model: PixelModel,
    images: Array,
    known: Array,
    labels: Array | None = None,
    *,
    every: int,
    method: Method = "auto",
    particles: int = 64,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
    progress: bool = False,
) -> Iterator[Tensor]:
    """Draws as `complete` does, and yields the images every so many sites while they fill.

    Unknown pixels that are not yet drawn are those of `images`. The images yielded last are
    complete. With particles, an image on its way is the canvas that would be drawn now. Closing
    the iterator ends the work.
    """
    options = Drawing(
        temperature=temperature, top_k=top_k, top_p=top_p, seed=seed, progress=progress
    )
    images, known = as_images(images), as_mask(known)
    method = choose_method(model, known, images, method)
    if method == "particles":
        for found in follow(
            model, images, known, labels, every=every, particles=particles, **options
        ):
            yield found.draw()[:, 0]
    else:
        model = ordered(model, known, images, method)
        yield from _one_by_one(model, images, known, labels, every=every, **options)


@dataclass(frozen=True)
class Drawn:
    """Images, and how they were drawn.

    Attributes:
        images: uint8 with shape (B, C, H, W).
        walk: One of `Walk`.
        steps: How many steps followed each other: sites, rows, waves or passes.
    """

    images: Tensor
    walk: Walk
    steps: int


@torch.no_grad()
def draw_unknown(
    model: PixelModel,
    images: Tensor,
    known: Tensor,
    labels: Array | None = None,
    *,
    walk: Walk = "auto",
    **options: Unpack[Drawing],
) -> Drawn:
    """Draws the unknown symbols and writes the known ones: exact where these come first.

    Arguments as in `complete`.
    """
    with evaluating(model):
        canvas, draw, start = _prepare(model, images, known, options)
        labels = model.check_labels(labels, len(canvas))
        chosen = choose_walk(model, walk, draw, start)
        walked: Iterator[int]
        if chosen == "sequential":
            walked = (t + 1 for t in unroll(model, canvas, draw, labels, start=start))
        elif chosen == "compiled":
            walked = compiled_rows(model, canvas, draw, labels, start=start)
        elif chosen == "wavefront":
            walked = wavefront(model, canvas, draw, labels)
        else:
            walked = fixed_point(model, canvas, draw, labels, start=start)
        steps, before = 0, 0 if chosen == "wavefront" else start
        with _bar(model.scan.sites - before, options) as bar:
            for done in walked:
                steps += 1
                bar.update(done - before)
                before = done
        return Drawn(model.quantizer.decode(canvas).cpu(), chosen, steps)


def choose_walk(model: PixelModel, walk: Walk, draw: Draw, start: int = 0) -> Walk:
    """Returns how to walk: "auto" settled, the others checked.

    Few images are too little work site by site: they are drawn in machine code, in waves or some
    sites ahead where the model allows it. Waves begin with the first site, since a known beginning
    is quicker filled in one pass.
    """
    if walk not in get_args(Walk):
        raise ConfigError(f"walk: {did_you_mean(str(walk), get_args(Walk))}")
    if walk == "compiled":
        require_kernel(model, draw)
    if walk != "auto":
        return walk
    batch, sites = len(draw.noise[0, 0]), model.scan.sites
    if batch <= LARGEST_COMPILED and can_compile(model, draw):
        if numba_is_there():
            return "compiled"
        if sites >= MANY_SITES:
            tell_once()
    if batch <= LARGEST_WAVES and start == 0 and has_waves(model.net):
        found = waves(model.net)
        if found and SITES_A_WAVE * len(found) <= sites:
            return "wavefront"
    if batch <= LARGEST_AHEAD and sites - start >= MANY_SITES and looks_ahead(model.net):
        return "fixed_point"
    return "sequential"


@torch.no_grad()
def _one_by_one(
    model: PixelModel,
    images: Tensor,
    known: Tensor,
    labels: Array | None,
    *,
    every: int,
    **options: Unpack[Drawing],
) -> Iterator[Tensor]:
    """Draws as `draw_unknown` does, and yields the images on their way."""
    every = whole_number(every, "every", 1)
    with evaluating(model):
        canvas, draw, start = _prepare(model, images, known, options)
        labels = model.check_labels(labels, len(canvas))
        total = model.scan.sites - start
        with _bar(total, options) as bar:
            for count, _ in enumerate(unroll(model, canvas, draw, labels, start=start), 1):
                bar.update()
                if count % every == 0 and count < total:
                    yield model.quantizer.decode(canvas).cpu()
        yield model.quantizer.decode(canvas).cpu()


def _prepare(
    model: PixelModel, images: Tensor, known: Tensor, options: Drawing
) -> tuple[Tensor, Draw, int]:
    """Returns the canvas, what chooses its symbols, and the first site that is not known."""
    seed = seed_of(options.get("seed"))
    given = model.encode(images)
    mask = known_symbols(model, known, given)
    numbers = uniforms(
        (model.scan.sites, model.scan.symbols), [mix(seed, k) for k in range(len(given))]
    )
    draw = Draw(
        model.scan.gather(given),
        model.scan.gather(mask),
        numbers.to(model.device),
        options.get("temperature", 1.0),
        options.get("top_k"),
        options.get("top_p"),
    )
    return given.clone(), draw, model.scan.prefix(mask)


def _bar(total: int, options: Drawing) -> tqdm:
    return tqdm(total=total, unit="site", desc="drawing", disable=not options.get("progress"))
