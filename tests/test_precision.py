"""Symbols, likelihoods and their mean are computed without loss, in whatever a model is cast to."""

import copy
import pickle
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
import zoo
from fixtures import default_dtype, palette_model
from torch import Tensor, nn

import pixelar
from pixelar.heads import HEADS
from pixelar.model import build_model, describe_model
from pixelar.quantizers import Palette, StochasticBinarisation

pytestmark = pytest.mark.faults


def test_a_palette_keeps_its_colours_when_the_model_is_cast() -> None:
    images = torch.randint(256, (6, 3, 8, 8), dtype=torch.uint8)
    right = palette_model()
    tokens, colours = right.encode(images), right.quantizer.colours
    for cast in (nn.Module.half, nn.Module.bfloat16, nn.Module.double):
        found = cast(copy.deepcopy(right))
        assert next(found.parameters()).dtype != torch.float32
        assert torch.equal(found.quantizer.colours, colours)  # type: ignore[arg-type]
        for autocast in (nullcontext(), torch.autocast("cpu"), torch.autocast("cpu", torch.half)):
            with autocast:
                assert torch.equal(found.encode(images), tokens)


def test_colours_that_are_stored_in_float64_are_read_so() -> None:
    stored, palette = torch.rand(4, 3, dtype=torch.float64) * 255, Palette(levels=4)
    palette.load_state_dict({"colours": stored})
    assert torch.equal(palette.colours, stored)
    assert torch.equal(copy.deepcopy(palette).half().colours, stored)


def test_tokens_are_the_nearest_colours_and_the_first_of_equal_ones() -> None:
    colours = torch.tensor([[9, 0, 0], [3, 0, 0], [5, 0, 0], [3, 0, 0], [0.1, 0.2, 0.3], [0, 0, 0]])
    palette = Palette(levels=6)
    palette.load_state_dict({"colours": colours})
    reds = torch.tensor([4, 3, 7, 8, 9, 0, 1], dtype=torch.uint8)
    images = torch.stack((reds, reds * 0, reds * 0))[None, :, None]
    assert palette.encode(images).flatten().tolist() == [1, 1, 0, 0, 0, 5, 4]
    assert palette.encode(images[:0]).shape == (0, 1, 1, 7)


