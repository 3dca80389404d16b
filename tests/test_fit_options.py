"""Options of the command line: refused by their names, before anything is read or written."""

import argparse
import re
from pathlib import Path
from typing import Union, get_args

import pytest
import torch
import torch._inductor.config as inductor
import yaml

from pixelar.cli import main
from pixelar.cli.fit_build import build, whole_numbers_first
from pixelar.cli.fit_help import CLASSES, arguments_of
from pixelar.cli.fit_options import OPTIONS
from pixelar.cli.processes import settle_processes
from pixelar.errors import PixelarError
from pixelar.names.limits import LIMITS, check_limits

pytestmark = pytest.mark.faults

ROOT = Path(__file__).parents[1]

CONFIG = """
model:
  net: {class_path: ImageGPT, init_args: {width: 8, depth: 1, heads: 2}}
  head: {class_path: Categorical}
  quantizer: {class_path: Identity, init_args: {levels: 17}}
data:
  dataset: {class_path: Digits}
  batch_size: 4
trainer: {max_steps: 1, val_check_interval: 1, limit_val_batches: 1, enable_progress_bar: false}
samples: 0
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to be in, which holds one config."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text(CONFIG)
    return tmp_path


# --- numbers ----------------------------------------------------------------------------------


def impossible(name: str) -> list[object]:
    """Returns numbers that an option of a run cannot be, by its limits."""
    limit = LIMITS[name]
    step = 1 if limit.low else 0.5
    outside: list[object] = [limit.low - step if limit.other is None else limit.low - 3]
    outside += [limit.low] * limit.above + [limit.high] * limit.below + [1.5] * limit.share
    outside += [limit.high + 1] * (limit.high < 2**63)
    return [*outside, float("nan"), float("inf"), -float("inf")]


@pytest.mark.parametrize("name", LIMITS)
def test_every_number_has_limits_that_hold(name: str) -> None:
    for value in impossible(name):
        for given in (value, [0.5, value], (value,)):
            with pytest.raises(PixelarError, match=f"^{re.escape(name)} must be "):
                check_limits({name: given})
    check_limits({name: None, "unknown": -1})
    check_limits({name: LIMITS[name].low + 1 - LIMITS[name].below * 0.5})


def test_every_number_of_a_run_has_limits() -> None:
    """So that one that is added to a class is not forgotten here."""
    without = {"data.seed"}  # which may be any
    for title, (file, cls) in CLASSES.items():
        for argument in arguments_of(file, cls):
            if re.fullmatch(r"(int|float)( \| None)?|tuple\[float.*", argument.annotation):
                name = f"{title}.{argument.name}"
                assert name in LIMITS or name in without, name
    assert {name for name, option in OPTIONS.items() if option.kind in (int, float)} <= set(LIMITS)


REFUSED = [
    "--model.lr -1",
    "--model.betas [2,0.9]",
    "--model.weight_decay .inf",
    "--model.net.init_args.dropout .nan",
    "--data.workers -1",
    "--data.dataset.init_args.test_images -1",
    "--seed_everything 4294967296",
    "--checkpoint_every 0",
    "--trainer.val_check_interval 0",
    "--trainer.val_check_interval 0.5",
    "--trainer.val_check_interval soon",
    "--trainer.max_time {minutes: -1}",
    "--trainer.max_time 5",
    "--trainer.max_steps 0",
    "--trainer.accumulate_grad_batches 0",
    "--trainer.log_every_n_steps 0",
    "--trainer.gradient_clip_val -1",
    "--trainer.gradient_clip_algorithm most",
    "--trainer.devices -1",
    "--trainer.devices 0",
    "--trainer.devices 99999",
    "--trainer.devices [0,0]",
    "--trainer.num_nodes 2",
    "--trainer.accelerator abacus",
    "--trainer.strategy magic",
    "--trainer.precision 7",
    "--trainer.use_distributed_sampler true",
    "--optimizer SGD",
    "--lr_scheduler StepLR",
    "--trainer.logger CSVLogger",
    "--trainer.callbacks EarlyStopping",
]


@pytest.mark.parametrize("given", REFUSED)
def test_fit_refuses_an_option_by_its_name(
    given: str, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    name, value = given.split(" ", 1)
    assert main(["fit", "-c", "a.yaml", "--run", "run", name, value]) == 2
    error = capsys.readouterr().err
    assert name.removeprefix("--") in error and error.startswith("pixelar: "), error
    assert error.count("\n") == 1 and len(error) < 500, error
    assert [*here.iterdir()] == [here / "a.yaml"], "something was written"


COMMANDS = [
    *(f"sample M --temperature {value}" for value in ("-1", "nan", "inf", "hot")),
    *(f"sample M --top-p {value}" for value in ("0", "1.1", "nan", "-1")),
    *(f"complete M a.png --keep top --top-k {value}" for value in ("0", "-1", "1.5")),
    *(f"sample M --seed {value}" for value in ("1.5", "x", "9" * 30)),
    *(f"sample M -n {value}" for value in ("0", "-1", "10001")),
    *(f"complete M a.png --keep top --particles {value}" for value in ("0", "-1")),
    *(f"evaluate M --limit {value}" for value in ("0", "-1", "x")),
    *(f"evaluate M --batch-size {value}" for value in ("0", "x")),
    *(f"evaluate M --orders {value}" for value in ("0", "1", "1001")),
    *(f"demo --port {value}" for value in ("-1", "65536", "x")),
    *(f"import x -o y --size {value}" for value in ("0x1", "32", "9999x1")),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_other_commands_refuse_an_option_by_its_name(
    command: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command.replace("M", "digits-imagegpt").split()) == 2
    error = capsys.readouterr().err
    assert f"pixelar: argument {command.split()[-2]}: must be " in error, error
    assert error.count("\n") == 1 and [*here.iterdir()] == [here / "a.yaml"]


def test_compiling_without_a_compiler_is_refused(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch._dynamo.reset()  # which keeps what an earlier test compiled
    with inductor.patch({"cpp.cxx": (None, "/nowhere/c++")}):
        assert main(["fit", "-c", "a.yaml", "--model.compile", "true"]) == 2
    assert "pixelar: model.compile needs a working compiler" in capsys.readouterr().err
    assert not Path("runs").exists()


class Option(argparse.Action):
    """An option as a parser keeps it."""

    def __call__(self, *_: object) -> None: ...


def test_whole_numbers_stay_whole_whatever_typing_has_cached() -> None:
    """`Optional[Union[int, float]]` may return the arguments of an equal union in another order."""
    option = Option([], "batches")
    option._typehint = Union[float, int, str, None]  # type: ignore[attr-defined]  # noqa: UP007
    whole_numbers_first(option)
    assert get_args(option._typehint) == (int, float, str, type(None))  # type: ignore[attr-defined]
    option._typehint = float | None  # type: ignore[attr-defined]
    whole_numbers_first(option)
    assert option._typehint == float | None  # type: ignore[attr-defined]


# --- processes --------------------------------------------------------------------------------

SLURM = {
    "SLURM_JOB_ID": "7",
    "SLURM_JOB_NAME": "train",
    "SLURM_NTASKS": "2",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
}
TORCHRUN = {
    "RANK": "1",
    "LOCAL_RANK": "1",
    "WORLD_SIZE": "2",
    "LOCAL_WORLD_SIZE": "2",
    "GROUP_RANK": "0",
    "MASTER_ADDR": "localhost",
    "MASTER_PORT": "29500",
}


@pytest.mark.parametrize(
    ("given", "left"),
    [
        (SLURM, SLURM.keys() - {"SLURM_NTASKS", "SLURM_PROCID"}),
        (SLURM | {"SLURM_STEP_ID": "4294967290"}, SLURM.keys() - {"SLURM_NTASKS", "SLURM_PROCID"}),
        (SLURM | {"SLURM_STEP_ID": "0"}, SLURM.keys()),  # as srun starts a process
        (SLURM | {"SLURM_STEP_ID": "0", "SLURM_PROCID": ""}, SLURM.keys() - {"SLURM_PROCID"}),
        (TORCHRUN, TORCHRUN.keys()),
        (dict.fromkeys(TORCHRUN, ""), set()),
        ({"WORLD_SIZE": " ", "RANK": "3"}, set()),
        ({"RANK": "3"}, set()),
        ({"WORLD_SIZE": "1", "LOCAL_RANK": "0"}, {"WORLD_SIZE"}),
    ],
)
def test_what_numbers_no_process_is_removed(given: dict[str, str], left: set[str]) -> None:
    variables = {**given}
    settle_processes(variables)
    if "SLURM_NTASKS" not in left:
        assert "SLURM_NTASKS" not in variables or not left & {"SLURM_PROCID"}
    assert variables.keys() - {"SLURM_STEP_ID", "SLURM_NTASKS"} == left - {"SLURM_NTASKS"}


@pytest.mark.parametrize(
    "given",
    [
        {"WORLD_SIZE": "2"},
        {"WORLD_SIZE": "two"},
        {"WORLD_SIZE": "-1"},
        {"WORLD_SIZE": "0"},
        {"RANK": "x"},
        TORCHRUN | {"RANK": "2"},
        TORCHRUN | {"MASTER_PORT": "http"},
    ],
)
@pytest.mark.parametrize("command", ["fit -c a.yaml --run run", "evaluate digits-imagegpt"])
def test_what_contradicts_itself_is_refused(
    given: dict[str, str],
    command: str,
    here: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert main(command.split()) == 2
    error = capsys.readouterr().err
    assert "unset " in error and any(name in error for name in given), error
    assert [*here.iterdir()] == [here / "a.yaml"]


def test_a_shell_in_an_allocation_trains_on_one_device(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**SLURM, "RANK": "", "WORLD_SIZE": ""}.items():
        monkeypatch.setenv(name, value)
    assert main(["fit", "-c", "a.yaml", "--run", "run"]) == 0
    assert (here / "run" / "model" / "config.json").is_file()


# --- loggers and callbacks of one's own -------------------------------------------------------

OWN = {
    "logger": [
        {"class_path": "CSVLogger", "init_args": {"save_dir": "logs", "name": "mine"}},
        {"class_path": "TensorBoardLogger", "init_args": {"save_dir": "boards"}},
    ],
    "callbacks": [
        {"class_path": "ModelCheckpoint", "init_args": {"dirpath": "kept"}},
        {"class_path": "LearningRateMonitor"},
    ],
    "log_every_n_steps": 1,
}


def test_loggers_and_callbacks_of_ones_own_are_kept(here: Path) -> None:
    own = yaml.safe_load(CONFIG)
    own["trainer"] |= OWN
    (here / "own.yaml").write_text(yaml.safe_dump(own))
    assert main(["fit", "-c", "own.yaml"]) == 0
    for folder in (here / "logs" / "mine", here / "runs" / "own" / "csv"):
        text = (folder / "version_0" / "metrics.csv").read_text()
        assert "val/bits_per_dim" in text and "lr-" in text, text
    for folder in (here / "boards", here / "runs" / "own" / "tensorboard"):
        assert [*folder.rglob("events.*")]
    assert [*(here / "kept").glob("*.ckpt")]
    assert [*(here / "runs" / "own" / "checkpoints").glob("step-*.ckpt")]


@pytest.mark.parametrize("given", ["true", "false"])
def test_a_run_has_its_own_loggers_in_any_case(given: str) -> None:
    cli = build(["-c", "a.yaml", "--trainer.logger", given])
    assert not cli.trainer.loggers  # ours are added when the folder of the run is known
