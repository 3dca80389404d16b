"""The README and the documents run as they stand, in a folder like the one they are written for.

What a block is says what is done with it, and there is no kind that is left out unseen:

    python          run; what stands behind `>>>` must print what stands below it
    bash, console   every line is a `pixelar` command, which is run, or one of `SETTING_UP`
    text, bibtex    for people

The Python blocks of a document share their names, in order. Commands that take hours are cut short,
and read images of noise in the format of MNIST.
"""

import doctest
import hashlib
import re
import shlex
import shutil
import subprocess
import sysconfig
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import torch
from fixtures import write_mnist
from PIL import Image
from served import serving
from sklearn.datasets import load_sample_image

from pixelar.cli import main

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FOR_PEOPLE = {"text", "bibtex"}
SHORT = ["--trainer.max_steps", "3", "--trainer.val_check_interval", "2", "--samples", "1"]
HOME = "http://127.0.0.1:7860"  # of the demo, which runs elsewhere here
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

# commands that make the folder in which the others are run: the fixture `checkout` stands for them
SETTING_UP = re.compile(r"\./scripts/(install|quickstart|test)\.sh|source \.venv/bin/activate|cd ")

FENCED = re.compile(r"^```(\S*)[^\n]*\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)
CODE = re.compile(
    r"^ *(>>>|\$ |pixelar (fit|demo|info|list)\b|pixelar \w+ .*-|import |from \w+ import )",
    flags=re.MULTILINE,
)


class Block(NamedTuple):
    """What stands between two fences."""

    language: str
    text: str
    line: int  # of the file, on which the text begins


def blocks(document: Path) -> Iterator[Block]:
    text = document.read_text()
    for found in FENCED.finditer(text):
        yield Block(found[1], found[2], text.count("\n", 0, found.start(2)) + 1)


def with_blocks(*languages: str) -> list[Any]:
    """Returns the documents that have blocks of a language, as parameters of a test."""
    return [
        pytest.param(document, id=document.name)
        for document in DOCUMENTS
        if any(block.language in languages for block in blocks(document))
    ]


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


@pytest.fixture(scope="module")
def shell(checkout: Path) -> Path:
    """The checkout with the images that commands ask for: a FOLDER of photographs, and MNIST."""
    (checkout / "FOLDER").mkdir()
    photo = Image.fromarray(load_sample_image("flower.jpg"))
    for k in range(60):
        photo.crop((7 * k, 5 * k, 7 * k + 80, 5 * k + 64)).save(checkout / "FOLDER" / f"{k}.png")
    write_mnist(checkout / "data" / "MNIST", train=40)
    return checkout


def test_quickstart_leaves_models_and_pictures(checkout: Path) -> None:
    out = checkout / "runs" / "quickstart"
    for name in ("samples.png", "completions.png", "surprise.png", "curves.png"):
        assert (out / name).stat().st_size > 1000
    for name in ("digits-imagegpt", "digits-gated-pixelcnn"):
        assert (out / name / "model" / "model.safetensors").exists()


def test_quickstart_again_trains_nothing(checkout: Path) -> None:
    assert "Training" not in run(["scripts/quickstart.sh", *SHORT], checkout)


@pytest.mark.parametrize("document", with_blocks("python"))
def test_python(document: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(checkout)
    names: dict[str, Any] = {}
    with torch.random.fork_rng(devices=[]), asked_for(document, checkout) as url:
        for block in blocks(document):
            if block.language == "python":
                block = block._replace(text=block.text.replace(HOME, url))
                run_python(block, document.name, names)


@contextmanager
def asked_for(document: Path, folder: Path) -> Iterator[str]:
    """Runs the demo where a document asks for it, and gives its address."""
    if HOME not in document.read_text():
        yield HOME
        return
    with serving(folder, "digits-gated-pixelcnn") as server:
        yield server.url


def run_python(block: Block, name: str, names: dict[str, Any]) -> None:
    """Runs a block; one with `>>>` must print what it says."""
    if ">>> " not in block.text:
        exec(compile("\n" * (block.line - 1) + block.text, name, "exec"), names)
        return
    test = doctest.DocTestParser().get_doctest(block.text, {}, name, name, block.line - 1)
    test.globs = names  # that of the document, not a copy
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    failed = runner.run(test, out=report.append, clear_globs=False).failed
    assert not failed, "".join(report)


@pytest.mark.parametrize("document", with_blocks("bash", "console"))
def test_shell(document: Path, shell: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shell)
    for command in commands(document):
        if command[1] == "demo":
            with serving(shell, *command[2:]) as server:
                assert httpx.get(server.url, timeout=60).status_code == 200, command
            continue
        assert main(shortened(command)[1:]) == 0, command
        if "-o" in command:
            assert (shell / command[command.index("-o") + 1]).exists(), command


def commands(document: Path) -> Iterator[list[str]]:
    """Yields the `pixelar` commands of a document as words."""
    for block in blocks(document):
        if block.language in ("bash", "console"):
            for line in block.text.replace("\\\n", "").splitlines():
                words = shlex.split(line.removeprefix("$ "), comments=True)
                if words and not SETTING_UP.match(" ".join(words)):
                    assert words[0] == "pixelar", f"{document.name}: no test runs {line!r}"
                    yield words


def shortened(command: list[str]) -> list[str]:
    """Returns a command as it is run here: cut short, and without compilation."""
    # three steps were made, not the config's 1,800
    command = [word.replace("step-00001800", "step-00000003") for word in command]
    if command[1] != "fit":
        return command
    mnist = any("mnist" in word for word in command)
    few = ["--data.dataset.val_images", "8", "--data.batch_size", "2"] if mnist else []
    return [*command, *SHORT, *few, "--model.compile", "false", "--trainer.precision", "32"]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_no_code_is_left_out(document: Path) -> None:
    for block in blocks(document):
        known = {"python", "bash", "console"} | FOR_PEOPLE
        assert block.language in known, f"{document.name}:{block.line}: no test reads this block"
        assert not CODE.search(block.text) or block.language not in FOR_PEOPLE, block.text
    between = FENCED.sub("", document.read_text())
    assert "```" not in between, f"{document.name}: a fence is not closed, or indented"
    assert not CODE.search(between), f"{document.name}: commands stand between fences"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_pictures_and_links_exist(document: Path) -> None:
    for target in re.findall(r"\]\(((?!https?:)[^)]+)", document.read_text()):
        file, _, anchor = target.partition("#")
        linked = (document.parent / file) if file else document
        assert linked.exists(), target
        assert not anchor or anchor in headings(linked), target


def headings(document: Path) -> set[str]:
    """Returns the anchors of a document's headings, as a code host makes them."""
    titles = re.findall(r"^#+ (.+)$", document.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_document_is_in_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    for document in DOCUMENTS:
        if document.name not in ("README.md", "index.md"):
            assert f"]({document.name})" in index, document.name


def test_scripts_that_are_named_exist() -> None:
    named = {
        script
        for document in DOCUMENTS
        for script in re.findall(r"\bscripts/\w+\.\w+", document.read_text())
    }
    assert "scripts/quickstart.sh" in named
    for script in named:
        assert (ROOT / script).exists(), script
        assert script.endswith(".py") or (ROOT / script).stat().st_mode & 0o111, script


def test_pictures_are_drawn_by_scripts(checkout: Path) -> None:
    python = str(checkout / ".venv" / "bin" / "python")
    for script in ("draw_docs.py", "draw_examples.py"):
        for drawn in run([python, f"scripts/{script}"], checkout).split():
            assert Path(drawn).is_relative_to(checkout)
            assert (ROOT / "docs" / "images" / Path(drawn).name).exists(), drawn


def test_every_picture_is_shown() -> None:
    text = "".join(document.read_text() for document in DOCUMENTS)
    for picture in (ROOT / "docs" / "images").iterdir():
        assert f"images/{picture.name}" in text, picture.name
