"""Training in every precision that the trainer offers: all nets, the average, and what is kept."""

import math
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from safetensors.torch import load_file
from test_endings import assert_same_state, newest
from test_training import callback as callback_of
from test_training import config, here  # noqa: F401

from pixelar import load
from pixelar.cli import main
from pixelar.heads import Categorical
from pixelar.nets import NETS
from pixelar.nets.presets import PRESETS
from pixelar.quantizers import Identity
from pixelar.training import Training
from pixelar.training.callbacks import warm_up_average
from pixelar.training.memory import predict_step_memory

pytestmark = pytest.mark.faults

CELLS = [("RasterRNN", {"cell": "gru"})]


class Raw(L.Callback):
    """Keeps the weights of every step."""

    kept: list[dict[str, torch.Tensor]] = []  # noqa: RUF012

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, *_: Any) -> None:  # noqa: ANN401
        self.kept.append({k: v.clone() for k, v in module.model.state_dict().items()})


def fit(run: str, *options: str, **changes: Any) -> int:  # noqa: ANN401
    return main(["fit", "-c", config(**changes), "--run", run, *options])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("net", "more"), [*((net, {}) for net in NETS), *CELLS])
def test_every_net_takes_a_step_in_mixed_precision(
    net: str, more: dict[str, Any], dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    made = partial(NETS[net], **{**PRESETS[net].tiny, **more})
    training = Training(made, Categorical, Identity(levels=16), (1, 8, 8))
    x = torch.randint(16, (2, 1, 8, 8))
    exact = training.loss(x, None)
    with torch.autocast("cpu", dtype):
        loss = training.loss(x, None)
        loss.backward()
        with torch.no_grad():
            scored = training.model.eval()(x)
    torch.testing.assert_close(loss, exact, rtol=0.02, atol=0.02)
    assert loss.dtype == scored.dtype == torch.float32 and scored.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in training.parameters())


@pytest.mark.parametrize(
    ("precision", "kept"), [("64-true", torch.float64), ("bf16-true", torch.float32)]
)
def test_whole_precisions_train_average_and_resume(precision: str, kept: torch.dtype) -> None:
    """The average, validated every fourth step, is never rounded to less than float32."""
    Raw.kept.clear()
    changes: dict[str, Any] = {
        "trainer__precision": precision,
        "trainer__enable_progress_bar": False,
        "ema": 0.999,
    }
    watch = [{**callback_of("Raw")[0], "class_path": f"{__name__}.Raw"}]
    assert fit("run", trainer__callbacks=watch, **changes) == 0
    average = {k: v.double() for k, v in Raw.kept[0].items()}
    for n, weights in enumerate(Raw.kept[1:], start=1):
        decay = min(0.999, (1 + n) / (10 + n))
        average = {k: decay * v + (1 - decay) * weights[k].double() for k, v in average.items()}
    stored = load_file("run/model/model.safetensors")
    for key, value in average.items():
        torch.testing.assert_close(stored[key].double(), value, rtol=0, atol=1e-7, msg=key)
    state, raw = newest("run")["state_dict"], newest("run")["current_model_state"]
    assert {v.dtype for v in state.values() if v.is_floating_point()} == {kept}
    assert next(iter(raw.values())).dtype == next(iter(Raw.kept[0].values())).dtype
    assert next(load("run/model").parameters()).dtype == kept

    assert fit("parts", "--trainer.max_steps", "4", "--model.warmup_steps", "99", **changes) == 0
    assert fit("parts", "--model.warmup_steps", "99", "--resume", **changes) == 0
    assert fit("whole", "--model.warmup_steps", "99", **changes) == 0
    assert_same_state("whole", "parts")


def test_colours_of_a_palette_survive_bfloat16() -> None:
    photos = {"size": 8, "train_images": 64, "val_images": 8, "test_images": 8}
    changes: dict[str, Any] = {
        "model__quantizer": {"class_path": "Palette", "init_args": {"levels": 8}},
        "data__dataset": {"class_path": "Photos", "init_args": photos},
        "trainer__max_steps": 2,
    }
    assert fit("plain", **changes) == 0
    assert fit("short", "--trainer.precision", "bf16-true", **changes) == 0
    plain, short = (
        load_file(f"{run}/model/model.safetensors")["quantizer.colours"]
        for run in ("plain", "short")
    )
    assert torch.equal(plain, short)


def test_an_average_in_float32_moves_where_one_in_bfloat16_stands_still() -> None:
    average, current = torch.ones(1), torch.full((1,), 1.01, dtype=torch.bfloat16)
    for n in range(1, 3000):
        average = warm_up_average(0.999, average, current, torch.tensor(20_000 + n))
    expected = 1 + (1 - math.exp(-3)) * (float(current) - 1)
    assert float(average) == pytest.approx(expected, abs=1e-4)


def test_the_forecast_counts_an_average_in_float32() -> None:
    made = partial(NETS["ImageGPT"], **PRESETS["ImageGPT"].tiny)
    training = Training(made, Categorical, Identity(levels=16), (1, 8, 8))
    steps = [predict_step_memory(training, 2, precision=p) for p in ("32-true", "bf16-true")]
    assert steps[0].average == steps[1].average and steps[1].optimizer * 2 == steps[0].optimizer


@pytest.mark.parametrize("able", [False, True])
def test_slow_bfloat16_is_said_once(
    able: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the processor's own flags; an LSTM, which oneDNN refuses in 16 bits, trains on any."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": able})
    net = {"class_path": "RasterRNN", "init_args": {"width": 8, "depth": 1}}
    options = ("--trainer.precision", "16-mixed", "--trainer.max_steps", "1")
    assert fit("run", *options, model__net=net) == 0
    said = capsys.readouterr().err
    assert said.count("16-mixed needs a GPU: on the CPU it is bf16-mixed") == 1
    assert said.count("this CPU has no instructions for bfloat16") == (not able)
    assert Path("run/model").is_dir()
