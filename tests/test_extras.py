"""The core works without the packages of the extras, and what is missing is named."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pixelar.errors import EXTRAS, ConfigError, extras

# as if they were not installed, however they are searched for
BLOCK = f"""
import importlib.abc, importlib.metadata, sys

blocked, distribution = {[*EXTRAS]!r}, importlib.metadata.distribution

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

def missing(name):
    if name in blocked:
        raise importlib.metadata.PackageNotFoundError(name)
    return distribution(name)

sys.meta_path.insert(0, Blocked())
importlib.metadata.distribution = missing
"""

CORE = """
import torch, pixelar
from pixelar.data import Digits

model = pixelar.load("digits-imagegpt")
images = pixelar.sample(model, 2, seed=1)
known = torch.arange(8)[:, None].expand(8, 8) < 4
assert torch.equal(pixelar.complete(model, images, known, seed=2)[..., :4, :], images[..., :4, :])
report = pixelar.evaluate(model, Digits(), limit=4)
metric = pixelar.BitsPerDim(64)
metric.update(-model(model.encode(images)))
assert report.mean > 0 and metric.compute() > 0
pixelar.save(model, "saved")
assert torch.equal(pixelar.sample(pixelar.load("saved"), 2, seed=1), images)
"""

DIGIT = Path(__file__).parent.parent / "docs" / "images" / "digit.png"
COMMANDS = (
    "list",
    "info digits-imagegpt",
    "sample digits-imagegpt -n 2 -o s.png",
    "evaluate digits-imagegpt -d digits --limit 4",
    "complete digits-imagegpt DIGIT --keep top -n 2 -o c.png",
    "fit -c digits-imagegpt",
    "demo digits-imagegpt",
)
MISSING = {"fit": ("lightning", "train"), "demo": ("gradio", "demo")}


def blocked(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", BLOCK + code]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


def test_the_core_in_python(tmp_path: Path) -> None:
    done = blocked(CORE, tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_commands(tmp_path: Path) -> None:
    code = f"""
import contextlib, io, json
from pixelar.cli import main
found = []
for command in {[command.replace("DIGIT", str(DIGIT)) for command in COMMANDS]!r}:
    with contextlib.redirect_stderr(io.StringIO()) as error:
        found.append([main(command.split()), error.getvalue()])
print(json.dumps(found))
"""
    done = blocked(code, tmp_path)
    assert done.returncode == 0, done.stderr
    for command, (code_of, error) in zip(
        COMMANDS, json.loads(done.stdout.splitlines()[-1]), strict=True
    ):
        name = command.split()[0]
        if name in MISSING:
            package, extra = MISSING[name]
            told = f"pixelar: pixelar {name} needs {package}: pip install 'pixelar[{extra}]'\n"
            assert (code_of, error) == (2, told), (command, error)
        else:
            assert code_of == 0, (command, error)


@pytest.mark.parametrize("module", ["pixelar.training", "pixelar.training.data_module"])
def test_modules_of_an_extra(module: str, tmp_path: Path) -> None:
    done = blocked(f"import {module}", tmp_path)
    assert "ConfigError: training needs lightning: pip install 'pixelar[train]'" in done.stderr


def test_other_modules_are_missed_as_ever() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_module"), extras("nothing"):
        import no_such_module  # noqa: F401
    with pytest.raises(ConfigError, match="a plot needs matplotlib"), extras("a plot"):
        raise ModuleNotFoundError("", name="matplotlib.figure")
