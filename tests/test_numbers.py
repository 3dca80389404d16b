"""What is computed does not depend on what the caller has set, or on the container of numbers."""

import copy
import pickle
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
import zoo
from fixtures import palette_model
from torch import Tensor, nn

import pixelar
from pixelar.analysis import seen_by
from pixelar.data.base import ImageSet
from pixelar.heads import HEADS
from pixelar.model import PixelModel, build_model, describe_model
from pixelar.nets import NETS
from pixelar.quantizers import Palette, StochasticBinarisation
from pixelar.scan import build_scan, shuffled

pytestmark = pytest.mark.faults

Call = Callable[[PixelModel], Any]

IMAGES = torch.zeros(2, 1, 5, 6, dtype=torch.uint8)
IMAGES[0, 0, 2:] = 255
TOP = torch.arange(5)[:, None].expand(5, 6) < 2
DOTS = (torch.arange(30).view(5, 6) % 7) == 3

DATA = ImageSet(IMAGES, None, ["a", "b"])
ORDERS = [shuffled(build_scan("raster", (1, 5, 6)), seed) for seed in range(2)]

FUNCTIONS: dict[str, Call] = {
    "sample": lambda m: pixelar.sample(m, 2, seed=1),
    "complete": lambda m: pixelar.complete(m, IMAGES, TOP, seed=1),
    "complete by particles": lambda m: pixelar.complete(m, IMAGES, DOTS, particles=3, seed=1),
    "stream": lambda m: torch.cat([*pixelar.stream(m, IMAGES, TOP, every=7, seed=1)]),
    "posterior": lambda m: pixelar.posterior(m, IMAGES, DOTS, particles=3, seed=1).log_known,
    "bits_per_dim": lambda m: pixelar.bits_per_dim(m, IMAGES, batch_size=2),
    "evaluate": lambda m: pixelar.evaluate(m, DATA, batch_size=2).per_image,
    "surprise_map": lambda m: pixelar.surprise_map(m, IMAGES),
    "dependencies": lambda m: pixelar.dependencies(m, trials=1),
    "seen_by": lambda m: seen_by(m, 20, m.encode(IMAGES[:1])),
    "sequential_log_prob": lambda m: pixelar.sequential_log_prob(m, m.encode(IMAGES)),
    "order_averaged_log_prob": lambda m: pixelar.order_averaged_log_prob(
        m, IMAGES, ORDERS, batch_size=2
    ),
}


def model() -> PixelModel:
    return zoo.tiny("LMConv").float()


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


SETTINGS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "float64": lambda: default_dtype(torch.float64),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "another device": lambda: torch.device("meta"),
    "inference mode": torch.inference_mode,
    "no_grad": torch.no_grad,
    "enable_grad": torch.enable_grad,
}


def test_every_public_function_of_a_model_is_tried() -> None:
    others = {"build_model", "load", "save", "in_order"}
    functions = {name for name in pixelar.__all__ if name[0].islower()}
    assert functions <= FUNCTIONS.keys() | others


@pytest.mark.parametrize("name", FUNCTIONS)
def test_results_do_not_depend_on_what_the_caller_has_set(name: str) -> None:
    call, tried = FUNCTIONS[name], model()
    right = call(tried)
    for setting, entered in SETTINGS.items():
        with entered():
            found = call(tried)
        assert torch.equal(found, right) and found.device.type == "cpu", setting


def test_settings_of_the_caller_hold_again_afterwards_and_between_frames() -> None:
    def state() -> tuple[object, ...]:
        return (
            torch.is_autocast_enabled("cpu"),
            torch.get_default_dtype(),
            torch.get_default_device(),
            torch.is_inference_mode_enabled(),
        )

    with torch.autocast("cpu"), torch.inference_mode(), default_dtype(torch.float64):
        before = state()
        for _ in pixelar.stream(model(), IMAGES, TOP, every=5, seed=1):
            assert state() == before
        with pytest.raises(pixelar.PixelarError):
            pixelar.sample(model(), -1)
        assert state() == before


@pytest.mark.parametrize("setting", SETTINGS)
def test_models_load_on_the_cpu_in_float32_whatever_is_set(setting: str) -> None:
    right = pixelar.load("digits-imagegpt").state_dict()
    with SETTINGS[setting]():
        found = pixelar.load("digits-imagegpt")
    assert all(torch.equal(found.state_dict()[key], right[key]) for key in right)
    assert {(p.dtype, p.device.type) for p in found.parameters()} == {(torch.float32, "cpu")}
    assert all(p.requires_grad and not p.is_inference() for p in found.parameters())


