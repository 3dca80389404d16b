"""What a training step takes, foreseen and measured."""

from functools import partial
from typing import Any

import pytest
import torch
import zoo

from pixelar.heads import HEADS
from pixelar.memory.peaks import measure_peak
from pixelar.nets import NETS
from pixelar.nets.presets import PRESETS
from pixelar.quantizers import Identity
from pixelar.training import Training
from pixelar.training.memory import predict_step_memory


def built(net: str, head: str = "Categorical", *, levels: int = 17, **options: Any) -> Training:  # noqa: ANN401
    arguments = {**PRESETS[net].tiny, **zoo.TRAINING_ARGS.get(net, {})}
    arguments |= options.pop("net_args", {})
    options = {"shape": (1, 8, 8), **options}
    return Training(
        net=partial(NETS[net], **arguments),
        head=partial(HEADS[head], **zoo.HEAD_ARGS[head]),
        quantizer=Identity(levels=levels),
        **options,
    )


def measured(training: Training, batch: int) -> int:
    """Returns the peak of two steps, the weights included, without an average."""
    optimizer = training.build_optimizer()
    x = torch.randint(training.model.net.levels, (batch, *training.model.scan.shape))
    labels = x.new_zeros(batch) if training.model.classes else None

    def steps() -> None:
        for _ in range(2):
            optimizer.zero_grad()
            training.loss(x, labels).backward()
            optimizer.step()

    kept = [*training.parameters(), *training.buffers()]
    return measure_peak(steps) + sum(tensor.nbytes for tensor in kept)


def assert_foreseen(training: Training, batch: int, within: float = 0.2) -> None:
    foreseen = predict_step_memory(training, batch, average=False).peak
    found = measured(training, batch)
    assert 1 - within < foreseen / found < 1 + within, (foreseen, found)


@pytest.mark.exhaustive(1)
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("head", ["Categorical", "LogisticMixture"])
@pytest.mark.parametrize("net", NETS)
def test_the_peak_is_foreseen(net: str, head: str, checkpointing: bool) -> None:
    # for nets this small, the operations' own workspaces are a visible part
    assert_foreseen(built(net, head, grad_checkpointing=checkpointing, corruption=0.1), 16, 0.25)


@pytest.mark.parametrize("optimizer", ["adamw", "rmsprop"])
def test_the_peak_of_many_weights_is_foreseen(optimizer: Any) -> None:  # noqa: ANN401
    assert_foreseen(built("ImageGPT", net_args={"width": 256}, optimizer=optimizer), 1)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_peak_of_a_realistic_size_is_foreseen(checkpointing: bool) -> None:
    training = built(
        "PixelCNN",
        levels=256,
        net_args={"width": 33, "depth": 3, "readout": [99]},
        shape=(3, 32, 32),
        scan="subpixel",
        grad_checkpointing=checkpointing,
    )
    assert_foreseen(training, 16)


def test_what_it_consists_of() -> None:
    training = built("GatedPixelCNN", net_args={"classes": 10})
    own = 4 * sum(p.numel() for p in training.parameters())
    one, two = (predict_step_memory(training, batch) for batch in (100, 200))
    assert one.gradients == one.average == own and one.optimizer == 2 * own
    assert own < one.weights < 3 * own  # masks come with them
    assert two.activations == pytest.approx(2 * one.activations, rel=0.01)
    alone = predict_step_memory(training, 100, average=False)
    assert alone.average == 0 and one.peak - alone.peak == own
    assert predict_step_memory(training, 100, processes=2).peak == one.peak + own
    double = predict_step_memory(training, 100, precision="64-true")
    assert double.gradients == 2 * own and double.peak > 1.9 * one.peak
    half = predict_step_memory(training, 100, precision="bf16-mixed")
    assert half.gradients == own and half.activations < 0.8 * one.activations
    rms = predict_step_memory(built("GatedPixelCNN", optimizer="rmsprop"), 100)
    assert rms.optimizer == rms.gradients


def test_foreseeing_leaves_no_trace() -> None:
    training = built("PixelCNN").eval()
    state = {name: value.clone() for name, value in training.state_dict().items()}
    random = torch.get_rng_state()
    predict_step_memory(training, 4)
    assert all(torch.equal(value, state[name]) for name, value in training.state_dict().items())
    assert not training.training and all(p.grad is None for p in training.parameters())
    assert all(p.device.type == "cpu" for p in training.parameters())
    assert torch.equal(torch.get_rng_state(), random)
