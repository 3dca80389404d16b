"""Sampling: cached passes against one parallel forward, and against re-running the net."""

from collections.abc import Iterator
from typing import Any

import torch

import pixelar
from pixelar.caches import has_waves
from pixelar.caches.base import RecomputeCache
from pixelar.kernels import numba_is_there
from pixelar.model import PixelModel
from pixelar.names import ScheduleName
from pixelar.nets import GatedPixelCNN
from pixelar.sampling.completion import complete
from pixelar.sampling.samples import draw_images, sample
from pixelar.sampling.schedules.fixed_point import looks_ahead
from suites.measure import Case, Row, Settings, evaluating, interleave, ratio
from suites.models import build

__all__ = ["parallel", "sampling"]


def sampling(settings: Settings) -> Iterator[Row]:
    """Times of whole samples, in forwards of the same batch."""
    side, batches = (6, (1, 2)) if settings.tiny else (28, (1, 16, 64))
    for name in settings.nets:
        model = build(settings, name, side)
        for batch in batches:
            yield _sample(settings, model, f"{name} {side}×{side}, batch {batch}", batch)
    if "PixelCNNPP" in settings.nets:  # as in its paper: on CIFAR-10, with all its parameters
        size: dict[str, Any]
        side, size = (8, {}) if settings.tiny else (32, {"width": 160, "blocks": 5})
        model = build(settings, "PixelCNNPP", side, channels=3, head="LogisticMixture", **size)
        yield _sample(settings, model, f"PixelCNNPP 3×{side}×{side}, batch 4", 4)


def _sample(settings: Settings, model: PixelModel, case: str, batch: int) -> Row:
    x = torch.randint(256, (batch, *model.scan.shape), device=model.device)
    blank = torch.zeros(batch, *model.image_shape, dtype=torch.uint8)
    rows = torch.arange(model.image_shape[1])[:, None].expand(model.image_shape[1:])
    top, sites = rows < model.image_shape[1] // 2, 2
    cases: dict[str, Case] = {
        "forward": lambda: model.net(x),
        "cached": lambda: sample(model, batch, seed=0, schedule="sequential"),
        "cached, lower half": lambda: complete(model, blank, top, seed=0, schedule="sequential"),
        f"naive, {sites} sites": lambda: _naive(model, x, sites),
    }
    others = [w for w in ("compiled", "wavefront", "fixed_point") if _possible(model, w)]
    for walk in others:
        cases[walk] = lambda walk=walk: sample(model, batch, seed=0, schedule=walk)  # type: ignore[misc]
    with evaluating(model):
        found = interleave(settings, cases)
    partial = found.pop(f"naive, {sites} sites")
    found["naive (extrapolated)"] = [t * model.scan.sites / sites for t in partial]
    row = Row(case, "forward", found)
    for name in ("cached", *others):
        row.numbers[f"{name}: images/s"] = batch / min(found[name])
        times = ratio(Row(case, name, found), "naive (extrapolated)")
        row.numbers[f"{name}: times as fast as naive"] = times
    half = ratio(Row(case, "cached", found), "cached, lower half")
    row.numbers["cached, lower half: of the whole"] = half
    row.numbers["schedule auto"] = draw_images(model, batch, seed=0).schedule
    return row


def _possible(model: PixelModel, walk: str) -> bool:
    if walk == "wavefront":
        return has_waves(model.net)
    if walk == "fixed_point":
        return looks_ahead(model.net)
    return isinstance(model.net, GatedPixelCNN) and numba_is_there() and model.device.type == "cpu"


def _naive(model: PixelModel, x: torch.Tensor, sites: int) -> None:
    cache = RecomputeCache(model.net, x)
    for t in range(sites):
        model.head.log_pmf(cache.step(x, t), x.flatten(1)[:, :0])


def parallel(settings: Settings) -> Iterator[Row]:
    """Exact parallel sampling of trained models, whose sites do depend on each other."""
    names: tuple[str, ...]
    names = ("digits-gated-pixelcnn", "binary-mnist-gated-pixelcnn", "binary-mnist-imagegpt")
    names = names[:1] if settings.tiny else (*names, "mnist-imagegpt")
    for name in names:
        model = pixelar.load(name).to(settings.device)
        for batch in (1,) if settings.tiny else (1, 16):
            labels = torch.arange(batch) % model.classes if model.classes else None
            methods: tuple[ScheduleName, ...] = ("sequential", "fixed_point")
            cases: dict[str, Case] = {
                method: lambda method=method, labels=labels, batch=batch, model=model: sample(  # type: ignore[misc]
                    model, batch, labels, seed=0, schedule=method
                )
                for method in methods
            }
            row = Row(f"{name}, batch {batch}", "sequential", interleave(settings, cases))
            drawn = [draw_images(model, batch, labels, seed=0, schedule=m) for m in methods]
            row.numbers["fixed_point: passes"] = drawn[1].steps
            row.numbers["sites"] = model.scan.sites
            row.numbers["fixed_point: pixels that differ"] = int(
                (drawn[0].images != drawn[1].images).sum()
            )
            yield row
