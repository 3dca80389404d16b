"""One family's training against the clock, and its model's cost and dependencies afterwards."""

import math
import time
from dataclasses import dataclass, field

import torch
from torch import Tensor
from tqdm import tqdm

import pixelar
from pixelar.memory.peaks import measure_peak
from pixelar.model import PixelModel
from pixelar.sampling.samples import draw_images
from pixelar.scoring.analysis import dependencies, seen_by

__all__ = ["Result", "race"]

STOPS = (1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4, 1.0)  # of the time, to be evaluated at
WARM_UP = 0.05  # of the time
clock = time.thread_time  # of the thread that trains: the wall's, but for when others run instead


@dataclass
class Result:
    """The measurements of a family.

    Attributes:
        seconds, images, bits: The curve: seconds that the training thread ran, without the
            evaluations, images read, and bits/dim of the validation images.
        test: Mean bits/dim of the test images, and its standard error.
        numbers: Metrics by name.
        depends: Which pixels the one in the middle of an image depends on, (H, W) of 0 and 1.
        moves: How much it moves with each of them, over some test images, (H, W).
    """

    seconds: list[float] = field(default_factory=list)
    images: list[int] = field(default_factory=list)
    bits: list[float] = field(default_factory=list)
    test: tuple[float, float] = (math.nan, math.nan)
    numbers: dict[str, float] = field(default_factory=dict)
    depends: list[list[int]] = field(default_factory=list)
    moves: list[list[float]] = field(default_factory=list)


def race(
    model: PixelModel,
    images: dict[str, Tensor],
    *,
    budget: float,
    batch_size: int,
    lr: float,
    seed: int,
) -> Result:
    """Trains a model for `budget` seconds, and measures it.

    Arguments:
        model: The model.
        images: uint8 images (N, C, H, W) of the splits "train", "val" and "test".
        budget: The seconds of training; evaluations do not count.
        batch_size: The images of a step.
        lr: The learning rate after its warm-up; it falls to zero along a cosine of the time.
        seed: The seed of the order of the images.
    """
    result, stops = Result(), [budget * stop for stop in STOPS]
    optimizer = torch.optim.AdamW(model.parameters(), lr, weight_decay=0.0)
    generator = torch.Generator().manual_seed(seed)
    spent, seen = 0.0, 0
    model.net.initialize(model.encode(images["train"][:batch_size]))
    with tqdm(total=round(budget), unit="s", leave=False) as bar:
        while stops:
            began = clock()
            chosen = torch.randint(len(images["train"]), (batch_size,), generator=generator)
            part = spent / budget
            optimizer.param_groups[0]["lr"] = lr * min(
                part / WARM_UP, (1 + math.cos(math.pi * min(part, 1))) / 2
            )
            train_step(model, images["train"][chosen], optimizer)
            seen += batch_size
            spent += clock() - began
            bar.update(round(spent) - bar.n)
            if spent >= stops[0]:
                while stops and spent >= stops[0]:
                    stops.pop(0)
                result.seconds.append(spent)
                result.images.append(seen)
                result.bits.append(float(pixelar.bits_per_dim(model, images["val"]).mean()))
                bar.set_postfix_str(f"{result.bits[-1]:.3f} bits/dim")
    _measure(model, images, batch_size, result)
    result.numbers["training images/s"] = seen / spent
    return result


def train_step(
    model: PixelModel, images: Tensor, optimizer: torch.optim.Optimizer | None = None
) -> None:
    """Takes one step of maximum likelihood; without an optimizer, only its gradients."""
    model.train()
    loss = -model(model.encode(images)).mean() / model.scan.dims
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    if optimizer is not None:
        optimizer.step()
    model.zero_grad()


def _measure(model: PixelModel, images: dict[str, Tensor], batch_size: int, result: Result) -> None:
    model.eval()
    bits = pixelar.bits_per_dim(model, images["test"])
    result.test = float(bits.mean()), float(bits.std() / math.sqrt(len(bits)))
    batch = images["train"][:batch_size]
    numbers = result.numbers
    numbers["parameters"] = sum(p.numel() for p in model.parameters())
    numbers["peak MB of a step"] = measure_peak(lambda: train_step(model, batch)) / 1e6
    model.eval()
    draw_images(model, 1, seed=0)  # machine code is made at the first use
    for count in (1, 16):
        began = clock()
        drawn = draw_images(model, count, seed=0)
        numbers[f"seconds for {count} sampled"] = clock() - began
        if count == 1:
            numbers["steps of a walk"] = drawn.steps
    side = tuple(model.scan.shape[1:])
    middle = int(model.scan.sites // 2 + side[1] // 2)
    result.depends = dependencies(model)[middle].view(side).int().tolist()
    moved = [seen_by(model, middle, model.encode(image[None])) for image in images["test"][:8]]
    result.moves = torch.stack(moved).mean(0).view(side).tolist()
