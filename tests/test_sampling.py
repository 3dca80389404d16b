"""Samples follow the model, known pixels stay, and a seed and a number give one image."""

import inspect
from collections.abc import Callable, Generator
from typing import Any

import pytest
import torch
import zoo
from torch import Tensor

from pixelar.errors import PixelarError
from pixelar.nets import NETS
from pixelar.nets.presets import PRESETS
from pixelar.sampling.completion import complete, stream
from pixelar.sampling.draw import temper
from pixelar.sampling.known import come_first, known_symbols
from pixelar.sampling.posterior import posterior
from pixelar.sampling.samples import sample
from pixelar.testing import randomize

SMALL = [*zoo.every_model((1, 2, 2), levels=2)]


def frequencies(images: Tensor, weights: Tensor) -> Tensor:
    """Counts images (N, …) of symbols as the 16 binary images of four pixels."""
    return torch.bincount(((images.flatten(1) > 0).long() * weights).sum(1), minlength=16)


def chi_square(counts: Tensor, probabilities: Tensor) -> float:
    expected = probabilities * counts.sum()
    return float(((counts - expected) ** 2 / expected).sum())


@pytest.mark.exhaustive
@pytest.mark.parametrize(("net", "head", "scan", "classes"), SMALL)
def test_sample_frequencies_match_probabilities(
    net: str, head: str, scan: str, classes: int
) -> None:
    """χ² over all 16 images, against the 0.9999 quantile at 15 degrees of freedom."""
    model = zoo.tiny(net, head, shape=(1, 2, 2), scan=scan, levels=2)
    weights = 2 ** torch.arange(4)
    images = (torch.arange(16)[:, None] // weights % 2).view(16, 1, 2, 2)
    with torch.no_grad():
        probabilities = model(images).exp()
    counts = frequencies(sample(model, 20_000, seed=1), weights)
    assert chi_square(counts, probabilities) < 44.3
    assert chi_square(counts, probabilities.roll(1)) > 44.3  # the test can fail


@pytest.mark.parametrize("net", NETS)
def test_colour_samples_follow_the_mixture(net: str) -> None:
    """The joint frequencies of R, G and B of a pixel, so each channel is drawn given the others."""
    model = zoo.tiny(net, "LogisticMixture", shape=(3, 1, 1), levels=2)
    weights = 2 ** torch.arange(3)
    images = (torch.arange(8)[:, None] // weights % 2).view(8, 3, 1, 1)
    with torch.no_grad():
        probabilities = model(images).exp()
    counts = frequencies(sample(model, 20_000, seed=2), weights)[:8]
    assert chi_square(counts, probabilities) < 29.9  # 0.9999 quantile at 7 degrees of freedom


@pytest.mark.exhaustive
@pytest.mark.parametrize(("net", "scan", "shape", "classes"), [*zoo.every_net()])
def test_known_pixels_stay_and_seeds_repeat(
    net: str, scan: str, shape: tuple[int, int, int], classes: int
) -> None:
    model = zoo.tiny(net, shape=shape, scan=scan, classes=classes)
    generator = torch.Generator().manual_seed(0)
    images = model.quantizer.decode(torch.randint(3, (4, *shape), generator=generator))
    known = torch.rand(4, 1, *shape[1:], generator=generator) < 0.5
    labels = torch.tensor([0, 1, 2, 0]) if classes else None
    drawn = complete(model, images, known, labels, seed=5)
    assert torch.equal(torch.where(known, drawn, images), images)
    assert not torch.equal(drawn, images)
    assert torch.equal(complete(model, images, known, labels, seed=5), drawn)
    assert not torch.equal(complete(model, images, known, labels, seed=6), drawn)


@pytest.mark.parametrize("net", NETS)
def test_completing_is_sampling_with_a_prefilled_prefix(net: str) -> None:
    """Given the first rows of a sample and the same noise, the rest of that sample is drawn."""
    model = zoo.tiny(net, shape=(3, 4, 5), scan=zoo.finest(net))
    images = sample(model, 3, seed=9)
    known = torch.zeros(4, 5, dtype=torch.bool)
    known[:2] = True
    known[2, :3] = True
    blanked = torch.where(known, images, 0)
    assert torch.equal(complete(model, blanked, known, seed=9), images)


@pytest.mark.parametrize("net", NETS)
def test_an_image_does_not_depend_on_its_batch(net: str) -> None:
    model = zoo.tiny(net, "LogisticMixture", shape=(3, 4, 4))
    many = sample(model, 5, seed=3)
    assert torch.equal(sample(model, 2, seed=3), many[:2])


def test_cached_and_naive_sampling_draw_the_same_images() -> None:
    for net in NETS:
        model = zoo.tiny(net, shape=(3, 4, 4), scan=zoo.finest(net))
        images = sample(model, 2, seed=4)
        model.net = zoo.Naive(model.net)
        assert torch.equal(sample(model, 2, seed=4), images)


def test_stream_shows_the_canvas_while_it_fills() -> None:
    model = zoo.tiny("PixelCNN", shape=(1, 4, 4))
    blank = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    known = torch.zeros(4, 4, dtype=torch.bool)
    frames = [*stream(model, blank, known, every=4, seed=1)]
    assert len(frames) == 4
    whole = complete(model, blank, known, seed=1)
    for row, frame in enumerate(frames, 1):
        assert torch.equal(frame[:, :, :row], whole[:, :, :row])
        assert (frame[:, :, row:] == 0).all()


def test_a_stream_can_be_closed_and_leaves_no_trace() -> None:
    model = zoo.tiny("ImageGPT", dropout=0.5)
    model.train()
    frames = stream(model, torch.zeros(1, 1, 5, 6, dtype=torch.uint8), torch.zeros(5, 6), every=1)
    next(frames)
    assert torch.is_grad_enabled()
    assert isinstance(frames, Generator)
    frames.close()
    assert model.training and torch.is_grad_enabled()


def test_two_streams_of_one_model_do_not_mix() -> None:
    for net in NETS:
        model = zoo.tiny(net)
        blank, known = torch.zeros(1, 1, 5, 6, dtype=torch.uint8), torch.zeros(5, 6)
        alone = [complete(model, blank, known, seed=s) for s in (1, 2)]
        streams = [stream(model, blank, known, every=1, seed=s) for s in (1, 2)]
        *_, together = zip(*streams, strict=True)  # the passes are interleaved
        assert all(torch.equal(a, b) for a, b in zip(together, alone, strict=True))


@pytest.mark.parametrize("function", [sample, complete, stream, posterior])
def test_help_shows_how_symbols_are_drawn(function: Callable[..., object]) -> None:
    parameters = inspect.signature(function).parameters
    assert {"temperature", "top_k", "top_p", "seed", "progress"} <= parameters.keys()
    assert not any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def test_prefix_is_told_from_scattered_pixels() -> None:
    model = zoo.tiny("ImageGPT", shape=(1, 4, 4))
    images = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    top, left = torch.zeros(4, 4, dtype=torch.bool), torch.zeros(4, 4, dtype=torch.bool)
    top[:2], left[:, :2] = True, True
    for known, first in ((top, True), (torch.zeros(4, 4), True), (left, False)):
        mask = known_symbols(model, known, model.encode(images))
        assert come_first(model.scan, mask) == first


def test_temper_options() -> None:
    pmf = torch.tensor([[0.1, 0.4, 0.3, 0.2]])
    log_pmf = pmf.log()

    def tempered(**options: Any) -> list[float]:  # noqa: ANN401
        return temper(log_pmf, **options)[0].tolist()

    assert tempered() == pytest.approx([0.1, 0.4, 0.3, 0.2])
    assert tempered(top_k=2) == pytest.approx([0, 4 / 7, 3 / 7, 0])
    assert tempered(top_p=0.5) == pytest.approx([0, 4 / 7, 3 / 7, 0])
    assert tempered(top_p=0.4) == pytest.approx([0, 1, 0, 0])
    assert tempered(top_p=1.0) == pytest.approx([0.1, 0.4, 0.3, 0.2])
    assert tempered(temperature=0) == pytest.approx([0, 1, 0, 0])
    squared = (pmf**2 / (pmf**2).sum())[0].tolist()
    assert tempered(temperature=0.5) == pytest.approx(squared)  # cold sharpens
    assert tempered(temperature=1e-300) == pytest.approx([0, 1, 0, 0])
    assert temper(torch.zeros(1, 4), top_k=1).tolist() == [[1, 0, 0, 0]]  # exactly one of equals


@pytest.mark.parametrize("head", zoo.HEAD_ARGS)
def test_options_work_for_every_head(head: str) -> None:
    model = zoo.tiny("PixelCNN", head, levels=2)
    coldest = sample(model, 2, temperature=0, seed=1)
    assert torch.equal(coldest[0], coldest[1])  # no chance is left
    for options in ({"top_k": 1}, {"top_p": 1e-9}, {"temperature": 1e-4}):
        assert torch.equal(sample(model, 2, seed=2, **options), coldest)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -1.0}, "temperature must be 0 or more, and finite; got -1.0"),
        ({"temperature": float("nan")}, "temperature must be 0 or more"),
        ({"temperature": float("inf")}, "temperature must be 0 or more, and finite; got inf"),
        ({"top_k": 0}, "top_k must be at least 1; got 0"),
        ({"top_p": 0.0}, "top_p must be above 0 and at most 1; got 0.0"),
        ({"top_p": 1.5}, "top_p must be above 0 and at most 1; got 1.5"),
    ],
)
def test_bad_options_are_explained(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PixelarError, match=message):
        sample(zoo.tiny("PixelCNN"), 1, **options)


def test_a_mask_of_another_shape_is_explained() -> None:
    model = zoo.tiny("PixelCNN")
    with pytest.raises(PixelarError, match=r"known has shape \(6, 5\), which does not broadcast"):
        complete(model, torch.zeros(1, 1, 5, 6, dtype=torch.uint8), torch.zeros(6, 5))


def test_palette_models_complete_whole_pixels() -> None:
    from pixelar.model import build_model

    model = build_model(
        {
            "image_shape": [3, 4, 4],
            "scan": "raster",
            "quantizer": {"name": "Palette", "args": {"levels": 5}},
            "head": {"name": "Categorical", "args": {}},
            "net": {"name": "ImageGPT", "args": PRESETS["ImageGPT"].tiny},
        }
    )
    images = torch.randint(256, (3, 3, 4, 4), dtype=torch.uint8)
    model.quantizer.fit(images)
    randomize(model)
    known = torch.zeros(4, 4, dtype=torch.bool)
    known[:, :2] = True
    drawn = complete(model, images, known, seed=0)
    seen = model.quantizer.decode(model.encode(images))
    assert torch.equal(drawn[..., :2], seen[..., :2])
