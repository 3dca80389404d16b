"""Checkpoints of the PyTorch port of PixelCNN++, against a literal evaluation of their layout.

The evaluation is written from the layout alone, with plain functions on the checkpoint's own names:
no module of ours takes part in it.
"""

import itertools
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from fixtures import BLOCKS, FILTERS, MIXTURES, checkpoint, write_imagegpt
from torch import Tensor

from pixelar.cli import main
from pixelar.errors import PixelarError
from pixelar.io.foreign import import_pixelcnnpp
from pixelar.io.restore import LARGEST_SIDE
from pixelar.testing import assert_autoregressive, assert_cache_equals_forward

State = dict[str, Tensor]


# --- the literal evaluation -------------------------------------------------------------------


def weight(state: State, name: str) -> tuple[Tensor, Tensor]:
    g, v = state[f"{name}.weight_g"], state[f"{name}.weight_v"]
    norm = (v**2).flatten(1).sum(1).sqrt().view(g.shape)
    return g * v / norm, state[f"{name}.bias"]


def conv(state: State, name: str, x: Tensor, stride: int = 1) -> Tensor:
    w, b = weight(state, name)
    padding = {
        (2, 3): (1, 1, 1, 0),
        (2, 2): (1, 0, 1, 0),
        (1, 3): (1, 1, 0, 0),
        (2, 1): (0, 0, 1, 0),
    }
    return F.conv2d(F.pad(x, padding[(w.shape[2], w.shape[3])]), w, b, stride=stride)


def deconv(state: State, name: str, x: Tensor) -> Tensor:
    w, b = weight(state, name)
    y = F.conv_transpose2d(x, w, b, stride=2, output_padding=1)
    return y[:, :, :-1, 1:-1] if w.shape[3] == 3 else y[:, :, :-1, :-1]


def linear(state: State, name: str, x: Tensor) -> Tensor:
    w, b = weight(state, name)
    return torch.einsum("bchw,oc->bohw", x, w) + b[:, None, None]


def concat_elu(x: Tensor) -> Tensor:
    return F.elu(torch.cat([x, -x], 1))


def block(state: State, name: str, x: Tensor, aside: Tensor | None = None) -> Tensor:
    h = conv(state, f"{name}.conv_input.conv", concat_elu(x))
    if aside is not None:
        h = h + linear(state, f"{name}.nin_skip.lin_a", concat_elu(aside))
    y = conv(state, f"{name}.conv_out.conv", concat_elu(h))
    return x + y[:, :FILTERS] * torch.sigmoid(y[:, FILTERS:])


def down_by_one(x: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(x[:, :, :1]), x[:, :, :-1]], 2)


def right_by_one(x: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(x[..., :1]), x[..., :-1]], 3)


def outputs(state: State, images: Tensor) -> Tensor:
    """Returns the port's output maps (B, P, H, W) for 8-bit images."""
    x = images.double() / 127.5 - 1
    x = torch.cat([x, torch.ones_like(x[:, :1])], 1)
    us = [down_by_one(conv(state, "u_init.conv", x))]
    uls = [
        down_by_one(conv(state, "ul_init.0.conv", x))
        + right_by_one(conv(state, "ul_init.1.conv", x))
    ]
    for s in range(3):
        for r in range(BLOCKS):
            us.append(block(state, f"up_layers.{s}.u_stream.{r}", us[-1]))
            uls.append(block(state, f"up_layers.{s}.ul_stream.{r}", uls[-1], us[-1]))
        if s < 2:
            us.append(conv(state, f"downsize_u_stream.{s}.conv", us[-1], 2))
            uls.append(conv(state, f"downsize_ul_stream.{s}.conv", uls[-1], 2))
    u, ul = us.pop(), uls.pop()
    for s in range(3):
        for r in range(BLOCKS + (s > 0)):
            u = block(state, f"down_layers.{s}.u_stream.{r}", u, us.pop())
            aside = torch.cat([u, uls.pop()], 1)
            ul = block(state, f"down_layers.{s}.ul_stream.{r}", ul, aside)
        if s < 2:
            u = deconv(state, f"upsize_u_stream.{s}.deconv", u)
            ul = deconv(state, f"upsize_ul_stream.{s}.deconv", ul)
    assert not us and not uls
    return linear(state, "nin_out.lin_a", F.elu(ul))


