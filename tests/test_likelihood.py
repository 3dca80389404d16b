"""Likelihoods by parts: the same loss and gradients as those of the whole, in less memory."""

from typing import Any

import pytest
import torch
import zoo
from torch import Tensor

from pixelar.heads import HEADS
from pixelar.memory.peaks import measure_peak
from pixelar.model import PixelModel, build_model, likelihood
from pixelar.model.likelihood import images_at_once
from pixelar.nets import NETS

BATCH = 7  # divided into parts of 3, 3 and 1


def small_parts(monkeypatch: pytest.MonkeyPatch, model: PixelModel, images: int) -> None:
    """Sets the sizes, so that a part holds `images` images."""
    size = 4 * model.scan.sites * model.head.num_params
    monkeypatch.setattr(likelihood, "PART", {"cpu": size * images})
    monkeypatch.setattr(likelihood, "WHOLE", {"cpu": size * images})


def gradients(model: PixelModel, x: Tensor, weights: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Returns log p of sites and, for some weights of theirs, the gradient of every parameter."""
    model.zero_grad()
    torch.manual_seed(0)
    found = model.log_prob_sites(x)  # (B, T)
    (found * weights).sum().backward()
    return found.detach(), {
        name: p.grad for name, p in model.named_parameters() if p.grad is not None
    }


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("net", NETS)
def test_parts_change_nothing(
    net: str, head: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape, levels = (3, 3, 4), 2 if head == "Bernoulli" else 5
    model = zoo.tiny(net, head, shape=shape, levels=levels).to(dtype)
    x = torch.randint(levels, (BATCH, *shape))
    weights = torch.rand(BATCH, model.scan.sites, dtype=dtype)
    whole, expected = gradients(model, x, weights)
    reads = []
    read = model.net.forward_head
    monkeypatch.setattr(model.net, "forward_head", lambda h: reads.append(len(h)) or read(h))  # type: ignore[func-returns-value]
    small_parts(monkeypatch, model, 3)
    parts, found = gradients(model, x, weights)
    assert sorted(reads) == sorted([3, 3, 1] * 2), "each part is computed twice"
    tolerance = 1e-12 if dtype == torch.float64 else 1e-6
    torch.testing.assert_close(parts, whole, rtol=tolerance, atol=tolerance)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        scale = float(gradient.abs().max())
        torch.testing.assert_close(found[name], gradient, rtol=0, atol=tolerance * scale, msg=name)
    reads.clear()
    with torch.no_grad():
        torch.testing.assert_close(model.log_prob_sites(x), whole, rtol=tolerance, atol=tolerance)
    assert reads == [3, 3, 1]


@pytest.mark.parametrize(
    ("batch", "megabytes", "twice", "images"),
    [
        (16, 0.1, True, 16),  # small enough to be kept
        (16, 3, True, 2),
        (17, 3, True, 2),
        (10, 2, False, 4),  # in three parts: 4, 4 and 2
        (5, 100, True, 1),
        (1, 100, True, 1),
        (8, 1, True, 8),
        (9, 1, False, 5),
    ],
)
def test_how_many_images_are_in_a_part(
    batch: int, megabytes: float, twice: bool, images: int
) -> None:
    assert images_at_once(batch, int(megabytes * 2**20), "cpu", twice=twice) == images


def test_the_peak_is_lower() -> None:
    """Of a step on 16 images with 3·32·32 sub-pixels of 256 levels: less than half as much."""
    arguments: dict[str, Any] = {"width": 33, "depth": 1, "readout": []}
    model = build_model(
        {
            "image_shape": [3, 32, 32],
            "scan": "subpixel",
            "quantizer": {"name": "Identity", "args": {}},
            "head": {"name": "Categorical", "args": {}},
            "net": {"name": "PixelCNN", "args": arguments},
        }
    )
    x = torch.randint(256, (16, 3, 32, 32))

    def whole() -> None:
        (-model.head.log_prob(model.net(x), model.scan.gather(x)).mean()).backward()

    def parts() -> None:
        (-model.log_prob_sites(x).mean()).backward()

    peaks = {step: measure_peak(step) for step in (whole, parts)}
    assert peaks[parts] < 0.45 * peaks[whole], peaks
