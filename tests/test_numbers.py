"""What is computed does not depend on what the caller has set, or on the container of numbers."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
import zoo
from fixtures import default_dtype, palette_model

import pixelar
from pixelar.data.base import ImageSet
from pixelar.model import PixelModel, describe_model
from pixelar.nets import NETS
from pixelar.scan import build_scan, shuffled
from pixelar.scoring.analysis import seen_by

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


def test_a_checkpoint_loads_with_its_averaged_weights(tmp_path: Path) -> None:
    right, last = model(), model()
    with torch.no_grad():
        next(last.parameters()).add_(1)
    average, raw = (
        {f"model.{key}": tensor for key, tensor in each.state_dict().items()}
        for each in (right, last)
    )
    described = {"pixelar": describe_model(right), "state_dict": average}
    torch.save({**described, "current_model_state": raw}, tmp_path / "averaged.ckpt")
    torch.save({**described, "state_dict": raw}, tmp_path / "last.ckpt")
    for file, want in (("averaged.ckpt", right), (str(tmp_path / "last.ckpt"), last)):
        found = pixelar.load(tmp_path / file)
        assert not found.training and pixelar.sample(found, 1, seed=0).shape == (1, 1, 5, 6)
        for key, tensor in want.state_dict().items():
            assert torch.equal(found.state_dict()[key], tensor), key
    with pytest.raises(pixelar.PixelarError, match="no checkpoint at"):
        pixelar.load(tmp_path / "none.ckpt")


@pytest.mark.parametrize("setting", SETTINGS)
def test_models_load_on_the_cpu_in_float32_whatever_is_set(setting: str) -> None:
    right = pixelar.load("digits-imagegpt").state_dict()
    with SETTINGS[setting]():
        found = pixelar.load("digits-imagegpt")
    assert all(torch.equal(found.state_dict()[key], right[key]) for key in right)
    assert {(p.dtype, p.device.type) for p in found.parameters()} == {(torch.float32, "cpu")}
    assert all(p.requires_grad and not p.is_inference() for p in found.parameters())


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
    masked.net.barred[1] = torch.nan  # type: ignore[operator]
    with pytest.raises(pixelar.PixelarError, match=r"weights are not finite, net\.barred first"):
        pixelar.sample(masked, 1, seed=0)


def test_a_palette_without_colours_is_refused() -> None:
    empty = palette_model()
    empty.quantizer.colours.fill_(torch.inf)  # type: ignore[operator]
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
