"""Options of training that change how a step is computed, and not what comes out of it."""

import copy
import shutil
from collections.abc import Iterator
from functools import partial
from typing import Any

import lightning as L
import pytest
import torch
import zoo
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from pixelar.data import Digits
from pixelar.heads import Categorical, LogisticMixture
from pixelar.memory.peaks import measure_peak
from pixelar.model import describe_model, likelihood
from pixelar.nets import NETS
from pixelar.nets.presets import PRESETS
from pixelar.quantizers import (
    BitDepth,
    Identity,
    Palette,
    Quantizer,
    StochasticBinarisation,
)
from pixelar.training import Training
from pixelar.training.data_module import PixelData

X = torch.randint(17, (4, 1, 8, 8))
LABELS = torch.tensor([0, 1, 2, 1])


def built(net: str, *, dtype: torch.dtype = torch.float64, **options: Any) -> Training:  # noqa: ANN401
    """Returns a tiny training of digits, with the same weights whatever the options are."""
    arguments = {**PRESETS[net].tiny, **zoo.TRAINING_ARGS.get(net, {}), "classes": 10}
    arguments |= options.pop("net_args", {})
    torch.manual_seed(0)
    training = Training(
        net=partial(NETS[net], **arguments),
        head=options.pop("head", Categorical),
        quantizer=options.pop("quantizer", Identity(levels=17)),
        shape=options.pop("shape", (1, 8, 8)),
        **options,
    )
    with torch.no_grad():
        for parameter in training.parameters():
            parameter.normal_(std=0.3)
    return training.to(dtype)


def step(training: Training) -> tuple[Tensor, dict[str, Tensor]]:
    """Returns the loss of a step, with the same dropout each time, and its gradients."""
    training.zero_grad()
    torch.manual_seed(1)
    loss = training.loss(X, LABELS)
    loss.backward()
    grads = {name: p.grad for name, p in training.named_parameters() if p.grad is not None}
    return loss.detach(), grads


def assert_same(training: Training, reference: Training, tolerance: float) -> None:
    (loss, grads), (expected_loss, expected) = step(training), step(reference)
    torch.testing.assert_close(loss, expected_loss, rtol=tolerance, atol=0)
    assert grads.keys() == expected.keys() == dict(reference.named_parameters()).keys()
    for name, gradient in expected.items():
        scale = float(gradient.abs().max())
        torch.testing.assert_close(grads[name], gradient, rtol=0, atol=tolerance * scale, msg=name)


# --- waiting for a GPU ------------------------------------------------------------------------


class Waits(TorchDispatchMode):
    """Counts operations whose result the program reads, for which it would wait for a GPU."""

    LOOK = (
        torch.ops.aten._local_scalar_dense.default,  # of item, int, float, bool, and if
        torch.ops.aten.equal.default,
        torch.ops.aten.nonzero.default,
        torch.ops.aten.masked_select.default,
    )

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        self.count += func in self.LOOK
        return func(*args, **kwargs or {})


def fitted() -> Palette:
    palette = Palette(levels=8)
    palette.fit(torch.randint(256, (9, 3, 8, 8), dtype=torch.uint8))
    return palette


