"""How time and memory grow: with the number of pixels, with the batch, with the depth."""

import copy
import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from pixelar.caches import Cache, new_cache
from pixelar.memory.budget import bytes_of
from pixelar.model import PixelModel
from pixelar.nets import Net
from pixelar.nets.presets import PRESETS
from pixelar.sampling.samples import sample
from suites.measure import Case, Row, Settings, evaluating, interleave, peak_memory
from suites.models import build

__all__ = ["MEMORY", "THEORY", "batches", "depths", "exponent", "pixels", "sparse"]

# of the number of pixels: a forward, a cached sample, the bytes of a cache
THEORY = {
    "PixelCNN": ("1", "1", "0.5: a row"),
    "GatedPixelCNN": ("1", "1", "0.5: a row"),
    "PixelCNNPP": ("1", "1", "0.5: a row"),
    "PixelSNAIL": ("1 … 2: attention", "1 … 2: attention", "1"),
    "LMConv": ("1", "1", "1"),
    "RasterRNN": ("1", "1", "0: a state"),
    "RowLSTM": ("1", "1", "0.5: a row"),
    "DiagonalBiLSTM": ("1", "1", "0.5: a row"),
    "WaveNet": ("1", "1", "0: rings"),
    "ImageGPT": ("1 … 2: attention", "1 … 2: attention", "1"),
    "AnyOrderGPT": ("1 … 2: attention", "1 … 2: attention", "1"),
    "ImageTransformer": ("1", "1", "1"),
    "SparseTransformer": ("1 … 2: every 64th", "1 … 2: every 64th", "1"),
    "TransformerXL": ("1", "1", "0: a memory"),
    "AxialTransformer": ("1 … 1.5: attention", "1 … 1.5: attention", "1"),
}
# the bytes of a forward, where they do not grow as the pixels do
MEMORY = {"TransformerXL": "0 … 1: a segment, all parameters"}


def pixels(settings: Settings) -> Iterator[Row]:
    """Images of several sizes."""
    sides = (4, 6) if settings.tiny else (8, 16, 32, 64)
    for name in settings.nets:
        for side in sides:
            row = _measure(settings, build(settings, name, side), 4, f"{name}, {side}×{side}")
            row.numbers["pixels"] = side * side
            yield row


def batches(settings: Settings) -> Iterator[Row]:
    """Batches of several sizes."""
    for name in settings.nets:
        model = build(settings, name, 6 if settings.tiny else 28)
        for batch in (1, 2) if settings.tiny else (1, 4, 16, 64):
            row = _measure(settings, model, batch, f"{name}, batch {batch}")
            row.numbers["batch"] = batch
            yield row


def depths(settings: Settings) -> Iterator[Row]:
    """Nets of several depths."""
    for name in settings.nets:
        for depth in (1, 2) if settings.tiny else (2, 4, 8, 16):
            options: dict[str, Any] = {PRESETS[name].depth: depth}
            model = build(settings, name, 6 if settings.tiny else 28, **options)
            row = _measure(settings, model, 4, f"{name}, depth {depth}")
            row.numbers["depth"] = depth
            yield row


def sparse(settings: Settings) -> Iterator[Row]:
    """Sparse and dense attention over long sequences, in which each colour is a site."""
    last = 2 if settings.tiny else 64
    for side in (4,) if settings.tiny else (16, 32, 64):
        models = {
            kind: build(settings, name, side, channels=3, scan="subpixel")
            for kind, name in (("dense", "ImageGPT"), ("sparse", "SparseTransformer"))
        }
        forward: dict[str, Case] = {}
        steps: dict[str, Case] = {}
        work: dict[str, float | int | str] = {}
        for kind, model in models.items():
            x = torch.randint(256, (1, *model.scan.shape), device=model.device)
            cache = new_cache(model.net, x)
            sites = range(model.scan.sites - last, model.scan.sites)
            with evaluating(model):
                cache.prefill(x, sites.start)
            forward[kind] = functools.partial(model.net, x)
            steps[kind] = functools.partial(_walk, model, x, sites, cache)
            work[f"{kind}: GFLOP of products in attention"] = _attention(model) / 1e9
        case = f"3×{side}×{side}, {model.scan.sites} sites"
        with torch.no_grad():
            yield Row(f"{case}, forward", "dense", interleave(settings, forward), work)
            yield Row(f"{case}, last {last} steps", "dense", interleave(settings, steps))


def _walk(model: PixelModel, x: torch.Tensor, sites: range, cache: Cache[Net]) -> None:
    for t in sites:
        cache.step(x, t)


def _attention(model: PixelModel) -> float:
    """Returns the operations of a forward's attention. What is masked within a block counts as if
    it were computed.
    """
    empty = copy.deepcopy(model).to("meta")
    x = torch.empty(1, *model.scan.shape, dtype=torch.long, device="meta")
    # so that attention is made of products, which are counted
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        empty.net(x)
    return float(counter.get_flop_counts()["Global"].get(torch.ops.aten.bmm, 0))


def _measure(settings: Settings, model: PixelModel, batch: int, case: str) -> Row:
    x = torch.randint(256, (batch, *model.scan.shape), device=model.device)
    with evaluating(model):
        found = interleave(
            settings,
            {
                "forward": lambda: model.net(x),
                "cached": lambda: sample(model, batch, seed=0, schedule="sequential"),
            },
        )
        sizes = []
        for rows in (batch, 2 * batch):
            cache = new_cache(model.net, x[:1].expand(rows, -1, -1, -1))
            cache.step(x[:1].expand(rows, -1, -1, -1), 0)
            sizes.append(bytes_of(cache))
        peak = peak_memory(settings, lambda: model.net(x))
    numbers = {"forward: peak MB": peak / 1e6, "cache MB": (sizes[1] - sizes[0]) / 1e6}
    return Row(case, "forward", found, {**numbers})


def exponent(x: Sequence[float], y: Sequence[float]) -> float:
    """Returns the slope of a straight line through log y against log x."""
    a, b = ([math.log(v) for v in values] for values in (x, y))
    middle = sum(a) / len(a), sum(b) / len(b)
    products = [(u - middle[0]) * (v - middle[1]) for u, v in zip(a, b, strict=True)]
    return sum(products) / sum((u - middle[0]) ** 2 for u in a)