def log_likelihood(maps: Tensor, images: Tensor, *, exact: bool = False) -> tuple[Tensor, bool]:
    """Returns the port's log-likelihood of each image, and whether a bin's mass was below 1e-5;
    `exact` omits the density that the port uses there.
    """
    batch, colours, height, width = images.shape
    total = torch.zeros(batch, dtype=torch.float64)
    below = False
    for n, i, j in itertools.product(range(batch), range(height), range(width)):
        p = maps[n, :, i, j]
        logits = torch.log_softmax(p[:MIXTURES], 0)
        rest = p[MIXTURES:].view(colours, -1)
        means, scales = rest[:, :MIXTURES], rest[:, MIXTURES : 2 * MIXTURES].clamp(min=-7)
        levels = images[n, :, i, j].tolist()
        x = [level / 127.5 - 1 for level in levels]
        joint = logits.clone()
        for c in range(colours):
            mean = means[c]
            if c == 1:
                mean = mean + torch.tanh(rest[0, 2 * MIXTURES :]) * x[0]
            if c == 2:
                mean = mean + torch.tanh(rest[1, 2 * MIXTURES :]) * x[0]
                mean = mean + torch.tanh(rest[2, 2 * MIXTURES :]) * x[1]
            upper = (x[c] + 1 / 255 - mean) / scales[c].exp()
            lower = (x[c] - 1 / 255 - mean) / scales[c].exp()
            if levels[c] == 0:
                log_mass = F.logsigmoid(upper)
            elif levels[c] == 255:
                log_mass = F.logsigmoid(-lower)
            else:
                mass = upper.sigmoid() - lower.sigmoid()
                middle = (x[c] - mean) / scales[c].exp()
                density = middle - scales[c] - 2 * F.softplus(middle) - math.log(127.5)
                log_mass = torch.where(mass > 1e-5, mass.log(), density)
                below = below or bool((mass <= 1e-5).any())
                if exact:
                    tails = F.logsigmoid(upper) + F.logsigmoid(-lower)
                    log_mass = tails + torch.log(-torch.expm1(lower - upper))
            joint = joint + log_mass
        total[n] += torch.logsumexp(joint, 0)
    return total, below


# --- tests ------------------------------------------------------------------------------------


def written(state: object, tmp_path: Path) -> Path:
    torch.save(state, tmp_path / "model.pth")
    return tmp_path / "model.pth"


def some_images(colours: int, size: tuple[int, int]) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(256, (2, colours, *size), generator=generator).to(torch.uint8)
    images[0, :, 0, 0], images[1, :, -1, -1] = 0, 255
    return images


@pytest.mark.parametrize("colours", [1, 3])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_likelihoods_are_those_of_the_layout(colours: int, prefix: str, tmp_path: Path) -> None:
    state = checkpoint(colours)
    path = written({prefix + name: value for name, value in state.items()}, tmp_path)
    model = import_pixelcnnpp(path, size=(8, 12))
    images = some_images(colours, (8, 12))
    maps = outputs(state, images)
    expected, below = log_likelihood(maps, images)
    assert not below, "the comparison is to be of masses alone"
    with torch.no_grad():
        found = model(model.encode(images))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)


def test_where_a_mass_is_small_the_port_takes_a_density(tmp_path: Path) -> None:
    """With sharp components, our likelihood is that of the exact masses."""
    state = checkpoint(3)
    state["nin_out.lin_a.bias"] -= 3
    model = import_pixelcnnpp(written(state, tmp_path), size=(4, 4))
    images = some_images(3, (4, 4))
    maps = outputs(state, images)
    theirs, below = log_likelihood(maps, images)
    exact, _ = log_likelihood(maps, images, exact=True)
    with torch.no_grad():
        found = model(model.encode(images))
    assert below
    torch.testing.assert_close(found, exact, rtol=1e-10, atol=0)
    assert not torch.allclose(theirs, exact, rtol=1e-6, atol=0)
    torch.testing.assert_close(theirs, exact, rtol=1e-2, atol=0)


def test_an_imported_model_is_like_any_other(tmp_path: Path) -> None:
    model = import_pixelcnnpp(written(checkpoint(3), tmp_path), size=(4, 8))
    assert not model.training and model.image_shape == (3, 4, 8)
    assert_autoregressive(model, trials=1)
    assert_cache_equals_forward(model, batch=1)
    default = import_pixelcnnpp(written(checkpoint(3), tmp_path))
    assert default.image_shape == (3, 32, 32)
    assert import_pixelcnnpp(written(checkpoint(1), tmp_path)).image_shape == (1, 28, 28)


def without(name: str) -> State:
    return {key: value for key, value in checkpoint(3).items() if key != name}


