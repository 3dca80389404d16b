"""Every config builds, and those that carry a published model have its size."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from pixelar.cli.fit_build import FitCLI, build
from pixelar.model import PixelModel, build_model, describe_model
from pixelar.nets import GatedPixelCNN, WaveNet
from pixelar.training import module

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))

# parameters, and how far a rounded published number may be off
PUBLISHED = {
    "pixelcnn-cifar10": (4.3e6, 0.05e6),
    "gated-pixelcnn-mnist": (852_160, 0),
    "imagegpt-s-imagenet32": (76e6, 0.6e6),
    "pixelsnail-cifar10": (46e6, 0.1e6),
    "lmconv-cifar10": (46.0e6, 0.1e6),
    "sparse-transformer-cifar10": (59e6, 0.5e6),
    "sparse-transformer-imagenet64": (152e6, 0.5e6),
    "transformer-xl-cifar10": (41e6, 0.5e6),
    "pixelcnnpp-cifar10": (53.6e6, 0.1e6),
    # at second hand: no count is known from the papers themselves
    "axial-transformer-imagenet32": (340e6, 1.5e6),
    "image-transformer-cifar10": (38e6, 0.5e6),
}


def built(config: Path, tmp_path: Path) -> PixelModel:
    """Builds a config's model on the meta device."""
    return read(config, tmp_path).model.model


def read(config: Path, tmp_path: Path) -> FitCLI:
    """Reads a config; its net is on the meta device, a folder that it names is stood in for."""
    arguments = ["-c", str(config)]
    if "class_path: Folder" in config.read_text():
        arguments += ["--data.dataset.root", str(a_folder(tmp_path))]
    assemble = module.assemble

    def on_meta(*args: Any) -> PixelModel:  # noqa: ANN401
        with torch.device("meta"):
            return assemble(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "assemble", on_meta)
        return build(arguments)


def a_folder(tmp_path: Path) -> Path:
    from PIL import Image

    for k in range(20):
        Image.new("RGB", (40, 40), (k, 2 * k, 3 * k)).save(tmp_path / f"{k}.png")
    return tmp_path


def test_there_are_configs() -> None:
    assert len(CONFIGS) >= 9
    assert PUBLISHED.keys() <= {config.stem for config in CONFIGS}


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.stem)
def test_config_builds(config: Path, tmp_path: Path) -> None:
    model = built(config, tmp_path)
    assert all(p.is_meta for p in model.net.parameters())
    with torch.device("meta"):
        again = build_model(describe_model(model))
    assert sum(p.numel() for p in again.parameters()) == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_parameter_counts(name: str, tmp_path: Path) -> None:
    config = next(c for c in CONFIGS if c.stem == name)
    count = sum(p.numel() for p in built(config, tmp_path).parameters())
    published, rounding = PUBLISHED[name]
    assert abs(count - published) <= rounding


def test_published_recipes_say_how_gradients_are_clipped(tmp_path: Path) -> None:
    """Otherwise they would be clipped by default, which the papers do not mention."""
    for config in CONFIGS:
        if "Published: " in config.read_text():
            assert "gradient_clip_val" in yaml.safe_load(config.read_text())["trainer"], config
    asked = {"pixelcnn-mnist": None, "transformer-xl-cifar10": 0.25, "digits-lmconv": 1.0}
    for config in CONFIGS:
        if config.stem in asked:
            assert read(config, tmp_path).trainer.gradient_clip_val == asked[config.stem]


def test_any_order_headline_has_the_sizes_of_imagegpt_s() -> None:
    ours, theirs = (
        yaml.safe_load(config.read_text())
        for config in CONFIGS
        if config.stem in ("any-order-gpt-imagenet32", "imagegpt-s-imagenet32")
    )
    assert ours["model"].pop("orders") == "random"
    assert ours["model"]["net"].pop("class_path") == "AnyOrderGPT"
    assert theirs["model"]["net"].pop("class_path") == "ImageGPT"
    assert ours == theirs


def test_gated_pixelcnn_headline_is_the_papers(tmp_path: Path) -> None:
    config = next(c for c in CONFIGS if c.stem == "gated-pixelcnn-cifar10")
    net = built(config, tmp_path).net
    assert isinstance(net, GatedPixelCNN)
    assert (net.depth, net.width, net.kernel_size) == (20, 384, 5)


def test_wavenet_headline_sees_every_colour_value_before(tmp_path: Path) -> None:
    config = next(c for c in CONFIGS if c.stem == "wavenet-cifar10")
    net = built(config, tmp_path).net
    assert isinstance(net, WaveNet)
    assert (net.depth, net.dilations) == (30, tuple(2**k for k in range(10)))
    assert 2 + 3 * sum(net.dilations) == net.scan.sites - 1
