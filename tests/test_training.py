"""Training from the command line: scores, averages, refusals, and several processes."""

import copy
import hashlib
import math
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import yaml
import zoo
from safetensors.torch import load_file

from pixelar import load
from pixelar.cli import main
from pixelar.data import Digits
from pixelar.io.checkpoints import newest_checkpoint, read_checkpoint
from pixelar.nets import NETS
from pixelar.scan import snake, symmetries
from pixelar.scoring.metrics import BitsPerDim
from pixelar.training.callbacks import warm_up_average
from pixelar.training.curves import read_curve
from pixelar.training.module import compare

TINY: dict[str, Any] = {
    "model": {
        "net": {
            "class_path": "GatedPixelCNN",
            "init_args": {"width": 6, "depth": 2, "first_kernel_size": 3},
        },
        "head": {"class_path": "Categorical"},
        "quantizer": {"class_path": "Identity", "init_args": {"levels": 17}},
        "warmup_steps": 4,
    },
    "data": {"dataset": {"class_path": "Digits"}, "batch_size": 8, "eval_batch_size": 64},
    "trainer": {
        "max_steps": 8,
        "val_check_interval": 4,
        "log_every_n_steps": 1,
        "accelerator": "cpu",
    },
    "ema": 0.9,
    "checkpoint_every": 3,
    "samples": 0,
}


