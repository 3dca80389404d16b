"""Drawing frame by frame, as the page shows it."""

import math
import secrets
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor

from pixelar.errors import ConfigError
from pixelar.model import PixelModel
from pixelar.names import Method
from pixelar.sampling.canvas import Canvas
from pixelar.sampling.completion import stream_canvas
from pixelar.sampling.posterior import Posterior
from pixelar.sampling.smc import follow

__all__ = [
    "FRAMES_A_SECOND",
    "Frame",
    "Task",
    "blank_frame",
    "first_frame",
    "frames",
    "paced",
    "read_seed",
]

FRAMES_A_SECOND = 6
STEPS_A_ROW = 8  # frames in a row, so that Stop works within it
NEW_SEEDS = 1_000_000  # short enough to be copied by hand
LONGEST_SEED = 18  # digits

T = TypeVar("T")


@dataclass(frozen=True)
class Task:
    """A drawing task.

    Attributes:
        model: The model, with the order in which its sites are drawn.
        images: The given images, uint8 with shape (N, C, H, W).
        known: Which pixels are known, bool with shape (1, H, W).
        labels: Classes with shape (N,), or None.
        method: As in `pixelar.complete`; "auto" is replaced by the method that it chooses.
        particles: The canvases of each image's population, for method particles.
        temperature: As in `pixelar.sample`.
        top_p: As in `pixelar.sample`; 1 for all levels.
        seed: The same seed draws the same images.
    """

    model: PixelModel
    images: Tensor
    known: Tensor
    labels: Tensor | None
    method: Method
    particles: int
    temperature: float
    top_p: float
    seed: int

    canvas: Canvas = field(init=False)  # made once, from all the above

    def __post_init__(self) -> None:
        if bool(self.known.all()):
            raise ConfigError(
                "there is nothing to redraw: paint over a part of the picture, or choose a region"
            )
        canvas = Canvas.prepare(
            self.model,
            self.images,
            self.known,
            self.labels,
            method=self.method,
            temperature=self.temperature,
            top_p=self.top_p if self.top_p < 1 else None,
            seed=self.seed,
        )
        for name, value in (("canvas", canvas), ("method", canvas.method), ("model", canvas.model)):
            object.__setattr__(self, name, value)


@dataclass(frozen=True)
class Frame:
    """Images while they are drawn.

    Attributes:
        images: uint8 with shape (N, C, H, W).
        hidden: Which pixels are not drawn yet, bool with shape (H, W).
        done: The share of the work that is done, 0 … 1.
        found: The posterior so far, for method particles.
    """

    images: Tensor
    hidden: Tensor
    done: float
    found: Posterior | None


def frames(task: Task) -> Iterator[Frame]:
    """Draws a task, which can be drawn once, and yields frames; the last one is complete."""
    scan = task.model.scan
    sites = torch.arange(scan.sites, device=scan.index.device)[None, :, None]
    turn = scan.scatter(sites.expand(1, -1, scan.symbols).contiguous())[0].amax(0).cpu()  # (H, W)
    unknown = ~task.known[0]
    every = max(1, scan.sites // scan.shape[1] // STEPS_A_ROW)
    start = int(turn[unknown].min())
    with closing(_canvases(task, every)) as canvases:
        for count, (images, found) in enumerate(canvases, 1):
            site = min(start + count * every, scan.sites)
            done = (site - start) / (scan.sites - start)
            yield Frame(images, unknown & (turn >= site), done, found)


def first_frame(model: PixelModel, images: Tensor, known: Tensor) -> Frame:
    """Returns the given images before anything is drawn, as the model's input."""
    given = model.decode(model.encode(images)).cpu()
    return Frame(given, ~known[0], 0.0, None)


def blank_frame(model: PixelModel, count: int) -> Frame:
    """Returns `count` images without known pixels."""
    images = torch.zeros(count, *model.image_shape, dtype=torch.uint8)
    return first_frame(model, images, torch.zeros(1, *model.image_shape[1:], dtype=torch.bool))


def _canvases(task: Task, every: int) -> Generator[tuple[Tensor, Posterior | None], None, None]:
    if task.method == "particles":
        for found in follow(task.canvas, every=every, particles=task.particles):
            yield found.draw()[:, 0], found
    else:
        for images in stream_canvas(task.canvas, "sequential", every=every):
            yield images, None


def paced(items: Iterator[T]) -> Iterator[T]:
    """Leaves out items that come too soon after another, but neither the first nor the last."""
    last, held = -math.inf, None
    for item in items:
        held, now = item, time.monotonic()
        if now - last >= 1 / FRAMES_A_SECOND:
            yield item
            last, held = now, None
    if held is not None:
        yield held


def read_seed(text: str | None) -> int:
    """Parses the seed that a user wrote; a new one if there is none."""
    text = (text or "").strip()
    if not text:
        return secrets.randbelow(NEW_SEEDS)
    if not (text.isascii() and text.isdecimal() and len(text) <= LONGEST_SEED):
        raise ConfigError(
            f"a seed is a whole number of at most {LONGEST_SEED} digits; got {text!r:.30}"
        )
    return int(text)