@pytest.mark.parametrize("net", zoo.quick(NETS, *zoo.UNLIKE))
@pytest.mark.parametrize(
    "quantizer", [Identity(levels=17), BitDepth(bits=3), StochasticBinarisation(), fitted()]
)
def test_a_step_looks_at_no_value(
    net: str, quantizer: Quantizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With classes, all labels and images having been checked when training began."""
    channels = 3 if isinstance(quantizer, Palette) else 1
    training = built(net, quantizer=quantizer, shape=(channels, 8, 8), corruption=0.1)
    monkeypatch.setattr(training, "log", lambda *_, **__: None)
    images = torch.randint(256, (4, channels, 8, 8), dtype=torch.uint8)
    with Waits() as waits:
        training.training_step((images, LABELS), 0).backward()
    assert waits.count == 0
    with Waits() as waits:
        training.model(training.model.encode(quantizer.decode(quantizer.encode(images))), LABELS)
    assert waits.count > 0, "the count does not work"


# --- checkpointing ----------------------------------------------------------------------------


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("net", NETS)
def test_checkpointing_changes_neither_loss_nor_gradients(net: str, dropout: float) -> None:
    options: dict[str, Any] = {"net_args": {"dropout": dropout}, "corruption": 0.1}
    assert_same(built(net, grad_checkpointing=True, **options), built(net, **options), 1e-10)


@pytest.mark.parametrize("net", zoo.quick(NETS, *zoo.UNLIKE))
def test_checkpointing_lowers_the_peak(net: str) -> None:
    """Of twelve blocks the activations of one remain, and what passes between them."""
    deep: dict[str, Any] = {"net_args": zoo.deep(net, 12)}
    plain, saving = built(net, **deep), built(net, grad_checkpointing=True, **deep)
    peaks = [measure_peak(lambda made=made: step(made)) for made in (plain, saving)]  # type: ignore[misc]
    assert peaks[1] < 0.6 * peaks[0], peaks


@pytest.mark.parametrize("net", NETS)
def test_a_model_does_not_remember_how_it_was_trained(net: str) -> None:
    plain, saving = built(net).model, built(net, grad_checkpointing=True).model
    assert describe_model(saving) == describe_model(plain)
    assert saving.state_dict().keys() == plain.state_dict().keys()


# --- accumulation -----------------------------------------------------------------------------


def weights_after(net: str, batch_size: int, accumulate: int) -> dict[str, Tensor]:
    """Returns the weights that two steps of a real trainer lead to, in float64."""
    training = built(net, dtype=torch.float32, warmup_steps=0)
    training.start_from(training.model)  # otherwise it would set weights by its first batch
    trainer = L.Trainer(
        max_epochs=1,
        max_steps=2,
        accumulate_grad_batches=accumulate,
        precision="64-true",
        accelerator="cpu",
        use_distributed_sampler=False,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(training, PixelData(Digits(), batch_size=batch_size))
    assert trainer.global_step == 2
    return training.state_dict()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("net", NETS)
def test_small_batches_add_up_to_a_large_one(net: str) -> None:
    before = built(net).state_dict()
    small, large = weights_after(net, 4, 3), weights_after(net, 12, 1)
    for name, value in large.items():
        torch.testing.assert_close(small[name], value, rtol=0, atol=1e-9, msg=name)
    assert any(not torch.equal(value, before[name]) for name, value in large.items())


# --- compilation ------------------------------------------------------------------------------


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    if not (shutil.which("g++") or shutil.which("clang++")):
        pytest.skip("torch.compile needs a C++ compiler")
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize("net", zoo.quick(NETS, "ImageGPT"))
def test_compiling_changes_neither_loss_nor_gradients(net: str, fresh_compiler: None) -> None:
    args: dict[str, Any] = {"net_args": zoo.deep(net, 1)}
    training = built(net, **args)
    training.model.compile()
    assert_same(training, built(net, **args), 1e-9)
    assert list(training.state_dict()) == list(built(net, **args).state_dict())
    copied = copy.deepcopy(training)
    with torch.no_grad():
        next(copied.parameters()).mul_(2)  # norms may not depend on a sum
    assert copied.loss(X, LABELS) != training.loss(X, LABELS), "a copy computes with its weights"


@pytest.mark.full
def test_machine_code_of_a_head_stays_outside_of_graphs(fresh_compiler: None) -> None:
    """In float32, where the mixture of logistics has some."""
    args: dict[str, Any] = {"head": LogisticMixture, "dtype": torch.float32}
    expected = built("GatedPixelCNN", **args)
    checkpointing = built("GatedPixelCNN", **args, grad_checkpointing=True)
    compiled = built("GatedPixelCNN", **args)
    compiled.model.compile()
    for training in (compiled, checkpointing):
        assert_same(training, expected, 1e-4)


@pytest.mark.full
def test_all_options_go_together(fresh_compiler: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled blocks are checkpointed, and so are compiled parts of a batch."""
    expected, training = built("ImageGPT"), built("ImageGPT", grad_checkpointing=True)
    training.model.compile()
    for sizes in ("PART", "WHOLE"):
        monkeypatch.setattr(likelihood, sizes, {"cpu": 2 * 4 * 64 * 17})
    assert_same(training, expected, 1e-9)
