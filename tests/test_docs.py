"""README, documents and models' cards run as they are, in a folder like the one they are for.

The kind of a block determines what is done with it, and no kind is left out:

    python          run; what follows `>>>` must print what is below it
    bash, console   every line is run, as a `pixelar` command or `torchrun`, or is of `SETTING_UP`
    text, bibtex    for people
    yaml            a card's config, shown exactly as the file next to the card

The Python blocks of a document share their names, in order. Commands that take hours are cut short,
and read images of noise in the format of MNIST. Scripts that are named are run in `TINY` versions;
`docs/figures/screenshots.py`, which photographs the demo, is not.
"""

import doctest
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import torch
from fixtures import write_imagegpt, write_lmconv, write_mnist, write_pixelcnnpp
from PIL import Image
from served import serving
from sklearn.datasets import load_sample_image

from pixelar.cli import main

ROOT = Path(__file__).parents[1]
CARDS = sorted((ROOT / "pixelar" / "hub" / "models").glob("*/README.md"))
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *CARDS]
FOR_PEOPLE = {"text", "bibtex"}
SHORT = ["--trainer.max_steps", "3", "--trainer.val_check_interval", "2", "--samples", "1"]
HOME = "http://127.0.0.1:7860"  # of the demo, which runs elsewhere here
# scripts that documents name, with arguments that make them quick; the others draw the pictures
TINY = {
    "benchmarks/benchmark_particles.py": "digits-gated-pixelcnn --particles 2",
    "benchmarks/compare_completion.py": (
        "digits-gated-pixelcnn -d digits -n 5 --draws 2 --particles 2 --at-once 4 -o compared.png"
    ),
    "scripts/package_model.py": "--table",
}
DRAWING = ("docs/figures/draw_docs.py", "docs/figures/draw_examples.py")
# by hand; in test_benchmark.py
OTHERS = ("docs/figures/screenshots.py", "benchmarks/benchmark.py", "benchmarks/compare.py")
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


QUICK = ("README.md", "extending.md")


def with_blocks(*languages: str) -> list[Any]:
    """Returns the documents that have blocks of a language, as parameters of a test."""
    return [
        pytest.param(
            document,
            id=called(document),
            marks=[] if called(document) in QUICK else pytest.mark.full,
        )
        for document in DOCUMENTS
        if any(block.language in languages for block in blocks(document))
    ]


def called(document: Path) -> str:
    """Returns a document's name: a card's is its model's."""
    return document.parent.name if document in CARDS else document.name


every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=called)


def run(arguments: list[str], folder: Path, **environment: str) -> str:
    done = subprocess.run(
        arguments,
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, f"{' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project in which the quickstart has run, cut short.

    Its .venv borrows this environment's packages and counts as installed, so that nothing is
    downloaded and this environment stays as it is.
    """
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("pixelar", "configs", "scripts", "benchmarks", "docs"):
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
    """The checkout with the images that commands require: a FOLDER of photographs, MNIST, an
    ImageGPT of transformers, and a checkpoint of PixelCNN++.

    DIR, of the cards, has MNIST and pictures of 32×32 pixels.
    """
    (checkout / "FOLDER").mkdir()
    photo = Image.fromarray(load_sample_image("flower.jpg"))
    for k in range(60):
        photo.crop((7 * k, 5 * k, 7 * k + 80, 5 * k + 64)).save(checkout / "FOLDER" / f"{k}.png")
    write_imagegpt(checkout / "imagegpt-small")
    write_pixelcnnpp(checkout / "pixelcnnpp.pth")
    write_lmconv(checkout / "lmconv.pth")
    write_mnist(checkout / "data" / "MNIST", train=40)
    write_mnist(checkout / "DIR" / "MNIST", train=5010)  # 5,000 of them are held out
    for k in range(20):
        photo.crop((7 * k, 5 * k, 7 * k + 32, 5 * k + 32)).save(checkout / "DIR" / f"{k}.png")
    return checkout


def test_quickstart_leaves_models_and_pictures(checkout: Path) -> None:
    out = checkout / "runs" / "quickstart"
    for name in ("samples.png", "completions.png", "surprise.png", "curves.png"):
        assert (out / name).stat().st_size > 1000
    for name in ("digits-imagegpt", "digits-gated-pixelcnn"):
        assert (out / name / "model" / "model.safetensors").exists()


@pytest.mark.full
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
                run_python(block, called(document), names)


@contextmanager
def asked_for(document: Path, folder: Path) -> Iterator[str]:
    """Runs the demo where a document requires it, and returns its address."""
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
        if command[0] == "torchrun":
            launch = [sys.executable, "-m", "torch.distributed.run", *shortened(command)[1:]]
            trained = run(launch, shell, PYTHONPATH=str(shell), OMP_NUM_THREADS="1")
            assert trained.count("Trained.") == 1  # together, not one by one
            continue
        assert main(shortened(command)[1:]) == 0, command
        if "-o" in command:
            assert (shell / command[command.index("-o") + 1]).exists(), command


def commands(document: Path) -> Iterator[list[str]]:
    """Yields the commands of a document as words."""
    for block in blocks(document):
        if block.language in ("bash", "console"):
            for line in block.text.replace("\\\n", "").splitlines():
                words = shlex.split(line.removeprefix("$ "), comments=True)
                if words and not SETTING_UP.match(" ".join(words)):
                    known = words[0] in ("pixelar", "torchrun")
                    assert known, f"{called(document)}: no test runs {line!r}"
                    yield words


def shortened(command: list[str]) -> list[str]:
    """Returns a command as it is run here: cut short, and without compilation."""
    # three steps were made, not the config's 1,800
    command = [word.replace("step-00001800", "step-00000003") for word in command]
    if "fit" not in command:
        return command
    few = ["--data.batch_size", "2"]
    if any("mnist" in word for word in command):
        few += ["--data.dataset.val_images", "8"]
    return [*command, *SHORT, *few, "--model.compile", "false", "--trainer.precision", "32"]


@every_document
def test_no_code_is_left_out(document: Path) -> None:
    for block in blocks(document):
        known = {"python", "bash", "console", *FOR_PEOPLE, *["yaml"] * (document in CARDS)}
        assert block.language in known, f"{called(document)}:{block.line}: no test reads this block"
        assert not CODE.search(block.text) or block.language not in FOR_PEOPLE, block.text
    between = FENCED.sub("", document.read_text())
    assert "```" not in between, f"{called(document)}: a fence is not closed, or indented"
    assert not CODE.search(between), f"{called(document)}: commands stand between fences"


@every_document
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
        if document.name not in ("README.md", "index.md"):  # cards are in models.md
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
        assert not script.endswith(".py") or script in (*TINY, *DRAWING, *OTHERS), (
            f"no test runs {script}"
        )


@pytest.mark.full
@pytest.mark.parametrize("script", TINY)
def test_scripts_that_are_named_run(script: str, checkout: Path) -> None:
    python = str(checkout / ".venv" / "bin" / "python")
    assert run([python, script, *TINY[script].split()], checkout)


@pytest.mark.full
def test_pictures_are_drawn_by_scripts(checkout: Path) -> None:
    python = str(checkout / ".venv" / "bin" / "python")
    for script in DRAWING:
        for drawn in run([python, script], checkout).split():
            assert Path(drawn).is_relative_to(checkout)
            assert (ROOT / "docs" / "images" / Path(drawn).name).exists(), drawn


def test_every_picture_is_shown() -> None:
    text = "".join(document.read_text() for document in DOCUMENTS)
    for picture in (ROOT / "docs" / "images").iterdir():
        assert f"images/{picture.name}" in text, picture.name
