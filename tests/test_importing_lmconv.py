"""Checkpoints of LMConv's authors, against a literal evaluation of their layout.

The evaluation computes one position after another, with plain functions on the checkpoint's own
names: no module of ours takes part in it.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fixtures import LMCONV_BLOCKS, LMCONV_WIDTH, lmconv_checkpoint
from torch import Tensor

from pixelar.cli import main
from pixelar.errors import PixelarError
from pixelar.io.foreign import import_lmconv, import_model
from pixelar.io.foreign.pixelcnnpp import mixture_order
from pixelar.model import describe_model
from pixelar.testing import assert_autoregressive, assert_cache_equals_forward

pytestmark = pytest.mark.faults

State = dict[str, Tensor]
SIZE = (3, 4)


# --- the literal evaluation -------------------------------------------------------------------


def order(name: str) -> list[tuple[int, int]]:
    """Positions in the order of generation."""
    height, width = SIZE
    rows = [[(i, j) for j in range(width)] for i in range(height)]
    if name == "s_curve":
        rows[1::2] = [row[::-1] for row in rows[1::2]]
    return [place for row in rows for place in row]


def conv(state: State, name: str, x: Tensor, when: dict, *, dilation: int, centre: bool) -> Tensor:
    """A convolution (C, H, W) whose taps read earlier positions only, and their own if `centre`."""
    w, b = state[f"{name}.weight"], state[f"{name}.bias"]
    half = w.shape[2] // 2
    found = torch.zeros(len(b), *SIZE, dtype=torch.float64)
    for (i, j), t in when.items():
        found[:, i, j] = b
        for di in range(-half, half + 1):
            for dj in range(-half, half + 1):
                place = i + dilation * di, j + dilation * dj
                if when.get(place, len(when)) < t + (centre and place == (i, j)):
                    found[:, i, j] += w[:, :, half + di, half + dj] @ x[:, place[0], place[1]]
    return found


def linear(state: State, name: str, x: Tensor) -> Tensor:
    g, v = state[f"{name}.weight_g"], state[f"{name}.weight_v"]
    weight = g * v / v.square().sum(1, keepdim=True).sqrt()
    return torch.einsum("oc,chw->ohw", weight, x) + state[f"{name}.bias"][:, None, None]


def pono(x: Tensor) -> Tensor:
    centred = x - x.mean(0)
    variance = centred.square().sum(0) / (len(x) - 1)
    return centred / (variance + 1e-5).sqrt()


def concat_elu(x: Tensor) -> Tensor:
    return F.elu(torch.cat([x, -x]))


def outputs(state: State, image: Tensor, when: dict, dilation: int) -> Tensor:
    """Returns the output map (P, H, W) for values (C, H, W) from -1 to 1."""

    def masked(name: str, x: Tensor, *, far: bool = False, centre: bool = True) -> Tensor:
        return conv(state, name, x, when, dilation=dilation if far else 1, centre=centre)

    def block(name: str, x: Tensor, aside: Tensor | None = None) -> Tensor:
        h = pono(masked(f"{name}.conv_input", concat_elu(x)))
        if aside is not None:
            h = h + linear(state, f"{name}.nin_skip.lin_a", concat_elu(aside))
        y = masked(f"{name}.conv_out", concat_elu(h))
        return x + pono(y[:LMCONV_WIDTH]) * torch.sigmoid(y[LMCONV_WIDTH:])

    x = torch.cat([image, torch.ones(1, *SIZE, dtype=torch.float64)])
    us = [pono(masked("u_init", x, centre=False))]
    for s in range(3):
        for r in range(LMCONV_BLOCKS):
            us.append(block(f"up_layers.{s}.u_stream.{r}", us[-1]))
        if s < 2:
            us.append(pono(masked(f"downsize_u_stream.{s}", us[-1], far=True)))
    u = us.pop()
    for s in range(3):
        for r in range(LMCONV_BLOCKS + (s > 0)):
            u = block(f"down_layers.{s}.u_stream.{r}", u, us.pop())
        if s < 2:
            u = pono(masked(f"upsize_u_stream.{s}", u, far=True))
    assert not us
    return linear(state, "nin_out.lin_a", F.elu(u))


@pytest.mark.parametrize(
    ("colors", "numbers", "name", "dilation"),
    [(1, 6, "s_curve", 2), (3, 20, "s_curve", 2), (1, 2, "raster_scan", 2), (1, 6, "s_curve", 1)],
)
def test_outputs_are_the_authors(
    colors: int, numbers: int, name: str, dilation: int, tmp_path: Path
) -> None:
    state = lmconv_checkpoint(colors, numbers)
    options = {"normalization": "pono", "order": [name], "max_dilation": dilation}
    path = written({"model_state_dict": state, "epoch": 7, "args": options}, tmp_path)
    model = import_model(path, size=SIZE)
    levels = model.net.levels
    x = torch.randint(levels, (2, colors, *SIZE), generator=torch.Generator().manual_seed(1))
    places = order(name)
    when = {place: t for t, place in enumerate(places)}
    values = 2 * x.double() / (levels - 1) - 1
    maps = torch.stack([outputs(state, image, when, dilation) for image in values])
    expected = torch.stack([maps[:, :, i, j] for i, j in places], 1)  # (B, T, P)
    if numbers != 2:
        expected = expected[..., mixture_order(describe_model(model))]
    with torch.no_grad():
        torch.testing.assert_close(model.net(x), expected, rtol=1e-11, atol=1e-11)


def written(content: Any, folder: Path) -> Path:  # noqa: ANN401
    torch.save(content, folder / "model.pth")
    return folder / "model.pth"


def test_an_imported_model_is_like_any_other(tmp_path: Path) -> None:
    path = written(lmconv_checkpoint(3, 20), tmp_path)
    model = import_lmconv(path, size=SIZE)
    assert model.scan.name == "snake" and not model.training
    assert_autoregressive(model, trials=1)
    assert_cache_equals_forward(model, batch=1)
    assert import_lmconv(path).image_shape == (3, 32, 32)


def test_files_as_programs_wrap_them(tmp_path: Path) -> None:
    """Of many GPUs, of Lightning, compiled, with options and NumPy's numbers, in the old format."""
    state = lmconv_checkpoint(1, 6)
    loss, options = np.float64(3.2), argparse.Namespace(order="s_curve", normalization="pono")
    newer = {
        name.replace("weight_g", "parametrizations.weight.original0").replace(
            "weight_v", "parametrizations.weight.original1"
        ): value
        for name, value in state.items()
    }
    expected = import_lmconv(written(state, tmp_path), size=SIZE).state_dict()
    for content in (
        {"module." + name: value for name, value in state.items()},
        {"state_dict": {"model." + name: value for name, value in state.items()}, "epoch": 3},
        {
            "_orig_mod." + name.replace("u_stream.", "u_stream._orig_mod."): state[name]
            for name in state
        },
        {"model_state_dict": state, "args": options, "test_loss": loss},
        {"shadow": state, "decay": 0.999},
        {"model_state_dict": state, "ema_state_dict": {n: 2 * v for n, v in state.items()}},
        {"model_state_dict": state, "args": None},
        newer,
    ):
        found = import_lmconv(written(content, tmp_path), size=SIZE).state_dict()
        assert all(torch.equal(found[name], value) for name, value in expected.items())
    torch.save(state, tmp_path / "model.pth", _use_new_zipfile_serialization=False)
    assert import_lmconv(tmp_path / "model.pth", size=SIZE)


