"""Commands start quickly: they load no module that they do not need, and what `list` and `info`
read without torch is what torch would say.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import zoo

from pixelar.cli.describe import load_facts, read_facts
from pixelar.cli.listing import TABLES, names, summaries
from pixelar.data import DATASETS
from pixelar.heads import HEADS
from pixelar.hub.loading import load
from pixelar.io import plain
from pixelar.io.folders import fingerprint, save
from pixelar.model import PixelModel, build_model
from pixelar.nets import NETS
from pixelar.nets.presets import PRESETS
from pixelar.quantizers import QUANTIZERS
from pixelar.scan import SCANS
from pixelar.testing import randomize

pytestmark = pytest.mark.faults

REAL: dict[str, dict[str, Any]] = {
    "nets": NETS,
    "heads": HEADS,
    "scans": SCANS,
    "quantizers": QUANTIZERS,
    "data sets": DATASETS,
}


@pytest.mark.parametrize("title", TABLES)
def test_list_knows_the_tables(title: str) -> None:
    """Names and summaries are read from the sources, and are those of what they stand for."""
    table = REAL[title]
    assert REAL.keys() == TABLES.keys()
    assert names(title) == {name: entry.__name__ for name, entry in table.items()}
    assert dict(summaries(title)) == {
        name: (entry.__doc__ or "").partition("\n")[0] for name, entry in table.items()
    }


def quantized(name: str, **args: object) -> PixelModel:
    """Builds a tiny model with a quantizer."""
    quantizer = QUANTIZERS[name](**args)
    shape = (3, 4, 4)
    model = build_model(
        {
            "image_shape": [*shape],
            "scan": "raster",
            "quantizer": {"name": name, "args": args},
            "head": {"name": "Categorical", "args": {}},
            "net": {"name": "ImageGPT", "args": PRESETS["ImageGPT"].tiny},
        }
    )
    if name == "Palette":
        model.quantizer.colours = torch.arange(3.0 * quantizer.levels).view(-1, 3)
    return randomize(model)


QUANTIZED = (
    ("Identity", {"levels": 17}),
    ("BitDepth", {"bits": 3}),
    ("BitDepth", {"bits": 8}),
    ("Threshold", {"threshold": 100}),
    ("StochasticBinarisation", {"seed": 1}),
    ("BitDepth", {"bits": 12, "depth": 12}),
    ("Codes", {"levels": 9}),
    ("Palette", {"levels": 9, "seed": 0}),
)


def check_facts(model: PixelModel, folder: Path, storage: torch.dtype | None = None) -> None:
    """What is read without torch is what the loaded model says, fingerprint included."""
    save(model, folder, storage=storage)
    assert read_facts(folder) == load_facts(folder)


@pytest.mark.parametrize("net", NETS)
def test_info_knows_every_net(net: str, tmp_path: Path) -> None:
    check_facts(zoo.tiny(net, shape=(1, 4, 4), classes=3), tmp_path)


@pytest.mark.parametrize(("name", "args"), QUANTIZED)
def test_info_knows_every_quantizer(name: str, args: dict[str, Any], tmp_path: Path) -> None:
    assert {name for name, _ in QUANTIZED} == QUANTIZERS.keys()
    check_facts(quantized(name, **args), tmp_path)


@pytest.mark.parametrize("storage", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("given", [torch.float32, torch.float64])
def test_info_knows_how_weights_are_stored(
    storage: torch.dtype, given: torch.dtype, tmp_path: Path
) -> None:
    check_facts(quantized("Palette", levels=9, seed=0).to(given), tmp_path, storage)


def test_parts_of_a_model_in_different_types(tmp_path: Path) -> None:
    """Float64 spreads within a part, and not to the others."""
    model = quantized("Palette", levels=9, seed=0)
    weight = next(model.net.parameters())
    weight.data = weight.data.double()
    check_facts(model, tmp_path)
    config = plain.read_config(tmp_path)
    tensors = plain.parse_tensors(plain.read_weights(tmp_path, config))
    assert plain.fingerprint(config["model"], tensors) == fingerprint(load(tmp_path))


def test_what_is_unusual_is_left_to_loading(tmp_path: Path) -> None:
    """A folder that `save` did not write is not described, so that loading says what is wrong."""
    import hashlib
    import json

    for change in ({"net": {"name": "Nothing", "args": {}}}, {"image_shape": [1, 2]}, {"net": 3}):
        save(zoo.tiny("ImageGPT"), tmp_path)
        config = json.loads((tmp_path / "config.json").read_text())
        config["model"] |= change
        config["config_sha256"] = plain.digest(config)
        (tmp_path / "config.json").write_text(json.dumps(config))
        assert read_facts(tmp_path) is None
    save(zoo.tiny("ImageGPT"), tmp_path)
    for content in (b"", b"\xff" * 8, (2).to_bytes(8, "little") + b"[]"):
        config = json.loads((tmp_path / "config.json").read_text())
        config["sha256"] = hashlib.sha256(content).hexdigest()
        config["config_sha256"] = plain.digest(config)
        (tmp_path / "config.json").write_text(json.dumps(config))
        (tmp_path / "model.safetensors").write_bytes(content)
        assert read_facts(tmp_path) is None


HEAVY = {
    "torch", "numpy", "torch._dynamo", "torchvision", "torchmetrics", "transformers", "lightning",
    "scipy.signal", "sklearn", "gradio", "matplotlib", "numba", "pandas", "PIL",
}  # fmt: skip


def loaded(*arguments: str, folder: Path) -> set[str]:
    """Returns which heavy modules a command has loaded at its end."""
    code = (
        "import sys; from pixelar.cli import main\n"
        "try: main(sys.argv[2:])\n"
        "except SystemExit: pass\n"
        "finally: print(*(set(sys.argv[1].split()) & set(sys.modules)), sep='\\n', file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, " ".join(HEAVY), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return {line for line in done.stderr.splitlines() if line in HEAVY}


@pytest.mark.parametrize("command", ["list", "--help", "info digits-imagegpt", "sample --help"])
def test_what_needs_no_torch_loads_none(command: str, tmp_path: Path) -> None:
    assert not loaded(*command.split(), folder=tmp_path)


@pytest.mark.parametrize("command", ["sample digits-imagegpt -n 2", "evaluate digits-imagegpt"])
def test_what_needs_torch_loads_little_more(command: str, tmp_path: Path) -> None:
    assert loaded(*command.split(), folder=tmp_path) == {"torch", "numpy", "PIL"}