# --- Precision


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


def test_a_palette_is_fitted_to_the_pixels_that_it_always_was() -> None:
    """To all of a small set; k-means is given them in the order of the seed."""
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
    from pixelar import palettes

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
    from pixelar.likelihood import add_sites

    sites = torch.full((1, 100_000), -1e-4)
    sites[0, 0] = -1e4
    assert add_sites(sites).dtype == torch.float32
    assert float(add_sites(sites)) == pytest.approx(float(sites.double().sum()), rel=6e-8)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_the_metric_stays_in_double_precision(dtype: torch.dtype) -> None:
    nats = 44 + torch.rand(2000, generator=torch.Generator().manual_seed(0))

    def measured(change: Callable[[nn.Module], nn.Module]) -> list[Tensor]:
        holder = change(nn.ModuleDict({"metric": pixelar.BitsPerDim(64)}))
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


# --- The first pixel


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
    assert build_model(description).quantizer.version == 1  # type: ignore[union-attr]
    args = {"seed": 4, "version": 2}
    description["quantizer"]["args"] = args
    pixelar.save(build_model(description), tmp_path / "new")
    assert describe_model(pixelar.load(tmp_path / "new"))["quantizer"]["args"] == args


# --- Weights and symbols that no model has


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_weights_that_are_not_finite_are_refused(name: str, value: float) -> None:
    broken = model()
    *_, (last, parameter) = broken.named_parameters()
    with torch.no_grad():
        parameter.view(-1)[-1] = value
    symbols = model()
    call = FUNCTIONS[name]
    if "encode" not in call.__code__.co_names:
        assert call(symbols) is not None
    with pytest.raises(pixelar.PixelarError, match=f"weights are not finite, {last} first"):
        call(broken)


def test_buffers_may_mask_with_minus_infinity_but_hold_no_nan() -> None:
    masked = model()
    masked.net.register_buffer("barred", torch.full((3,), -torch.inf), persistent=False)
    assert pixelar.sample(masked, 1, seed=0).shape == (1, 1, 5, 6)
    masked.net.barred[1] = torch.nan  # type: ignore[index, operator]
    with pytest.raises(pixelar.PixelarError, match=r"weights are not finite, net\.barred first"):
        pixelar.sample(masked, 1, seed=0)


def test_a_palette_without_colours_is_refused() -> None:
    empty = palette_model()
    empty.quantizer.colours.fill_(torch.inf)  # type: ignore[operator, union-attr]
    with pytest.raises(pixelar.PixelarError, match="has no colours yet"):
        pixelar.sample(empty, 1)


@pytest.mark.parametrize("net", NETS)
def test_symbols_out_of_range_are_refused(net: str) -> None:
    for head in ("Categorical", "LogisticMixture"):
        tried = zoo.tiny(net, head)
        for wrong in (3, 300, -1):
            x = torch.zeros(2, 1, 5, 6, dtype=torch.long)
            x[1, 0, 2, 4] = wrong
            message = rf"symbols must be from 0 to 2; x\[1, 0, 2, 4\] is {wrong}"
            for call in (
                lambda x, m=tried: m(x),
                lambda x, m=tried: m.log_prob_sites(x),
                lambda x, m=tried: m.log_prob_sites(x * 0, seen=x),
                lambda x, m=tried: pixelar.sequential_log_prob(m, x),
            ):
                with pytest.raises(pixelar.PixelarError, match=message):
                    call(x)


def test_symbols_of_any_integer_type_are_taken_and_others_explained() -> None:
    tried, x = model(), torch.ones(2, 1, 5, 6, dtype=torch.long)
    right = tried(x)
    for given in (x.to(torch.uint8), x.int(), x.numpy().astype("u2"), x.tolist()):
        assert torch.equal(tried(given), right)
    assert tried(x[:0]).shape == (0,)
    for wrong, message in (
        (x.float(), r"symbols must be whole numbers from 0 to 2; got torch\.float32"),
        (x[0], r"symbols of shape \(B, 1, 5, 6\).*got \(1, 5, 6\)"),
        ("101", "got str '101'"),
    ):
        with pytest.raises(pixelar.PixelarError, match=message):
            tried(wrong)
