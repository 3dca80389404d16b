"""Nets that begin by their first batch: what they make of it, once, and in all processes alike."""

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import yaml
import zoo
from test_training import here, in_a_process  # noqa: F401
from torch import Tensor, nn

from pixelar.cli import main
from pixelar.data import Digits
from pixelar.io.checkpoints import newest_checkpoint, read_checkpoint
from pixelar.layers.shifted import DownRightShiftedDeconv2d, DownShiftedConv2d
from pixelar.layers.weight_norm import fitting_to_data, lengths_and_directions, weight_norm
from pixelar.nets import NETS
from pixelar.nets.presets import PRESETS

TINY: dict[str, Any] = {
    "model": {
        "net": {"class_path": "PixelCNNPP", "init_args": PRESETS["PixelCNNPP"].tiny},
        "head": {"class_path": "Categorical"},
        "quantizer": {"class_path": "Identity", "init_args": {"levels": 17}},
        "warmup_steps": 0,
        "lr": 1e-30,  # too little to change a weight
    },
    "data": {"dataset": {"class_path": "Digits"}, "batch_size": 32, "eval_batch_size": 360},
    "trainer": {
        "max_steps": 2,
        "val_check_interval": 4,
        "accelerator": "cpu",
        "callbacks": [{"class_path": f"{__name__}.Keep"}],
    },
    "ema": 0.0,
    "samples": 0,
}


class Keep(L.Callback):
    """Keeps the first batch of a process, and its weights after each step."""

    def on_train_batch_start(self, trainer: L.Trainer, module: Any, batch: Any, index: int) -> None:  # noqa: ANN401
        if index == 0:
            torch.save(module.model.encode(batch[0]), f"batch-{trainer.global_rank}.pt")

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, *_: Any) -> None:  # noqa: ANN401
        torch.save(module.model.net.state_dict(), f"weights-{trainer.global_rank}.pt")


def fit(run: str, *options: str) -> None:
    Path("tiny.yaml").write_text(yaml.safe_dump(TINY))
    assert main(["fit", "-c", "tiny.yaml", "--run", run, *options]) == 0


def weights_of(run: str) -> dict[str, Tensor]:
    path, _ = newest_checkpoint(Path(run) / "checkpoints")
    assert path is not None
    state = read_checkpoint(path)["current_model_state"]
    return {k.removeprefix("model.net."): v for k, v in state.items() if "model.net." in k}


def assert_suits(net: nn.Module, x: Tensor, labels: Tensor | None = None) -> None:
    """Checks that every layer's outputs have mean 0 and the deviation it was made for."""
    seen = {}
    layers = {n: m for n, m in net.named_modules() if hasattr(m, "parametrizations")}
    for name, layer in layers.items():
        layer.register_forward_hook(lambda m, i, out, name=name: seen.update({name: out.detach()}))
    with torch.no_grad():
        net.eval()(x, labels)
    assert seen.keys() == layers.keys() and len(layers) > 8
    for name, out in seen.items():
        scale = 0.1 if name.endswith("outer") else 1.0
        variance, mean = torch.var_mean(out.double(), dim=(0, 2, 3), correction=0)
        assert mean.abs().max() < 1e-3 * scale, name
        assert torch.allclose(variance.sqrt(), torch.tensor(scale).double(), rtol=1e-2), name


@pytest.mark.parametrize("classes", [0, 10])
def test_statistics_of_the_first_batch(classes: int) -> None:
    split = Digits().split("train")
    assert split.labels is not None
    x, labels = split.images[:64].long() * 16 // 255, split.labels[:64] if classes else None
    net = zoo.tiny("PixelCNNPP", shape=(1, 8, 8), levels=17, width=8, classes=classes, stages=2).net
    net.train()
    net.initialize(x, labels)
    assert net.training
    assert_suits(net, x, labels)


def test_other_nets_begin_as_they_are() -> None:
    for name in NETS.keys() - {"PixelCNNPP"}:
        net = zoo.tiny(name).net
        before = {k: v.clone() for k, v in net.state_dict().items()}
        net.initialize(torch.randint(3, (2, 1, 5, 6)))
        assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_weight_norm_is_the_formula() -> None:
    layer = weight_norm(DownRightShiftedDeconv2d(3, 2))
    g, v = lengths_and_directions(layer)
    with torch.no_grad():
        g.copy_(torch.tensor([1.0, 2.0, 3.0])[:, None, None, None])
    norm = v.square().sum((1, 2, 3), keepdim=True).sqrt()
    assert torch.allclose(layer.weight, g * v / norm)
    assert torch.allclose(layer.weight.flatten(1).norm(dim=1), torch.tensor([1.0, 2.0, 3.0]))


def test_a_channel_that_does_not_vary_is_left_alone() -> None:
    """Nothing is divided by nothing."""
    layer = weight_norm(DownShiftedConv2d(2, 3), scale=0.5)
    x = torch.zeros(4, 2, 5, 6)
    with fitting_to_data(layer):
        layer(x)
    g, _ = lengths_and_directions(layer)
    assert torch.equal(g, torch.full_like(g, 0.5)) and torch.equal(
        layer(x), torch.zeros(4, 3, 5, 6)
    )


def test_a_run_begins_by_its_first_batch_and_a_resumed_one_does_not() -> None:
    fit("run")
    begun, x = weights_of("run"), torch.load("batch-0.pt")
    net = zoo.tiny("PixelCNNPP", "Categorical", shape=(1, 8, 8), levels=17, stages=2).net.float()
    net.load_state_dict(begun)
    assert_suits(net, x)
    fit("run", "--resume", "--trainer.max_steps=4", "--data.batch_size=16")
    fit("other", "--init=run/model", "--data.batch_size=16")
    for run in ("run", "other"):
        weights = weights_of(run)
        assert all(torch.equal(weights[name], value) for name, value in begun.items())


@pytest.mark.full
def test_all_processes_begin_alike() -> None:
    Path("tiny.yaml").write_text(yaml.safe_dump(TINY))
    options = ("--trainer.devices", "2", "--trainer.strategy", "ddp", "--model.lr", "0.001")
    code, log = in_a_process("fit", "-c", "tiny.yaml", "--run", "run", *options)
    assert code == 0, log
    batches = [torch.load(f"batch-{rank}.pt") for rank in (0, 1)]
    assert not torch.equal(*batches)
    first, second = (torch.load(f"weights-{rank}.pt") for rank in (0, 1))
    assert all(torch.equal(second[name], value) for name, value in first.items())
    g = first["out.parametrizations.weight.original0"]
    assert g.std() > 0.01, "they begin by the batch, not by ones"