SKIP = "up_layers.0.ul_stream.1.nin_skip.lin_a.weight_v"
REFUSED: dict[str, tuple[object, str]] = {
    "no tensors": ({"step": 3}, "holds no tensors by name"),
    "a list": ([1, 2], "holds no tensors by name"),
    "empty": ({}, "holds no tensors by name"),
    "missing": (without(SKIP), f"it lacks the tensor '{SKIP}'"),
    "no blocks": (
        {k: v for k, v in checkpoint(3).items() if "layers" not in k},
        "it lacks the tensor 'up_layers.0.u_stream.0.conv_input.conv.bias'",
    ),
    "unknown": (
        {**checkpoint(3), "extra.bias": torch.zeros(1)},
        "it has a tensor that PixelCNN++ does not have: 'extra.bias'",
    ),
    "a block too many": (
        {**checkpoint(3), "up_layers.0.u_stream.7.conv_out.conv.bias": torch.zeros(6)},
        "it has a tensor that PixelCNN++ does not have: "
        "'up_layers.0.u_stream.7.conv_out.conv.bias'",
    ),
    "shape": (
        {**checkpoint(3), SKIP: torch.zeros(3, 5)},
        f"tensor '{SKIP}' has the shape (3, 5) where (3, 6) is expected",
    ),
    "whole numbers": (
        {**checkpoint(3), SKIP: torch.zeros(3, 6, dtype=torch.long)},
        f"tensor '{SKIP}' holds no floating-point numbers",
    ),
    "8 bits": (
        {**checkpoint(3), SKIP: torch.zeros(3, 6, dtype=torch.float8_e4m3fn)},
        f"tensor '{SKIP}' holds no floating-point numbers",
    ),
    "not a number": (
        {**checkpoint(3), SKIP: torch.full((3, 6), torch.nan)},
        f"tensor '{SKIP}' holds numbers that are not finite",
    ),
    "infinite": (
        {**checkpoint(3), SKIP: torch.full((3, 6), -torch.inf)},
        f"tensor '{SKIP}' holds numbers that are not finite",
    ),
    "colours": (
        {**checkpoint(3), "u_init.conv.weight_v": torch.zeros(3, 6, 2, 3)},
        "images must have 1 or 3 colours; got 5",
    ),
    "mixture": (
        {**checkpoint(3), "nin_out.lin_a.bias": torch.zeros(7)},
        "a mixture has 10 numbers per component; got 7 in all",
    ),
    "first layer": (
        {**checkpoint(3), "u_init.conv.weight_v": torch.zeros(3)},
        "its first layer is not a convolution",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_files_are_refused_in_a_sentence(name: str, tmp_path: Path) -> None:
    state, sentence = REFUSED[name]
    path = written(state, tmp_path)
    with pytest.raises(PixelarError) as refused:
        import_pixelcnnpp(path, size=(4, 4))
    message = str(refused.value)
    assert sentence in message and message.startswith(f"{path} ")
    assert "\n" not in message


class Danger:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("executed",))


def test_files_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(PixelarError, match=f"no checkpoint at {tmp_path}/none.pth"):
        import_pixelcnnpp(tmp_path / "none.pth")
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(PixelarError, match=r"is not a readable checkpoint: [^\n]*$"):
        import_pixelcnnpp(tmp_path / "text.pth")
    with pytest.raises(PixelarError, match=r"object of print, whose code would have to be execut"):
        import_pixelcnnpp(written({"x": Danger()}, tmp_path))
    assert "executed" not in capsys.readouterr().out
    with pytest.raises(PixelarError, match="its sides must be multiples of 4, not 6×4"):
        import_pixelcnnpp(written(checkpoint(3), tmp_path), size=(6, 4))


def test_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written(checkpoint(3), tmp_path)
    count = sum(value.numel() for value in checkpoint(3).values())
    told = "ours: PixelCNNPP, images of 3 × {}, " + f"{count:,} parameters\n"
    assumed = "the weights do not show the size: {} is assumed, or give --size HxW\n"
    importing = ["import", "model.pth", "-o", "ours"]
    assert main(importing) == 0
    assert capsys.readouterr().out == told.format("32 × 32") + assumed.format("32×32")
    assert main([*importing, "--size", "4x8"]) == 0
    assert capsys.readouterr().out == told.format("4 × 8")
    assert main(["info", "ours"]) == 0
    assert "3 × 4 × 8" in capsys.readouterr().out
    assert main(["sample", "ours", "-n", "2", "-o", "samples.png"]) == 0
    assert Path("samples.png").exists()
    written(checkpoint(1), tmp_path)
    assert main(["import", "model.pth", "-o", "grey", "--format", "pixelcnnpp"]) == 0
    assert capsys.readouterr().out.endswith(assumed.format("28×28"))


def test_mistakes_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one sentence, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    written(without(SKIP), tmp_path)
    write_imagegpt(Path("theirs"))
    wrong = ("32", "0x8", f"8x{LARGEST_SIDE + 1}", "8x8x3")
    sized = f"must be HxW, such as 32x32, with sides from 1 to {LARGEST_SIDE}; got "
    for path, size, sentence in (
        ("model.pth", "8x8", f"it lacks the tensor '{SKIP}'"),
        ("model.pth", "6x8", "its sides must be multiples of 4, not 6×8"),
        (
            "theirs",
            "8x8",
            "--size is for PixelCNN++ and LMConv only: theirs is read",
        ),
        *(("model.pth", text, f"{sized}{text!r}") for text in wrong),
    ):
        assert main(["import", path, "-o", "ours", "--size", size]) == 2
        message = capsys.readouterr().err
        assert sentence in message and message.startswith("pixelar: ") and message.count("\n") == 1
        assert not Path("ours").exists()
