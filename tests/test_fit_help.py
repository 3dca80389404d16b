"""`pixelar fit --help` without torch, and configs by name, from a checkout and from a wheel."""

import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_fit_options import CONFIG

from pixelar.cli import main
from pixelar.cli.fit_build import build
from pixelar.cli.fit_help import ABOUT, CLASSES, TRAINER, arguments_of, fit_help
from pixelar.cli.fit_options import OPTIONS, locate_configs
from pixelar.errors import PixelarError
from pixelar.hub.configs import configs, find_config
from pixelar.training import Training
from pixelar.training.data_module import PixelData

pytestmark = pytest.mark.faults

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to be in, which holds one config."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text(CONFIG)
    return tmp_path


# --- help -------------------------------------------------------------------------------------


def test_help_shows_the_arguments_that_the_classes_have() -> None:
    for (title, (file, name)), cls in zip(CLASSES.items(), (Training, PixelData), strict=True):
        assert cls.__name__ == name
        parameters = inspect.signature(cls).parameters.values()
        shown = arguments_of(file, name)
        assert [a.name for a in shown] == [p.name for p in parameters]
        for argument, parameter in zip(shown, parameters, strict=True):
            default = None if argument.default is None else eval(argument.default)
            assert default == (None if parameter.default is parameter.empty else parameter.default)
        described = {key for key in ABOUT if key.startswith(f"{title}.")}
        assert described == {f"{title}.{p.name}" for p in parameters} - {
            "model.shape",
            "model.image_dtype",
        }
    (defaults,) = [vars(build(["-c", "a.yaml"]).config["trainer"])]
    assert TRAINER.keys() <= defaults.keys()
    for name, (_, about) in TRAINER.items():
        if name != "precision" and "(default: " in about:
            assert f"(default: {defaults[name]})" in about


@pytest.mark.parametrize("columns", [80, 100])
def test_help_is_short_and_fits(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    text = fit_help()
    assert len(text.splitlines()) < 70 and max(map(len, text.splitlines())) <= columns
    names = [*OPTIONS, "model.lr", "data.batch_size", "trainer.max_steps", "help-all"]
    assert all(f"--{name}" in text for name in names)


def test_help_needs_neither_torch_nor_lightning() -> None:
    program = (
        "import sys, contextlib, pixelar.cli\n"
        "with contextlib.suppress(SystemExit): pixelar.cli.main(['fit', '--help'])\n"
        "heavy = {'torch', 'lightning', 'jsonargparse', 'numpy', 'yaml'} & sys.modules.keys()\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program], check=True, env=os.environ, cwd=ROOT)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--help-all"], ["--trainer.profiler", "--model.lr", "--run"]),
        (["--model.net.help", "ImageGPT"], ["--model.net.heads"]),
    ],
)
def test_all_options_are_shown_where_they_are_asked_for(
    arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["fit", *arguments])
    text = capsys.readouterr().out
    assert stopped.value.code == 0 and all(word in text for word in words), text
    assert "--lr_scheduler" not in text


# --- configs by name --------------------------------------------------------------------------


def test_configs_have_names(here: Path) -> None:
    files = {file.stem: file for file in (ROOT / "configs").glob("*.yaml")}
    assert files.items() <= configs().items()
    assert find_config("digits-imagegpt") == files["digits-imagegpt"]
    own = ROOT / "pixelar" / "hub" / "models" / "digits-imagegpt" / "train.yaml"
    assert find_config("digits-imagegpt/train") == own
    Path("digits-imagegpt").write_text(CONFIG)
    assert find_config("digits-imagegpt") == Path("digits-imagegpt")  # a file comes first
    with pytest.raises(
        PixelarError, match=r"did you mean 'digits-imagegpt.* no file digits-imgpt either"
    ):
        find_config("digits-imgpt")
    with pytest.raises(PixelarError, match="did you mean 'digits-lmconv'"):
        find_config("configs/digits-lmconv.yaml")


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["-c", "digits-imagegpt"], "digits-imagegpt"),
        (["--config=digits-imagegpt"], "digits-imagegpt"),
        (["-c", "digits-imagegpt/train"], "digits-imagegpt"),
        (["-c", "digits-imagegpt", "--config", "a.yaml"], "a"),
        (["--model.lr", "1"], "unnamed"),
        (["-c", "{model: {lr: 1}}"], "unnamed"),
    ],
)
def test_a_run_is_called_as_its_config(arguments: list[str], name: str) -> None:
    located, found = locate_configs(arguments)
    assert found == name and len(located) == len(arguments)


@pytest.mark.full
def test_a_wheel_trains_by_name(here: Path) -> None:
    """From another folder, without the repository."""
    pytest.importorskip("hatchling", reason="hatchling, which builds wheels, is not installed")
    run = [sys.executable, "-m"]
    build = [*run, "hatchling", "build", "-t", "wheel", "-d", str(here / "wheel")]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = (here / "wheel").glob("*.whl")
    target = here / "target"
    install = [*run, "pip", "install", "--no-deps", "--no-index", "--target", str(target)]
    if subprocess.run([*run, "pip", "--version"], capture_output=True).returncode:
        install = ["unzip", "-q", "-d", str(target)]  # a wheel of one that has no scripts is a zip
    subprocess.run([*install, str(wheel)], check=True, capture_output=True)
    assert {file.name for file in (target / "pixelar" / "configs").iterdir()} == {
        file.name for file in (ROOT / "configs").iterdir()
    }
    environment = os.environ | {"PYTHONPATH": str(target)}

    def pixelar(*arguments: str) -> str:
        command = [*run, "pixelar", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "-c CONFIG" in pixelar("fit", "--help")
    small = "--trainer.max_steps 1 --samples 0 --model.net.init_args.width 8".split()
    pixelar("fit", "-c", "digits-imagegpt", *small)
    assert (here / "runs" / "digits-imagegpt" / "model").is_dir()


def test_list_names_the_configs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    text = capsys.readouterr().out
    assert "\nconfigs, for pixelar fit -c NAME:\n" in text
    assert all(f"\n  {name} " in text for name in configs() if "/" not in name)
