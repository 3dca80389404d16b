"""Files of weights as programs leave them: read where nothing has to be executed, else refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fixtures import checkpoint, write_imagegpt
from safetensors.torch import load_file
from torch import Tensor, nn

from pixelar.errors import PixelarError
from pixelar.io.foreign import import_imagegpt, import_pixelcnnpp

pytestmark = pytest.mark.faults

State = dict[str, Tensor]
SIZE = 4, 4
OLD = {"_use_new_zipfile_serialization": False}
ORIGINAL = "parametrizations.weight.original"

READ: dict[str, Callable[[State, Path], Any]] = {
    "many GPUs": lambda w, path: torch.save({f"module.{n}": t for n, t in w.items()}, path),
    "compiled": lambda w, path: torch.save({f"_orig_mod.{n}": t for n, t in w.items()}, path),
    "both": lambda w, path: torch.save({f"_orig_mod.module.{n}": t for n, t in w.items()}, path),
    "averaged": lambda w, path: torch.save(
        {"n_averaged": torch.tensor(3), **{f"module.{n}": t for n, t in w.items()}}, path
    ),
    "shadow": lambda w, path: torch.save({"shadow": w, "num_updates": 3}, path),
    "Lightning": lambda w, path: torch.save(
        {"state_dict": {f"model.{n}": t for n, t in w.items()}, "epoch": 1, "callbacks": {}}, path
    ),
    "parameters": lambda w, path: torch.save({n: nn.Parameter(t) for n, t in w.items()}, path),
    "old format": lambda w, path: torch.save(w, path, **OLD),
}


@pytest.mark.exhaustive(1)
@pytest.mark.parametrize("form", READ)
@pytest.mark.parametrize("net", ["PixelCNN++", "ImageGPT"])
def test_weights_are_read_however_they_are_wrapped(form: str, net: str, tmp_path: Path) -> None:
    if net == "ImageGPT":
        write_imagegpt(tmp_path)
        expected = import_imagegpt(tmp_path).state_dict()
        weights = load_file(tmp_path / "model.safetensors")
        (tmp_path / "model.safetensors").unlink()
        READ[form](weights, tmp_path / "pytorch_model.bin")
        found = import_imagegpt(tmp_path).state_dict()
    else:
        torch.save(checkpoint(3), tmp_path / "plain.pth")
        expected = import_pixelcnnpp(tmp_path / "plain.pth", size=SIZE).state_dict()
        READ[form](checkpoint(3), tmp_path / "model.pth")
        found = import_pixelcnnpp(tmp_path / "model.pth", size=SIZE).state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_the_newer_weight_norm_is_read(tmp_path: Path) -> None:
    newer = {}
    for name, tensor in checkpoint(3).items():
        named = name.replace("weight_g", f"{ORIGINAL}0").replace("weight_v", f"{ORIGINAL}1")
        newer[named] = tensor
    for name, weights in (("older.pth", checkpoint(3)), ("newer.pth", newer)):
        torch.save(weights, tmp_path / name)
    old, new = (
        import_pixelcnnpp(tmp_path / f"{form}.pth", size=SIZE) for form in ("older", "newer")
    )
    assert all(map(torch.equal, old.state_dict().values(), new.state_dict().values()))


def exported(path: Path) -> None:
    program = torch.export.export(nn.Linear(2, 2), (torch.zeros(1, 2),))
    torch.export.save(program, path.with_suffix(".pt2"))
    path.with_suffix(".pt2").rename(path)


def damaged(path: Path) -> None:
    torch.save(checkpoint(3), path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    torch.save(checkpoint(3), path)
    path.write_bytes(path.read_bytes()[:3000])


ALONE = r"in the program that wrote it, save the weights alone: torch\.save\("
REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "module": (
        lambda path: torch.save(nn.Linear(2, 2), path),
        rf"an object of torch.nn.modules.linear.Linear, whose code .* {ALONE}model.state_dict",
    ),
    "old module": (
        lambda path: torch.save(nn.Linear(2, 2), path, **OLD),
        rf"an object of torch.nn.modules.linear.Linear, whose code .* {ALONE}model.state_dict",
    ),
    "module in a dictionary": (
        lambda path: torch.save({"net": nn.Linear(2, 2), "epoch": 3}, path),
        rf"an object of torch.nn.modules.linear.Linear, whose code .* {ALONE}model.state_dict",
    ),
    "TorchScript": (
        lambda path: torch.jit.script(nn.Linear(2, 2)).save(str(path)),
        rf"is a TorchScript program, .* {ALONE}torch.jit.load\('model.pth'\)",
    ),
    "torch.export": (
        exported,
        rf"is a program of torch.export, .* {ALONE}torch.export.load\('model.pth'\)",
    ),
    "a bit flipped": (damaged, "is damaged: .* does not match its checksum"),
    "cut off": (cut, "is not a readable checkpoint: it ends too early; copy it again"),
    "empty": (lambda path: path.touch(), "is not a readable checkpoint: it is empty"),
    "text": (
        lambda path: path.write_text("weights"),
        "is not a readable checkpoint: it is damaged, or no file of torch.save",
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", REFUSED)
def test_what_would_be_executed_or_is_damaged_is_refused(kind: str, tmp_path: Path) -> None:
    write, sentence = REFUSED[kind]
    write(tmp_path / "model.pth")
    with pytest.raises(PixelarError, match=sentence) as refused:
        import_pixelcnnpp(tmp_path / "model.pth")
    assert "\n" not in str(refused.value)