def test_equal_distances_are_not_rounded_apart() -> None:
    """Each pixel lies in the middle between two colours that are hardly away from it."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (1, 3, 10, 20), generator=generator, dtype=torch.uint8)
    middle = pixels.movedim(1, -1).reshape(-1, 3).float()
    aside = torch.randint(1, 99, middle.shape, generator=generator) / 256
    palette = Palette(levels=400)
    palette.load_state_dict({"colours": torch.cat((middle + aside, middle - aside))})
    apart = middle[:, None].double() - palette.colours.double()
    first = apart.square().sum(-1).argmin(-1)
    assert torch.equal(first, torch.arange(200))  # and not 200 further
    assert torch.equal(palette.encode(pixels).flatten(), first)


def test_a_palette_is_fitted_to_the_pixels_that_it_always_was() -> None:
    """All of a small set; k-means gets them in the order of the seed."""
    from sklearn.cluster import MiniBatchKMeans

    images = torch.randint(256, (9, 3, 7, 5), dtype=torch.uint8)
    palette = Palette(levels=8, seed=3)
    palette.fit(images.flip(0).flip(0))
    pixels = images.movedim(1, -1).reshape(-1, 3)
    pixels = pixels[torch.randperm(len(pixels), generator=torch.Generator().manual_seed(3))]
    means = MiniBatchKMeans(8, random_state=3, batch_size=8192, n_init=3)
    assert torch.equal(
        palette.colours, torch.from_numpy(means.fit(pixels.numpy().astype("f4")).cluster_centers_)
    )


def test_large_sets_are_fitted_by_some_of_their_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    from pixelar.quantizers import colors as palettes

    monkeypatch.setattr(palettes, "SHUFFLED", 100)
    monkeypatch.setattr(palettes, "FITTED", 50)
    monkeypatch.setattr(palettes, "READ", 400)
    # every pixel has a colour of its own, which says where it comes from
    number = torch.arange(40 * 5 * 6).view(40, 5, 6)
    images = torch.stack((number % 256, number // 256, number * 0), 1).to(torch.uint8)
    chosen = palettes._some_pixels(images, seed=0).long()
    assert len(chosen) == 50 == len(chosen.unique(dim=0))
    assert set((chosen[:, 0] + 256 * chosen[:, 1]).tolist()) < set(range(1200))
    assert palettes._count_colours(images, 2000) == 1200 and palettes._count_colours(images, 9) >= 9


def test_every_head_computes_in_float32_under_autocast() -> None:
    generator = torch.Generator().manual_seed(0)
    for name, kind in HEADS.items():
        levels, symbols = (2, 1) if name == "Bernoulli" else (16, 3)
        head = kind(levels, symbols, **zoo.HEAD_ARGS[name])
        params = torch.randn(50, head.num_params, generator=generator)
        x = torch.randint(levels, (50, symbols), generator=generator)
        for given in (params, params.bfloat16(), params.half(), params.double()):
            wide = given if given.dtype == torch.float64 else given.float()
            right = head.log_prob(wide, x), head.log_pmf(wide, x[:, :0])
            with torch.autocast("cpu", torch.bfloat16):
                found = head.log_prob(given, x), head.log_pmf(given, x[:, :0])
            for each, want in zip(found, right, strict=True):
                assert each.dtype == want.dtype and torch.equal(each, want)


def test_likelihoods_are_added_up_without_loss() -> None:
    from pixelar.model.likelihood import add_sites

    sites = torch.full((1, 100_000), -1e-4)
    sites[0, 0] = -1e4
    assert add_sites(sites).dtype == torch.float32
    assert float(add_sites(sites)) == pytest.approx(float(sites.double().sum()), rel=6e-8)


@pytest.mark.filterwarnings("ignore:The ``compute`` method")  # after its sums were loaded
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_the_metric_stays_in_double_precision(dtype: torch.dtype) -> None:
    nats = 44 + torch.rand(2000, generator=torch.Generator().manual_seed(0))

    def measured(change: Callable[[nn.Module], nn.Module]) -> list[Tensor]:
        holder: Any = change(nn.ModuleDict({"metric": pixelar.BitsPerDim(64)}))
        for part in nats.split(64):
            holder = pickle.loads(pickle.dumps(change(holder)))
            holder["metric"].update(part)
        metric = holder["metric"]
        assert isinstance(metric, pixelar.BitsPerDim)
        first = [metric.compute(), metric.standard_error()]
        metric.persistent(True)
        again = pixelar.BitsPerDim(64)
        again.persistent(True)
        again.load_state_dict(change(metric).state_dict())
        assert [again.compute(), again.standard_error()] == first
        metric.reset()
        assert metric.bits.dtype == metric.squares.dtype == torch.float64
        return first

    right = measured(lambda module: module)
    assert all(value.dtype == torch.float64 for value in right)
    with default_dtype(dtype):
        assert measured(lambda module: module.to(dtype)) == right
        assert measured(lambda module: module.type(dtype)) == right


def test_the_first_pixel_counts_in_the_binarisation() -> None:
    images = torch.full((64, 1, 8, 8), 128, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.arange(64)
    others = StochasticBinarisation().encode(images).flatten(1)[:, 1:]
    assert len(others.unique(dim=0)) == 64
    agreeing = (others[0] == others[1:]).double().mean()
    assert abs(float(agreeing) - 0.5) < 4 * 0.5 / (63 * 63) ** 0.5  # as independent draws do
    before = StochasticBinarisation(version=1).encode(images).flatten(1)[:, 1:]
    assert len(before.unique(dim=0)) == 1
    with pytest.raises(pixelar.PixelarError, match="version must be 1 or 2; got 3"):
        StochasticBinarisation(version=3)  # type: ignore[arg-type]


def test_models_from_before_keep_their_draw(tmp_path: Path) -> None:
    description = describe_model(pixelar.load("binary-mnist-imagegpt"))
    assert description["quantizer"]["args"] == {"seed": 0}
    assert build_model(description).quantizer.version == 1
    args = {"seed": 4, "version": 2}
    description["quantizer"]["args"] = args
    pixelar.save(build_model(description), tmp_path / "new")
    assert describe_model(pixelar.load(tmp_path / "new"))["quantizer"]["args"] == args