def test_options_of_a_training_are_followed(tmp_path: Path) -> None:
    """Fewer bits, the size of faces, and a turned order where its variants are trained in too."""
    options = {"n_bits": 5, "dataset": "celebahq", "celeba_size": 64, "order": ["s_curve"]}
    options |= {"base_order_transpose": True, "randomize_order": True, "order_variants": None}
    content = {"model_state_dict": lmconv_checkpoint(3, 20), "args": options}
    model = import_lmconv(written(content, tmp_path))
    assert model.image_shape == (3, 64, 64) and model.net.levels == 32
    assert type(model.quantizer).__name__ == "BitDepth" and model.scan.name == "snake"


def with_args(**options: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"model_state_dict": lmconv_checkpoint(1, 6), "args": options}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (torch.nn.Linear(2, 2), "holds an object of torch.nn.modules.linear.Linear, whose code"),
        (
            {"model": lmconv_checkpoint(1, 6), "ema": lmconv_checkpoint(1, 6)},
            "sets of weights (model, ema)",
        ),
        (with_args(normalization="weight_norm"), "trained with --normalization 'weight_norm'"),
        (with_args(order=["hilbert"]), "in the order 'hilbert'; those that are read are raster"),
        (with_args(order=["s_curve", "hilbert"]), "in the order ['s_curve', 'hilbert']"),
        (with_args(base_order_transpose=True), "trained in s_curve with base_order_transpose; the"),
        (with_args(randomize_order=True, order_variants=[1, 3]), "with order_variants [1, 3]; the"),
        (with_args(max_dilation="2"), "option max_dilation must be a whole number from 1; got '2'"),
        (with_args(n_bits=9), "bits must be from 1 to 8; got 9"),
        (
            {**lmconv_checkpoint(1, 6), "u_init.mask_weight": torch.zeros(4, 3, 3)},
            "a tensor that LMConv with PONO does not have: 'u_init.mask_weight'",
        ),
        (lmconv_checkpoint(1, 7), "a mixture has 3 numbers per component; got 7 in all"),
        ({"downsize_u_stream.0.weight": torch.zeros(2)}, "it lacks the tensor 'u_init.weight'"),
    ],
)
def test_other_files_are_refused_in_a_sentence(
    content: Any,  # noqa: ANN401
    sentence: str,
    tmp_path: Path,
) -> None:
    with pytest.raises(PixelarError) as refused:
        import_lmconv(written(content, tmp_path), size=SIZE)
    assert sentence in str(refused.value) and "\n" not in str(refused.value)


def test_programs_are_not_executed(tmp_path: Path) -> None:
    traced = torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2))
    traced.save(str(tmp_path / "model.pt"))
    with pytest.raises(PixelarError, match=r"TorchScript program, .*torch.jit.load\('model.pt'\)"):
        import_model(tmp_path / "model.pt")


def test_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written(lmconv_checkpoint(1, 6), tmp_path)
    assert main("import model.pth -o ours --size 3x4".split()) == 0
    assert "LMConv, images of 1 × 3 × 4" in capsys.readouterr().out
    assert main("import model.pth -o grey --format lmconv".split()) == 0
    assert "does not" not in capsys.readouterr().err
    assert main("sample ours -n 1 -o a.png".split()) == 0