class Poison(L.Callback):
    """Makes one gradient infinite in the seventh step."""

    def on_after_backward(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.global_step == 6:
            next(p for p in pl_module.parameters() if p.grad is not None).grad[0] = math.inf  # type: ignore[index]


class FillDisk(L.Callback):
    """Fills the disk of a run once it has made `step` steps."""

    def __init__(self, file: str, step: int) -> None:
        self.file, self.step = file, step

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:  # noqa: ANN401
        if trainer.global_step == self.step:
            with open(self.file, "wb", buffering=0) as file:
                try:
                    while True:
                        file.write(bytes(512))
                except OSError:
                    pass


class Record(L.Callback):
    """Writes a line per training image into a file per process."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def on_train_batch_start(self, trainer: L.Trainer, module: Any, batch: Any, _: int) -> None:  # noqa: ANN401
        with open(Path(self.folder) / f"rank-{trainer.global_rank}.txt", "a") as file:
            for image in batch[0]:
                file.write(hashlib.md5(image.numpy().tobytes()).hexdigest() + "\n")


class Orders(L.Callback):
    """Writes the order of every batch into a file per process, and may interrupt the run."""

    def __init__(self, folder: str, stop: int = 0) -> None:
        self.folder, self.stop = folder, stop

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, *_: Any) -> None:  # noqa: ANN401
        with open(Path(self.folder) / f"rank-{trainer.global_rank}.txt", "a") as file:
            file.write(f"{module.model.scan.index.flatten().tolist()}\n")
        if trainer.global_step == self.stop:
            signal.raise_signal(signal.SIGINT)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder of its own for each test, and one thread: these nets are too small for more."""
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def config(**changes: Any) -> str:  # noqa: ANN401
    """Writes TINY with changes, as `model__lr=1`, and returns the file; None leaves a key out."""
    made = copy.deepcopy(TINY)
    for path, value in changes.items():
        *owners, key = path.split("__")
        place = made
        for owner in owners:
            place = place[owner]
        place[key] = value
        if value is None:
            del place[key]
    Path("tiny.yaml").write_text(yaml.safe_dump(made))
    return "tiny.yaml"


def fit(*options: str, **changes: Any) -> int:  # noqa: ANN401
    return main(["fit", "-c", config(**changes), "--run", "run", *options])


def last_checkpoint() -> dict[str, Any]:
    path, complaints = newest_checkpoint(Path("run/checkpoints"))
    assert path and not complaints
    return read_checkpoint(path)


def callback(name: str, **args: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    return [{"class_path": f"{__name__}.{name}", "init_args": args}]


def test_average_with_warm_up_against_a_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(40, 3, generator=generator)
    average, expected = weights[0], weights[0].double()
    for n, current in enumerate(weights[1:]):
        average = warm_up_average(0.9, average, current, torch.tensor(n))
        decay = min(0.9, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * current.double()
    assert torch.allclose(average.double(), expected, atol=1e-6)


def test_a_run_averages_its_weights_step_by_step() -> None:
    """The model folder is the loop's average of the raw weights, and near them."""
    raw = []

    class Watch(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, module: Any, *_: Any) -> None:  # noqa: ANN401
            raw.append({k: v.clone() for k, v in module.model.state_dict().items()})

    globals()["Watch"] = Watch
    assert fit(trainer__callbacks=callback("Watch")) == 0
    average = {k: v.double() for k, v in raw[0].items()}  # the first step starts it
    for n, weights in enumerate(raw[1:], start=1):
        decay = min(0.9, (1 + n) / (10 + n))
        average = {k: decay * v + (1 - decay) * weights[k].double() for k, v in average.items()}
    ema = load_file("run/model/model.safetensors")
    for key, value in average.items():
        assert torch.allclose(ema[key].double(), value, atol=1e-6), key
        assert torch.allclose(ema[key], raw[-1][key], atol=0.02), key
    assert any(not torch.equal(ema[k], raw[-1][k]) for k in ema)


def test_curves_pictures_and_rate() -> None:
    assert fit("--samples", "2", trainer__max_steps=12, model__lr=0.01) == 0
    steps, rates = read_curve(Path("run"), "train/lr")
    assert steps == list(range(1, 13))
    warm = [0.01 * (k + 1) / 5 for k in range(4)]
    cosine = [0.005 * (1 + math.cos(math.pi * k / 8)) for k in range(8)]
    assert rates == pytest.approx(warm + cosine)
    assert read_curve(Path("run"), "val/bits_per_dim")[0] == [4, 8, 12]
    assert sorted(p.name for p in Path("run/samples").iterdir()) == [
        f"step-{k:08d}.png" for k in (4, 8, 12)
    ]
    names = "checkpoints config.yaml csv curves.png data.json model samples tensorboard"
    assert sorted(p.name for p in Path("run").iterdir()) == [*names.split(), "trained_on.bin"]
    assert len(list(Path("run/checkpoints").iterdir())) == 2


def test_the_last_step_is_saved_whether_validated_or_not() -> None:
    assert fit(trainer__max_steps=7, trainer__val_check_interval=5, checkpoint_every=100) == 0
    assert last_checkpoint()["global_step"] == 7
    assert fit("--resume", trainer__max_steps=10, trainer__val_check_interval=5) == 0
    assert last_checkpoint()["global_step"] == 10


def test_the_saved_config_starts_the_same_run_elsewhere() -> None:
    assert fit() == 0
    assert main(["fit", "-c", "run/config.yaml", "--run", "again"]) == 0
    first, second = (load_file(f"{r}/model/model.safetensors") for r in ("run", "again"))
    assert all(torch.equal(first[k], second[k]) for k in first)


def test_labels_reach_a_net_with_classes(capsys: pytest.CaptureFixture[str]) -> None:
    assert fit("--model.net.classes", "10", "--samples", "3", trainer__max_steps=4) == 0
    assert load("run/model").classes == 10


def test_a_run_begins_with_the_weights_of_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert fit("--run=first") == 0
    assert (
        fit("--run=second", "--init=first/model", "--model.lr=1e-30", "--trainer.max_steps=2") == 0
    )
    first, second = (load(Path(run) / "model").state_dict() for run in ("first", "second"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert fit("--run=third", "--init=first/model", "--model.net.init_args.width=8") == 2
    assert "net.args.width is 6 there and 8 here" in capsys.readouterr().err
    assert fit("--run=fourth", "--init=nothing") == 2
    assert "nothing" in capsys.readouterr().err


def test_saving_memory_from_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Half as many images in a batch, twice as many batches in a step, blocks computed twice."""
    rates = {"model__lr": 1e-3, "trainer__max_steps": 4, "trainer__gradient_clip_val": None}
    assert fit("--run=plain", data__batch_size=16, **rates) == 0
    options = ("--model.grad_checkpointing", "true", "--trainer.accumulate_grad_batches", "2")
    assert fit("--run=saving", *options, data__batch_size=8, **rates) == 0
    plain, saving = (load(f"{run}/model").state_dict() for run in ("plain", "saving"))
    for name, value in plain.items():
        torch.testing.assert_close(saving[name], value, rtol=0, atol=1e-4, msg=name)
    told = re.findall(
        r"A training step takes about ([\d.]+) MB at its peak", capsys.readouterr().out
    )
    assert float(told[1]) < 0.9 * float(told[0])


def test_too_large_a_step_is_foreseen(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pixelar.cli.fit_forecast.available_memory", lambda device: 900_000)
    assert fit(data__batch_size=64, trainer__max_steps=1) == 0
    out, error = capsys.readouterr()
    assert "0.9 MB are free." in out
    assert (
        "pixelar: that is more than is free; use a smaller data.batch_size, with "
        "trainer.accumulate_grad_batches for the same number of images in a step, "
        "or model.grad_checkpointing: true\n"
    ) in error
    assert fit("--run=other", "--data.batch_size=1", trainer__max_steps=1) == 0
    assert "that is more" not in capsys.readouterr().err


def test_palette_is_fitted_once_and_kept(tmp_path: Path) -> None:
    changes: dict[str, Any] = {
        "model__quantizer": {"class_path": "Palette", "init_args": {"levels": 8}},
        "data__dataset": {
            "class_path": "Photos",
            "init_args": {"size": 8, "train_images": 64, "val_images": 8, "test_images": 8},
        },
    }
    assert fit(trainer__max_steps=3, **changes) == 0
    colours = load_file("run/model/model.safetensors")["quantizer.colours"]
    assert colours.isfinite().all() and len(colours.unique(dim=0)) == 8
    assert read_curve(Path("run"), "train/bits_per_token")[0] == [1, 2, 3]
    # other images on resuming: fitted to them, the colours would be others
    changes["data__dataset"]["init_args"]["seed"] = 9
    assert fit("--resume", trainer__max_steps=6, **changes) == 0
    for state in ("state_dict", "current_model_state"):
        assert torch.equal(last_checkpoint()[state]["model.quantizer.colours"], colours)
    assert torch.equal(load_file("run/model/model.safetensors")["quantizer.colours"], colours)


def test_stops_before_a_gradient_that_is_not_finite(capsys: pytest.CaptureFixture[str]) -> None:
    assert fit(trainer__callbacks=callback("Poison")) == 2
    error = capsys.readouterr().err
    assert "the gradient of step 7 is not finite" in error and "Traceback" not in error
    assert "The newest checkpoint is of step 6. To go on:" in error
    checkpoint = last_checkpoint()
    for state in ("state_dict", "current_model_state"):
        assert all(v.isfinite().all() for v in checkpoint[state].values())
    assert not Path("run/model").exists()
    assert fit("--resume") == 0
    assert last_checkpoint()["global_step"] == 8


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mounts small disks; skips where that is not permitted."""
    mounted: list[Path] = []

    def mount(options: str) -> Path:
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except FileNotFoundError:
            pytest.skip("there is no mount command here")
        if done.returncode:
            pytest.skip(f"mounting is not permitted here: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("log_every", zoo.quick((1, 100), 100))
def test_full_disk_leaves_the_checkpoint_before(
    small_disk: Callable[..., Path], log_every: int
) -> None:
    disk = small_disk("size=8m")
    fill = [{"class_path": f"{__name__}.FillDisk", "init_args": {"file": f"{disk}/x", "step": 7}}]
    name = config(trainer__callbacks=fill, trainer__log_every_n_steps=log_every, samples=2)
    code, error = in_a_process("fit", "-c", name, "--run", f"{disk}/run")
    assert code == 2 and "No space left on device" in error and "Traceback" not in error, error
    assert "The newest checkpoint is of step 6. To go on:" in error
    assert read_checkpoint(disk / "run/checkpoints/step-00000006.ckpt")["global_step"] == 6
    assert not list((disk / "run/checkpoints").glob(".*"))
    (disk / "x").unlink()
    assert main(["fit", "-c", config(), "--run", f"{disk}/run", "--resume"]) == 0


def test_folders_that_cannot_be_written(
    small_disk: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").write_text("in the way")
    assert main(["fit", "-c", config(), "--run", "file/run"]) == 2
    assert "cannot write file/run/config.yaml" in capsys.readouterr().err
    disk = small_disk("size=1m,ro")
    assert main(["fit", "-c", config(), "--run", f"{disk}/run"]) == 2
    error = capsys.readouterr().err
    assert "cannot write" in error and "Read-only file system" in error


def in_a_process(*arguments: str, **environment: str) -> tuple[int, str]:
    """Runs `python -m pixelar`; returns its exit code and all that it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "pixelar", *arguments],
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join((str(Path(__file__).parent), *sys.path)),
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    return done.returncode, done.stdout


@pytest.mark.full
def test_two_processes(tmp_path: Path) -> None:
    """Shards are disjoint, the score is that of one process, and what was saved resumes."""
    record = [{"class_path": f"{__name__}.Record", "init_args": {"folder": str(tmp_path)}}]
    name = config(trainer__callbacks=record, data__batch_size=160, samples=2)
    options = ("--trainer.devices", "2", "--trainer.strategy", "ddp")
    code, log = in_a_process("fit", "-c", name, "--run", "run", *options)
    assert code == 0 and "Traceback" not in log, log

    shards = [Path(f"rank-{r}.txt").read_text().splitlines() for r in (0, 1)]
    assert len(shards[0]) == len(shards[1]) == 8 * 160
    images = Digits().split("train").images
    names = [hashlib.md5(i.numpy().tobytes()).hexdigest() for i in images]
    for epoch in (0, 1):  # of four batches, as 1,337 // 320 = 4
        seen = [n for shard in shards for n in shard[epoch * 640 : (epoch + 1) * 640]]
        assert all(seen.count(n) <= names.count(n) for n in set(seen))

    model, split = load("run/model"), Digits().split("val")
    metric = BitsPerDim(64)
    with torch.no_grad():
        metric.update(-model(model.encode(split.images)))
    steps, values = read_curve(Path("run"), "val/bits_per_dim")
    assert steps == [4, 8] and values[-1] == pytest.approx(float(metric.compute()), abs=1e-6)

    more = ("--trainer.max_steps", "10", "--resume")
    code, log = in_a_process("fit", "-c", name, "--run", "run", *options, *more)
    assert code == 0 and read_curve(Path("run"), "train/lr")[0] == list(range(1, 11)), log


ANY_ORDER = {"class_path": "AnyOrderGPT", "init_args": {"width": 8, "depth": 1, "heads": 1}}


def orders_of(rank: int = 0) -> list[str]:
    """Returns the orders that were written, and clears them."""
    file = Path(f"rank-{rank}.txt")
    lines = file.read_text().splitlines()
    file.unlink()
    return lines


LMCONV = {"class_path": "LMConv", "init_args": {"width": 4, "depth": 1}}


@pytest.mark.full
@pytest.mark.parametrize(("kind", "net"), [("symmetries", LMCONV), ("random", ANY_ORDER)])
def test_orders_follow_from_the_seed_and_the_batch(
    kind: str, net: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """An interrupted run goes on in the orders that it would have had; validation is in one."""
    options = ("--model.orders", kind, "--model.scan", "snake", "--trainer.max_steps", "16")
    changes: dict[str, Any] = {"model__net": net}

    def run(name: str, *more: str, stop: int = 0) -> int:
        changes["trainer__callbacks"] = callback("Orders", folder=".", stop=stop)
        return main(["fit", "-c", config(**changes), "--run", name, *options, *more])

    assert run("whole") == 0
    assert "validation is in one order, snake." in capsys.readouterr().out
    whole = orders_of()
    if kind == "symmetries":
        allowed = {str(s.index.flatten().tolist()) for s in symmetries("snake", (1, 8, 8))}
        assert set(whole) <= allowed and len(set(whole)) > 4
    else:
        assert len(set(whole)) == 16
    assert run("halves", stop=5) == 130 and run("halves", "--resume") == 0
    assert orders_of() == whole
    weights = [load_file(Path(name) / "model/model.safetensors") for name in ("whole", "halves")]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    assert run("other", "--seed_everything", "1") == 0 and orders_of() != whole

    model, split = load("whole/model"), Digits().split("val")
    assert torch.equal(model.scan.index, snake((1, 8, 8)).index)
    with torch.no_grad():
        bits = -model(model.encode(split.images)).double().mean() / (64 * math.log(2))
    assert read_curve(Path("whole"), "val/bits_per_dim")[1][-1] == pytest.approx(
        float(bits), abs=1e-5
    )


@pytest.mark.full
def test_two_processes_train_in_one_order() -> None:
    changes = {"model__net": ANY_ORDER, "trainer__callbacks": callback("Orders", folder=".")}
    options = ("--trainer.devices", "2", "--trainer.strategy", "ddp", "--model.orders", "random")
    code, log = in_a_process("fit", "-c", config(**changes), "--run", "run", *options)
    assert code == 0 and "Traceback" not in log, log
    orders = [orders_of(rank) for rank in (0, 1)]
    assert orders[0] == orders[1] and len(set(orders[0])) == 8


def test_processes_that_would_train_apart_are_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As torchrun starts them, without the options that let them train together."""
    for name, value in {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    config = Path(__file__).parents[1] / "configs" / "digits-imagegpt.yaml"
    assert main(["fit", "-c", str(config), "--run", str(tmp_path / "run")]) == 2
    assert "add --trainer.devices 2 --trainer.strategy ddp" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_missing_data_are_told_before_anything_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIXELAR_DATA", str(tmp_path))
    config = Path(__file__).parents[1] / "configs" / "binary-mnist-imagegpt.yaml"
    run = ["--run", str(tmp_path / "run"), "--data.dataset.root", str(tmp_path)]
    assert main(["fit", "-c", str(config), *run]) == 2
    printed = capsys.readouterr()
    assert "MNIST" in printed.err
    assert "training step takes" not in printed.out + printed.err


def test_the_screen_shows_our_words_only() -> None:
    code, text = in_a_process("fit", "-c", config(), "--run", "run")
    assert code == 0
    text = re.sub(r"(Training|Validation[ \w]*):[^\r\n]*", "", text)
    text = re.sub(r"[\r\s]|\x1b\[A", "", text)
    step = r"Atrainingsteptakesabout[\d.]+MBatitspeak\(.*state\);[\d.]+GBarefree\."
    after = r"Trained\.Themodelisinrun/model\.Next:pixelarevaluaterun/model"
    assert re.fullmatch(step + after, text), text


@pytest.mark.parametrize("arguments", [["--help"], ["-h"]])
def test_help(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["fit", *arguments])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for option in ("--run", "--resume", "--checkpoint_every", "--model.lr", "--data.batch_size"):
        assert option in text


MISTAKES: dict[str, tuple[dict[str, Any], list[str], str]] = {
    "nothing": ({"model": None, "data": None}, [], "missing model.net, model.head"),
    "key": ({"chekpoint_every": 3}, [], "unknown 'chekpoint_every'; did you mean 'checkpoint_"),
    "model key": ({"model__warmup": 3}, [], "model: unknown 'warmup'; did you mean 'warmup_steps'"),
    "net key": (
        {"model__net__init_args__widht": 3},
        [],
        "model.net: unknown 'widht'; did you mean 'width'? Known: classes, depth",
    ),
    "head key": ({"model__head__init_args": {"foo": 1}}, [], "Categorical takes no 'foo'"),
    "data key": (
        {"data__batchsize": 3},
        [],
        "data: unknown 'batchsize'; did you mean 'batch_size'",
    ),
    "trainer key": (
        {"trainer__max_step": 3},
        [],
        "trainer: unknown 'max_step'; did you mean 'max_",
    ),
    "net": ({"model__net__class_path": "GatedPixelCN"}, [], "did you mean 'GatedPixelCNN'?"),
    "net path": ({"model__net__class_path": "pixelar.nets.Foo"}, [], "model.net: unknown 'Foo'"),
    "head": ({"model__head__class_path": "Categoricl"}, [], "model.head: unknown 'Categoricl'"),
    "quantizer": ({"model__quantizer__class_path": "Identty"}, [], "did you mean 'Identity'?"),
    "data set": ({"data__dataset__class_path": "Digit"}, [], "did you mean 'Digits'?"),
    "head as net": ({"model__net__class_path": "Categorical"}, [], "model.net: unknown 'Categ"),
    "no class": ({"model__net__class_path": None}, [], "model.net: expected `class_path:` with"),
    "number as net": ({"model__net": 3}, [], f"one of {', '.join(sorted(NETS))}; got 3"),
    "no net": ({"model__net": None}, [], "missing model.net;"),
    "no data set": ({"data": None}, [], "missing data.dataset;"),
    "text as model": ({"model": "PixelCNN"}, [], "model: expected keys; got PixelCNN"),
    "type": ({"model__lr": "fast"}, [], "model.lr: expected float; got fast"),
    "net type": (
        {"model__net__init_args__width": "wide"},
        [],
        "model.net.width: expected int; got",
    ),
    "trainer type": ({"trainer__max_steps": "x"}, [], "trainer.max_steps: expected int; got x"),
    "choice": ({"model__scan": "rastr"}, [], "model.scan: expected one of 'raster', 'subpixel'"),
    "precision": ({"trainer__precision": "7"}, [], "or null; got 7"),
    "pair": ({"model__betas": [1]}, [], "model.betas: expected tuple with 2 elements; got [1]"),
    "no config": ({}, ["-c", "nothere.yaml"], "nothere.yaml"),
    "not yaml": ({}, ["-c", "bad.yaml"], "the config is not YAML"),
    "a list": ({}, ["-c", "list.yaml"], "a config has keys, such as model: and data:"),
    "option": ({}, ["--traner.max_steps", "3"], "did you mean --trainer.max_steps?"),
    "short option": ({}, ["--resum"], "unknown option --resum; did you mean --resume?"),
    "no dashes": ({}, ["other.yaml"], "a config is given as -c other.yaml"),
    "no value": ({}, ["--trainer.max_steps"], "--trainer.max_steps: expected one argument"),
    "ema": ({}, ["--ema", "2"], "ema must be at least 0 and below 1; got 2.0"),
    "samples": ({}, ["--samples", "-1"], "samples must be at least 0; got -1"),
    "no checkpoints": ({}, ["--checkpoint_every", "0"], "checkpoint_every must be at least 1"),
    "no steps": ({}, ["--trainer.max_steps", "0"], "trainer.max_steps must be at least 1; got 0"),
    "corruption": ({}, ["--model.corruption", "1"], "model.corruption must be at least 0"),
    "orders": ({"model__orders": "random"}, [], "and the order of GatedPixelCNN is fixed; use"),
    "device": ({}, ["--trainer.accelerator", "abacus"], "invalid accelerator name"),
    "batch": ({}, ["--data.batch_size", "2000"], "choose a batch_size of at most 1337"),
    "levels": ({}, ["--model.head", "Bernoulli"], "head Bernoulli: codes 2 levels but"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_answered_in_a_sentence(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    changes, options, sentence = MISTAKES[name]
    Path("bad.yaml").write_text("model: [1, 2\n  net: {]: :\n")
    Path("list.yaml").write_text("- 1\n- 2\n")
    assert fit(*options, **changes) == 2
    error = capsys.readouterr().err.strip()
    assert sentence in error and error.startswith("pixelar: ") and "\n" not in error, error
    assert "Traceback" not in error and "Namespace" not in error and "Parser key" not in error


def test_fit_alone_says_what_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit"]) == 2
    assert "fit needs a config: pixelar fit -c NAME" in capsys.readouterr().err


def test_descriptions_are_compared_key_by_key() -> None:
    old = {"scan": "raster", "net": {"name": "A", "args": {"width": 48}}}
    new = {"scan": "raster", "net": {"name": "A", "args": {"width": 32, "depth": 1}}}
    assert list(compare(old, new)) == [
        "net.args.depth is None there and 1 here",
        "net.args.width is 48 there and 32 here",
    ]
    assert not list(compare(old, old))


def test_read_curve_takes_the_latest_start_and_skips_torn_lines(tmp_path: Path) -> None:
    for version, text in enumerate(("step,a,b\n1,4.0,\n2,5.0,\n3", "step,a,b\n2,6.0,\n2,,7.0\n")):
        folder = tmp_path / "csv" / f"version_{version}"
        folder.mkdir(parents=True)
        (folder / "metrics.csv").write_text(text)
    assert read_curve(tmp_path, "a") == ([1.0, 2.0], [4.0, 6.0])
    assert read_curve(tmp_path, "b") == ([2.0], [7.0])
