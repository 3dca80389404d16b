"""Drawing the unknown part of images, by one of four methods.

prefix      known pixels come first in the model's order: draw the rest. Exact.
known_first any mask of whole sites, for nets that take any order: the known pixels are moved to the
            front of the order. Exact, in that order.
particles   any mask: sequential Monte Carlo, exact as the number of particles grows.
clamp       any mask: known pixels overwrite what was drawn, and nothing else is done. Biased:
            a drawn pixel does not depend on the known pixels that come after it.

All but particles can draw by several schedules; see `pixelar.sampling.schedules`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from pixelar.common.arrays import Array, whole_number
from pixelar.model import PixelModel, evaluating
from pixelar.model.boundary import for_models
from pixelar.names import Method, ScheduleName
from pixelar.sampling.canvas import Canvas
from pixelar.sampling.schedules import SCHEDULES, choose_schedule, require_sequential
from pixelar.sampling.smc import follow

__all__ = ["Drawn", "complete", "draw", "stream", "stream_canvas"]


@for_models
@torch.no_grad()
def complete(
    model: PixelModel,
    images: Array,
    known: Array,
    labels: Array | None = None,
    *,
    method: Method = "auto",
    particles: int = 64,
    schedule: ScheduleName = "auto",
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
    progress: bool = False,
) -> Tensor:
    """Draws the unknown part of images.

    With particles, each image has its own population, from which one canvas is drawn; `posterior`
    returns whole populations with their estimates. `temperature`, `top_k` and `top_p` act symbol
    by symbol: with any of them no method draws from the model's exact conditional
    distribution.

    Arguments:
        model: The model.
        images: Images with shape (B, C, H, W); what the unknown part holds is ignored.
        known: Which pixels are known, with a shape that broadcasts to (B, C, H, W).
        labels: Classes with shape (B,), for a model that is conditioned on them.
        method: "prefix", "known_first", "particles" or "clamp"; "auto" takes the first of them
            that applies.
        particles: The number of canvases in each image's population, for method particles.
        schedule: In which order sites are drawn, and how many at once, by all methods but
            particles: a name of `pixelar.sampling.schedules.SCHEDULES`, or "auto" for the quickest.
            The images are the same, except where float32 rounding tips the choice between two
            nearly tied levels.
        temperature: Divides the log-probabilities of a symbol; 0 takes the most probable level.
        top_k: Keeps the k most probable levels of a symbol.
        top_p: Keeps the most probable levels of a symbol that together reach this probability.
        seed: The same seed gives the same images again; None draws new ones.
        progress: Whether to show a progress bar.

    Returns:
        Images with shape (B, C, H, W), of the model's `image_dtype`; known pixels are those of
        `images`, after quantization.
    """
    canvas = Canvas.prepare(
        model,
        images,
        known,
        labels,
        method=method,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
    )
    if canvas.method != "particles":
        return draw(canvas, schedule, progress=progress).images
    require_sequential(schedule)
    *_, last = follow(canvas, every=model.scan.sites, particles=particles, progress=progress)
    return last.draw()[:, 0]


@for_models
@torch.no_grad()
def stream(
    model: PixelModel,
    images: Array,
    known: Array,
    labels: Array | None = None,
    *,
    every: int,
    method: Method = "auto",
    particles: int = 64,
    schedule: ScheduleName = "auto",
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
    progress: bool = False,
) -> Iterator[Tensor]:
    """Draws as `complete` does, and yields intermediate images, at least `every` sites apart.

    Unknown pixels that are not yet drawn are those of `images`. The images yielded last are
    complete. Where a step draws several sites at once, no images are yielded within it; schedule:
    sequential yields them after exactly `every` sites each. With particles, an intermediate image
    is the canvas that would be drawn now. Closing the iterator stops the work.
    """
    every = whole_number(every, "every", 1)
    canvas = Canvas.prepare(
        model,
        images,
        known,
        labels,
        method=method,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
    )
    if canvas.method == "particles":
        require_sequential(schedule)
        for found in follow(canvas, every=every, particles=particles, progress=progress):
            yield found.draw()[:, 0]
    else:
        yield from stream_canvas(canvas, schedule, every=every, progress=progress)


@dataclass(frozen=True)
class Drawn:
    """Images, and how they were drawn.

    Attributes:
        images: Images with shape (B, C, H, W).
        schedule: The name of the schedule.
        steps: The number of sequential steps: sites, rows, waves or passes.
    """

    images: Tensor
    schedule: ScheduleName
    steps: int


def draw(canvas: Canvas, schedule: ScheduleName = "auto", *, progress: bool = False) -> Drawn:
    """Draws the unknown symbols of a canvas, and returns the images."""
    chosen = choose_schedule(canvas, schedule)
    steps = sum(1 for _ in _run(canvas, chosen, progress))
    return Drawn(canvas.images(), chosen, steps)


@for_models
def stream_canvas(
    canvas: Canvas, schedule: ScheduleName = "auto", *, every: int, progress: bool = False
) -> Iterator[Tensor]:
    """Draws the unknown symbols of a canvas, and yields its images as `stream` does."""
    chosen, sites = choose_schedule(canvas, schedule), canvas.model.scan.sites
    shown = canvas.start if SCHEDULES[chosen].skips_known else 0
    for done in _run(canvas, chosen, progress):
        if done - shown >= every and done < sites:
            yield canvas.images(done if SCHEDULES[chosen].guesses else None)
            shown = done
    yield canvas.images()


@torch.no_grad()
def _run(canvas: Canvas, name: ScheduleName, progress: bool) -> Iterator[int]:
    """Draws a canvas, and yields after each step how many sites are final."""
    if not len(canvas):
        return
    schedule, model = SCHEDULES[name], canvas.model
    before = canvas.start if schedule.skips_known else 0
    total = model.scan.sites - before
    with (
        evaluating(model),
        tqdm(total=total, unit="site", desc="drawing", disable=not progress) as bar,
    ):
        for done in schedule.run(canvas):
            bar.update(done - before)
            before = done
            yield done
