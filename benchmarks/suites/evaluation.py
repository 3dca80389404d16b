"""Evaluation by batch size, and what loading data takes of a training step."""

from collections.abc import Iterator

import torch

import pixelar
from pixelar.data.base import ImageSet, collate
from pixelar.memory.budget import choose_batch_size
from pixelar.training.samplers import StepSampler
from suites.measure import Case, Row, Settings, interleave
from suites.models import build
from suites.training import step

__all__ = ["evaluation", "loading"]


def evaluation(settings: Settings) -> Iterator[Row]:
    """Bits per dimension of as many images, in batches of several sizes."""
    name = "digits-gated-pixelcnn" if settings.tiny else "mnist-gated-pixelcnn"
    model = pixelar.load(name).to(settings.device)
    batches = (1, 4) if settings.tiny else (4, 16, 64, 256)
    count = batches[-1]
    images = torch.zeros(count, *model.image_shape, dtype=torch.uint8)
    labels = torch.zeros(count, dtype=torch.long) if model.classes else None
    cases: dict[str, Case] = {
        f"batches of {size}": lambda size=size: pixelar.bits_per_dim(  # type: ignore[misc]
            model, images, labels, batch_size=size
        )
        for size in batches
    }
    cases["batches as chosen"] = lambda: pixelar.bits_per_dim(model, images, labels)
    found = interleave(settings, cases)
    row = Row(f"{name}, {count} images", f"batches of {batches[0]}", found)
    row.numbers["batches as chosen: size"] = choose_batch_size(model)
    for contender, times in found.items():
        row.numbers[f"{contender}: images/s"] = count / min(times)
    yield row


def loading(settings: Settings) -> Iterator[Row]:
    """A training step against fetching its batch out of memory."""
    side, batch, steps = (6, 2, 2) if settings.tiny else (28, 64, 8)
    images = torch.randint(256, (4096, 1, side, side), dtype=torch.uint8)
    data = ImageSet(images, None, [str(k) for k in range(len(images))])
    for name in settings.nets:
        model = build(settings, name, side).train()
        x = torch.randint(256, (batch, *model.scan.shape), device=model.device)

        def fetch() -> None:
            batches = StepSampler(len(data), batch, total=steps, seed=0)
            for found, _ in torch.utils.data.DataLoader(
                data, batch_sampler=batches, collate_fn=collate
            ):
                model.encode(found)  # noqa: B023

        cases: dict[str, Case] = {
            "step": lambda model=model, x=x: step(model, x),  # type: ignore[misc]
            f"fetching {steps} batches": fetch,
        }
        found = interleave(settings, cases)
        found["fetching its batch"] = [t / steps for t in found.pop(f"fetching {steps} batches")]
        yield Row(f"{name} {side}×{side}, batch {batch}", "step", found)
