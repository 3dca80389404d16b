"""The README's commands run as they stand, in a folder like the one they are written for."""

import hashlib
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
SHORT = ["--trainer.max_steps", "3", "--trainer.val_check_interval", "2", "--samples", "1"]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def run(arguments: list[str], folder: Path) -> str:
    done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project in which the quickstart has run, cut short.

    Its .venv borrows this environment's packages and counts as installed, so that nothing is
    downloaded and this environment stays as it is.
    """
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("pixelar", "configs", "scripts", "docs"):
        shutil.copytree(ROOT / name, folder / name)
    for name in ("pyproject.toml", "constraints.txt", "README.md"):
        shutil.copy(ROOT / name, folder)
    venv.create(folder / ".venv")
    (site,) = (folder / ".venv").glob("lib/python*/site-packages")
    (site / "borrowed.pth").write_text(f"{ROOT}\n{sysconfig.get_path('purelib')}\n")
    pins = (ROOT / "pyproject.toml").read_bytes() + (ROOT / "constraints.txt").read_bytes()
    (folder / ".venv" / f".pixelar-core-{hashlib.sha256(pins).hexdigest()[:16]}").touch()
    printed = run(["scripts/quickstart.sh", *SHORT], folder)
    assert "bits/dim" in printed
    return folder


def test_quickstart_leaves_models_and_pictures(checkout: Path) -> None:
    out = checkout / "runs" / "quickstart"
    for name in ("samples.png", "completions.png", "surprise.png", "curves.png"):
        assert (out / name).stat().st_size > 1000
    for name in ("digits-imagegpt", "digits-gated-pixelcnn"):
        assert (out / name / "model" / "model.safetensors").exists()


def test_quickstart_again_trains_nothing(checkout: Path) -> None:
    assert "Training" not in run(["scripts/quickstart.sh", *SHORT], checkout)


def test_python_block(checkout: Path) -> None:
    (code,) = blocks("python")
    run([sys.executable, "-c", code], checkout)


def test_shell_blocks(checkout: Path) -> None:
    pictures = checkout / "FOLDER"
    pictures.mkdir()
    photo = Image.fromarray(load_sample_image("flower.jpg"))
    for k in range(60):
        photo.crop((7 * k, 5 * k, 7 * k + 80, 5 * k + 64)).save(pictures / f"{k}.png")
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    commands = [line.split("#")[0].split() for line in lines if line.startswith("pixelar ")]
    assert len(commands) >= 8
    for command in commands:
        if command[1] == "fit":
            command += SHORT
        # three steps were made, not the config's 1,800
        command = [word.replace("step-00001800", "step-00000003") for word in command]
        run([sys.executable, "-m", *command], checkout)
    for made in ("samples.png", "completions.png", "exported/config.json"):
        assert (checkout / made).exists()


def test_the_install_block_names_scripts_that_exist() -> None:
    for script in re.findall(r"^\./(\S+)", "\n".join(blocks("bash")), flags=re.MULTILINE):
        assert (ROOT / script).stat().st_mode & 0o111


def test_pictures_and_links_exist() -> None:
    targets = re.findall(r"\]\(((?!https?:)[^)#]+)", README)
    assert len(targets) > 5
    for target in targets:
        assert (ROOT / target).exists(), target
