"""The command line: what it draws and prints, and how it reports mistakes."""

import json
import os
import pty
import shutil
import signal
import struct
import subprocess
import sys
import termios
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import zoo
from PIL import Image
from torch import Tensor

import pixelar
from pixelar.cli import main
from pixelar.cli.describe import render
from pixelar.io.folders import fingerprint

SCALE = np.round(np.arange(17) * 255 / 16).astype(np.uint8)  # the levels of the models below


@pytest.fixture(scope="module", autouse=True)
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder to be in, with models and images."""
    folder = tmp_path_factory.mktemp("work")
    before = Path.cwd()
    os.chdir(folder)
    pixelar.save(zoo.tiny("PixelCNN", shape=(1, 8, 8), levels=17).float(), "grey")
    pixelar.save(zoo.tiny("PixelCNN", shape=(3, 8, 8), levels=256).float(), "colour")
    pixelar.save(zoo.tiny("ImageGPT", shape=(1, 8, 8), levels=17, classes=3).float(), "classes")
    pixelar.save(zoo.tiny("ImageGPT", shape=(1, 8, 8), levels=17, scan="snake").float(), "snake")
    pixelar.save(zoo.tiny("LMConv", shape=(1, 8, 8), levels=17).float(), "any")
    chance = np.random.default_rng(0)
    for k in range(5):
        write(SCALE[chance.integers(17, size=(8, 8))], f"images/{k}.png")
    write(SCALE[chance.integers(17, size=(8, 9))], "wide/0.png")
    write(chance.integers(256, size=(20, 30, 3), dtype=np.uint8), "rgb.png")
    Image.fromarray(chance.integers(1 << 16, size=(20, 30), dtype=np.uint16)).save("deep.png")
    mask = np.zeros((8, 8), np.uint8)
    mask[3:5, 2:7] = 255
    write(mask, "mask.png")
    Path("empty").mkdir()
    yield folder
    os.chdir(before)


def write(pixels: np.ndarray, path: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


DEVICE = "pixelar: device: cpu\n"  # what commands that compute say first


def words(command: str) -> list[str]:
    return command.split()


def refused(
    command: str | Sequence[str], message: str, capsys: pytest.CaptureFixture[str], lines: int = 1
) -> None:
    """Asserts that a command ends with code 2 and one sentence, and leaves nothing behind."""
    before = listing()
    arguments = words(command) if isinstance(command, str) else command
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    err = err.removeprefix(DEVICE)
    assert message in err, err
    assert err.startswith("pixelar: ") and err.count("\n") == lines and len(err) < 900, err
    assert "Traceback" not in err and "bits/" not in out
    assert listing() == before


def listing() -> list[str]:
    return sorted(str(path) for path in Path().rglob("*") if path.is_file())


# --- what answers at once ---------------------------------------------------------------------

FREE = """
import sys
{}
heavy = {{"torch", "numpy", "lightning", "matplotlib", "PIL", "sklearn"}} & sys.modules.keys()
assert not heavy, heavy
"""


@pytest.mark.parametrize(
    "program",
    [
        "import pixelar; assert 'evaluate' in pixelar.__all__",
        "import contextlib, pixelar.cli\n"
        "for words in (['--help'], [], ['evaluate', '--help'], ['--version'], ['sample', '-h']):\n"
        "    with contextlib.suppress(SystemExit): pixelar.cli.main(words)",
        "import pixelar.cli; assert pixelar.cli.main(['smaple']) == 2",
        "import pixelar.cli; assert pixelar.cli.main(['sample', 'm', '--sed', '1']) == 2",
    ],
)
def test_nothing_heavy_is_imported_before_it_is_needed(program: str) -> None:
    subprocess.run([sys.executable, "-c", FREE.format(program)], check=True, capture_output=True)


def test_every_public_name_is_there() -> None:
    assert pixelar.__version__
    for name in {*pixelar.__all__} - {"__version__"}:
        assert getattr(pixelar, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = pixelar.nothing


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    for name in ("fit", "evaluate", "sample", "complete", "import", "export", "info", "list"):
        assert f"\n  {name} " in text


def test_list_names_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    text = capsys.readouterr().out
    for name in ("ImageGPT", "LogisticMixture", "hilbert", "Palette", "digits", "folder"):
        assert f"\n  {name} " in text


# --- real processes ---------------------------------------------------------------------------


def run_pixelar(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pixelar", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]


def test_the_command_and_the_module_are_one() -> None:
    """The same seed, in two processes started in two ways: the same bytes."""
    done = run_pixelar(*words("sample grey -n 3 --seed 7 -o a.png"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "a.png\n", DEVICE)
    script = Path(sys.executable).with_name("pixelar")
    subprocess.run([script, *words("sample grey -n 3 --seed 7 -o b.png")], check=True)
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes()
    assert main(words("sample grey -n 3 --seed 8 -o c.png")) == 0
    assert Path("a.png").read_bytes() != Path("c.png").read_bytes()


def test_a_mistake_in_a_real_process_is_a_sentence() -> None:
    done = run_pixelar("info", "nothing")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("pixelar: model: unknown 'nothing'")
    assert done.stderr.endswith("; there is no folder of that name either\n")


def test_a_reader_that_leaves_is_no_mistake() -> None:
    command = [sys.executable, "-m", "pixelar", "info", "grey"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout and process.stderr
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(60) == 0


def test_an_interrupt_ends_with_code_130_and_leaves_nothing() -> None:
    terminal, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    command = words("-m pixelar sample colour -n 10000 -o interrupted.png")
    process = subprocess.Popen([sys.executable, *command], stderr=theirs, stdout=theirs)
    os.close(theirs)
    seen = b""
    while b"drawing" not in seen:  # the progress bar, which terminals are shown
        seen += os.read(terminal, 1024)
    process.send_signal(signal.SIGINT)
    try:
        while part := os.read(terminal, 1024):
            seen += part
    except OSError:
        pass  # how Linux says that the other end is closed
    assert process.wait(60) == 130
    assert b"pixelar: interrupted" in seen and b"Traceback" not in seen
    assert not [name for name in listing() if "interrupted" in name]


# --- evaluate, info ---------------------------------------------------------------------------


def test_evaluate_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words("evaluate grey -d images -o cards/a")) == 0
    (folder,) = Path("cards/a").iterdir()
    card = json.loads((folder / "report.json").read_text())
    pixels = np.stack([np.asarray(Image.open(f"images/{k}.png")) for k in range(5)])
    bits = pixelar.bits_per_dim(pixelar.load("grey"), torch.from_numpy(pixels)[:, None])
    assert card["figure"]["mean"] == pytest.approx(float(bits.mean()), rel=1e-12)
    assert card["data"]["images"] == 5  # all, as nothing names a split
    assert f"raw weights: {float(bits.mean()):.4f} ±" in capsys.readouterr().out
    assert main(words("evaluate grey -d images --split val -o cards/b")) == 0
    assert "(1 val image of" in capsys.readouterr().out  # as training would have held out


def test_other_figures_get_other_cards() -> None:
    shutil.copytree("images", "more/images")
    shutil.copy("images/0.png", "more/images/9.png")
    for words_of in (
        "-d images",
        "-d more/images",
        "-d images --limit 2",
        "-d images --dtype float64",
        "-d digits --limit 2",
        "-d digits --limit 3",
        "-d digits --limit 2 --split val",
    ):
        assert main(words(f"evaluate grey -o cards/c {words_of}")) == 0
    cards = [json.loads(card.read_text()) for card in Path("cards/c").glob("*/report.json")]
    assert len(cards) == 7
    assert len({card["figure"]["mean"] for card in cards}) == 7


def test_orders_that_are_averaged_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree("any", "averaged")
    for orders, named, measured in (
        ("symmetries", "raster; raster, from the right; raster, from below; ", "symmetries"),
        ("2", "raster, shuffled by the seeds 0 to 1, mean of probabil", "2 random orders"),
        ("one", "", ""),
    ):
        assert main(words(f"evaluate averaged -d images --limit 2 --orders {orders}")) == 0
        printed = capsys.readouterr().out
        assert f"\n  orders: {named}" in printed if named else "orders" not in printed
        for report in Path("averaged").glob("*/*/report.json"):
            report.rename(report.with_name("card.json"))  # as it was called until version 0.1
        assert main(words("info averaged")) == 0
        assert f", {measured} averaged: " in capsys.readouterr().out or not measured
    cards = [json.loads(card.read_text()) for card in Path("averaged").glob("*/*/card.json")]
    assert {card["orders"] for card in cards} == {"symmetries", 2, "one"}
    assert len({card["figure"]["mean"] for card in cards}) == 3


def test_info_is_readable_and_knows_what_was_measured(capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree("classes", "described")
    assert main(words("evaluate grey -d images -o described/evaluation")) == 0  # another model's
    Path("described/evaluation/odd").mkdir()
    Path("described/evaluation/odd/report.json").write_text("[]")
    capsys.readouterr()
    assert main(words("info described")) == 0
    text = capsys.readouterr().out
    lines = dict(line.split(maxsplit=1) for line in text.splitlines()[1:])
    assert lines["net"].startswith("ImageGPT(width=8, depth=2, heads=2")
    assert lines["scan"] == "raster" and lines["head"] == "Categorical()"
    assert lines["quantizer"] == "Identity(levels=17), lossless"
    assert lines["images"] == "1 × 8 × 8 (channels × height × width), 64 dims"
    assert lines["classes"] == "3" and lines["weights"] == "raw"
    count = sum(p.numel() for p in pixelar.load("described").parameters())
    assert lines["parameters"] == f"{count:,}"
    assert lines["measured"] == "nothing yet"
    assert main(words("evaluate grey -d images")) == 0
    capsys.readouterr()
    assert main(words("info grey")) == 0
    assert "bits/dim, all 5 images of folder, raw weights" in capsys.readouterr().out
    assert main(words("info grey --json")) == 0
    described = json.loads(capsys.readouterr().out)
    assert described["evaluations"][0]["data"] == {"name": "folder", "split": "all", "images": 5}
    assert "bits/dim, all 5 images" in render("grey", described)


# --- sample, complete -------------------------------------------------------------------------


def cells(path: str, side: int = 8) -> Tensor:
    """Returns the images of a grid by row and column, with shape (R, K, 3, side, side)."""
    picture = torch.from_numpy(np.asarray(Image.open(path)).copy()).permute(2, 0, 1)
    factor = -(-64 // side)
    step = factor * side + 4
    tiles = picture[:, 4:, 4:].unfold(1, step, step).unfold(2, step, step)  # (3, R, K, …)
    return tiles[..., : step - 4 : factor, : step - 4 : factor].permute(1, 2, 0, 3, 4)


def test_samples_are_those_of_the_model() -> None:
    assert main(words("sample grey -n 4 --seed 3 -o four.png")) == 0
    drawn = pixelar.sample(pixelar.load("grey"), 4, seed=3)
    assert torch.equal(cells("four.png").flatten(0, 1), drawn.expand(-1, 3, -1, -1))
    assert main(words("sample classes -n 4 --seed 3 -o turns.png")) == 0
    drawn = pixelar.sample(pixelar.load("classes"), 4, torch.tensor([0, 1, 2, 0]), seed=3)
    assert torch.equal(cells("turns.png").flatten(0, 1), drawn.expand(-1, 3, -1, -1))
    assert main(words("sample classes -n 4 --seed 3 --label 2 -o twos.png")) == 0
    drawn = pixelar.sample(pixelar.load("classes"), 4, torch.full((4,), 2), seed=3)
    assert torch.equal(cells("twos.png").flatten(0, 1), drawn.expand(-1, 3, -1, -1))


KEPT = {
    "--keep top": (slice(0, 4), slice(None)),
    "--keep left": (slice(None), slice(0, 4)),
    "--keep rows:3": (slice(0, 3), slice(None)),
    "--mask mask.png": (slice(3, 5), slice(2, 7)),
}
SAID = {"auto": "weighted canvases", "particles": "weighted canvases", "clamp": "clamping: known"}


@pytest.mark.parametrize("keep", KEPT)
@pytest.mark.parametrize("model", ["grey", "snake"])
@pytest.mark.parametrize("method", SAID)
def test_completions_keep_what_is_known(
    keep: str, model: str, method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = f"complete {keep} --method {method} --particles 9 {model} images/0.png images/1.png"
    assert main(words(f"{command} -n 3 --seed 5 -o a.png")) == 0
    printed = capsys.readouterr()
    prefix = keep in ("--keep top", "--keep rows:3")
    assert (SAID[method] in printed.err) == (not (prefix and method == "auto"))
    by_particles = method == "particles" or (method == "auto" and not prefix)
    assert printed.out.count("log p(known) ≈ ") == 2 * by_particles
    assert printed.out.count("of 9; ") == 2 * by_particles
    assert main(words(f"{command} -n 3 --seed 5 -o b.png")) == 0
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes()
    rows = cells("a.png")
    assert rows.shape[:2] == (2, 5)
    known = torch.zeros(8, 8, dtype=torch.bool)
    known[KEPT[keep]] = True
    for k, (original, kept, *drawn) in enumerate(rows):
        pixels = torch.from_numpy(np.asarray(Image.open(f"images/{k}.png")).copy())
        assert torch.equal(original, pixels.expand(3, -1, -1))
        assert torch.equal(kept[:, known], original[:, known])
        assert (kept[:, ~known] == torch.tensor([214, 224, 240])[:, None]).all()
        for completion in drawn:
            assert torch.equal(completion[:, known], original[:, known])
        assert not torch.equal(drawn[0][:, ~known], drawn[1][:, ~known])


@pytest.mark.parametrize("method", ["", " --method known_first"])
def test_nets_of_any_order_complete_with_the_known_pixels_first(
    method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = f"--keep bottom images/0.png images/1.png -n 2 --seed 5 -o any.png{method}"
    assert main(words(f"complete any {command}")) == 0
    assert capsys.readouterr().err in ("", DEVICE)  # it is exact, so there is nothing to say
    images = torch.stack([cells("any.png")[k, 0, :1] for k in (0, 1)])
    known = torch.arange(8)[:, None].expand(8, 8) >= 4
    drawn = pixelar.complete(
        pixelar.load("any"), images.repeat_interleave(2, 0), known, method="known_first", seed=5
    )
    assert torch.equal(cells("any.png")[:, 2:].flatten(0, 1), drawn.expand(-1, 3, -1, -1))
    if method:
        refused(f"complete grey {command}", "the order of PixelCNN is fixed; use particles", capsys)


@pytest.mark.parametrize("file", ["rgb.png", "deep.png", "wide/0.png"])
@pytest.mark.parametrize("model", ["grey", "colour"])
def test_images_of_any_kind_can_be_fitted(
    file: str, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(f"complete {model} {file} --keep top", "pass resize: true (or --fit)", capsys)
    assert main(words(f"complete {model} {file} --keep top -n 1 --fit -o fitted.png")) == 0
    original, _, drawn = cells("fitted.png")[0]
    assert torch.equal(original[:, :4], drawn[:, :4])
    if model == "grey":
        assert set(original.unique().tolist()) <= set(SCALE.tolist())


def test_the_steps_of_a_schedule_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    """Next to the picture's name, which is all that the output holds; the pictures are the same."""
    for method, told in {"sequential": "64 steps", "fixed_point": " passes"}.items():
        sample = f"sample digits-imagegpt -n 2 --seed 3 --schedule {method} -o {method}.png"
        assert main(words(sample)) == 0
        printed = capsys.readouterr()
        assert printed.out == f"{method}.png\n"
        assert f"{told} for 64 sites" in printed.err
    assert Path("sequential.png").read_bytes() == Path("fixed_point.png").read_bytes()


@pytest.mark.parametrize("command", ["sample {} -n 1", "complete {} given.png --keep top -n 1"])
def test_that_numba_is_missing_is_told_in_a_sentence(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pixelar.sampling.schedules.numba_rows.numba_is_there", lambda: False)
    write(np.zeros((28, 28), np.uint8), "given.png")
    assert main(words(command.format("binary-mnist-gated-pixelcnn") + " -o drawn.png")) == 0
    told = capsys.readouterr().err.splitlines()
    assert [line for line in told if "numba" in line] == [
        "pixelar: numba is not installed, so small batches are drawn several times slower than "
        "they could be: pip install 'pixelar[fast]'"
    ]


# --- mistakes ---------------------------------------------------------------------------------

MISTAKES = [
    ("smaple grey", "command: unknown 'smaple'; did you mean 'sample'?"),
    ("sample grey --temprature 2", "unknown '--temprature'; did you mean '--temperature'?"),
    ("evaluate grey --dta images", "unknown '--dta'; did you mean '--data'?"),
    ("sample grey --temp=2", "unknown '--temp'; did you mean '--temperature'?"),
    ("sample grey -x", "unrecognized arguments: -x (see pixelar sample --help)"),
    ("sample", "the following arguments are required: MODEL"),
    ("--nothing", "unrecognized arguments: --nothing"),
    ("evaluate grey", "-d is missing: name a data set (pixelar list) or a folder of images"),
    ("evaluate nothing -d digits", "model: unknown 'nothing'"),
    ("evaluate images -d digits", "images is not a model folder: it has no file config.json"),
    ("evaluate mask.png -d digits", "mask.png is a file; a model is a folder or a checkpoint"),
    ("evaluate nothing.ckpt -d digits", "no checkpoint at nothing.ckpt"),
    ("evaluate grey -d nothing", "data: unknown 'nothing'. Known: cifar10"),
    ("evaluate grey -d ./nothing", "; there is no folder ./nothing either"),
    ("evaluate grey -d digts", "did you mean 'digits'?"),
    ("evaluate grey -d folder", "Known: cifar10, digits, fashion_mnist, mnist, photos"),
    ("evaluate grey -d empty", "empty holds no images"),
    ("evaluate grey -d mnist", "mnist: there is no complete copy in data/MNIST/raw"),
    ("evaluate grey -d photos", "takes images of shape (B, 1, 8, 8)"),
    ("evaluate colour -d digits", "takes images of shape (B, 3, 8, 8)"),
    ("evaluate classes -d digits", "3 classes are not known, and the data has 10 (0, 1, 2"),
    ("evaluate classes -d images", "conditioned on 3 classes, but these images have no labels"),
    ("evaluate grey -d digits --batch-size 0", "must be a whole number from 1 to"),
    ("evaluate grey -d digits --limit 0", "must be a whole number from 1 to"),
    ("evaluate grey -d digits --limit x", "got 'x'"),
    ("evaluate any -d digits --orders", "argument --orders: expected one argument"),
    *(
        (
            f"evaluate any -d digits --orders {orders}",
            f"must be one, symmetries, or a whole number from 2 to 1000; got '{orders}'",
        )
        for orders in ("random", "symmetry", "1", "0", "-1", "1001", "2.5")
    ),
    (
        "evaluate grey -d digits --orders symmetries",
        "orders: symmetries needs a net that takes any order, such as LMConv or AnyOrderGPT, and "
        "the order of PixelCNN is fixed; use orders: one",
    ),
    ("evaluate snake -d digits --orders 8", "and the order of ImageGPT is fixed; use orders: one"),
    ("evaluate grey -d digits --split tst", "invalid choice: 'tst'"),
    ("evaluate grey -d digits -o mask.png", "cannot write to mask.png: File exists"),
    ("sample nothing", "model: unknown 'nothing'"),
    ("sample grey -n 0", "argument -n: must be a whole number from 1 to 10000; got '0'"),
    ("sample grey -n -3", "must be a whole number from 1 to 10000; got '-3'"),
    ("sample grey -n 99999999999999999999", "must be a whole number from 1 to 10000"),
    (
        "sample grey --temperature -1",
        "--temperature: must be a finite number, at least 0; got '-1'",
    ),
    (
        "sample grey --temperature nan",
        "--temperature: must be a finite number, at least 0; got 'nan'",
    ),
    (
        "sample grey --temperature hot",
        "--temperature: must be a finite number, at least 0; got 'hot'",
    ),
    ("sample grey --top-k 0", "--top-k: must be a whole number from 1"),
    (
        "sample grey --top-p 0",
        "--top-p: must be a finite number, more than 0 and at most 1; got '0'",
    ),
    (
        "sample grey --top-p 1.5",
        "--top-p: must be a finite number, more than 0 and at most 1; got '1.5'",
    ),
    (
        "sample grey --top-p nan",
        "--top-p: must be a finite number, more than 0 and at most 1; got 'nan'",
    ),
    ("sample grey --label 1", "--label is given, but the model is not conditioned on classes"),
    ("sample classes --label 3", "--label must be from 0 to 2; got 3"),
    ("sample classes --label -1", "--label must be from 0 to 2; got -1"),
    (f"sample classes --label {10**30}", "--label must be from 0 to 2; got 1000"),
    ("sample grey -o a.jpg", "-o must end in .png, or in .npy for the numbers; got a.jpg"),
    ("sample grey -o /proc/no/a.png", "cannot write to /proc/no: No such file or directory"),
    ("sample grey -o mask.png/a.png", "cannot write to mask.png"),
    ("complete grey images/0.png", "one of the arguments --keep --mask is required"),
    ("complete grey nothing.png --keep top", "nothing.png cannot be read: no such file"),
    ("complete grey wide/0.png --keep top", "wide/0.png is 9×8, not 8×8"),
    ("complete grey images/0.png --keep rows:0", "N must be from 1 to 7; got '0'"),
    ("complete grey images/0.png --keep rows:8", "N must be from 1 to 7; got '8'"),
    ("complete grey images/0.png --keep rows", "N must be from 1 to 7; got ''"),
    ("complete grey images/0.png --keep rows 3", "unrecognized arguments: 3"),
    ("complete grey images/0.png --keep botom", "did you mean 'bottom'"),
    ("complete grey images/0.png --keep rgb.png", "give a file with --mask rgb.png"),
    ("complete grey images/0.png --mask rgb.png", "rgb.png has 30×20 pixels and images/0.png 8×8"),
    ("complete grey images/0.png --mask config.ini", "config.ini cannot be read: no such file"),
    ("complete grey images/0.png --keep top --mask mask.png", "not allowed with"),
    ("complete grey images/0.png --keep left --method prefix", "come first in the model's order"),
    ("complete grey images/0.png --keep left --method smc", "invalid choice: 'smc'"),
    ("complete grey images/0.png --keep left --schedule fixed_point", "drawn site by site"),
    ("sample grey --method sequential", "--method is called --schedule since version 0.2"),
    ("complete grey images/0.png --keep left --particles 0", "must be a whole number from 1"),
    ("complete grey images/0.png --keep left --particles 999999 -n 10000", "use at most"),
    ("complete classes images/0.png --keep top", "--label must be from 0 to 2; got none"),
    ("complete grey images/0.png --keep top -n 0", "must be a whole number from 1"),
    ("export nothing.ckpt -o x", "no checkpoint at nothing.ckpt"),
    ("export grey -o x", "no checkpoint at grey"),
    ("export nothing.ckpt", "the following arguments are required: -o/--output"),
    ("info nothing", "model: unknown 'nothing'"),
]


@pytest.mark.parametrize(("command", "message"), MISTAKES, ids=[c for c, _ in MISTAKES])
def test_a_mistake_is_told_in_a_sentence(
    command: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(command, message, capsys)


def test_a_picture_is_not_put_in_the_place_of_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    Path("folder.png").mkdir()
    refused("sample grey -o folder.png", "cannot write folder.png: it is a folder", capsys)


def test_images_that_cannot_be_read_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree("images", "broken")
    whole = Path("images/1.png").read_bytes()
    Path("broken/1.png").write_bytes(whole[: len(whole) // 2])
    Path("broken/2.png").write_bytes(b"")
    Path("broken/3.png").write_text("no image")
    shutil.copy("wide/0.png", "broken/4.png")
    Path("broken/5.png").write_bytes(bomb(30_000, 30_000))
    message = "5 of 6 images cannot be used:\n  broken/1.png cannot be read: "
    refused("evaluate grey -d broken", message, capsys, lines=6)
    main(words("evaluate grey -d broken"))
    err = capsys.readouterr().err
    for name, reason in (
        ("2.png", "cannot be read: it is empty"),
        ("3.png", "cannot be read: it is not an image"),
        ("4.png", "is 9×8, not 8×8"),
        ("5.png", "cannot be read: it has more than 64,000,000 pixels"),
    ):
        assert f"broken/{name} {reason}" in err
    files = " ".join(f"broken/{k}.png" for k in range(6))
    refused(f"complete grey {files} --keep top", "broken/5.png cannot be", capsys, lines=5)


def bomb(width: int, height: int) -> bytes:
    """Returns a PNG file of a few bytes that says it is huge."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    header = struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 1000)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def test_too_little_memory_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Allocators differ in what they raise, and an error of another kind is not hidden."""
    from pixelar.cli import listing

    def use_up(options: object) -> int:
        torch.empty(1 << 60)
        return 0

    monkeypatch.setattr(listing, "list_names", use_up)
    refused("list", "there is not enough memory", capsys)

    def fail(options: object) -> int:
        torch.zeros(2) @ torch.zeros(3)
        return 0

    monkeypatch.setattr(listing, "list_names", fail)
    with pytest.raises(RuntimeError, match="size"):
        main(["list"])


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of 256 KiB."""
    place = Path("disk").absolute()
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode:
        place.rmdir()
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)
        place.rmdir()


def fill(place: Path, leave: int) -> None:
    """Writes a file that leaves a number of bytes free."""
    free = shutil.disk_usage(place).free
    (place / f"filler-{leave}").write_bytes(bytes(free - leave))


def test_a_full_disk_costs_nothing_that_was_there(
    small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pixelar.save(pixelar.load("grey"), small_disk / "model")
    before = fingerprint(pixelar.load(small_disk / "model"))
    fill(small_disk, leave=4096)
    picture = small_disk / "samples.png"
    refused(f"sample grey -n 100 -o {picture}", "No space left on device", capsys)
    with pytest.raises(pixelar.PixelarError, match="No space left on device"):
        pixelar.save(zoo.tiny("ImageGPT", shape=(1, 8, 8), width=64), small_disk / "model")
    assert fingerprint(pixelar.load(small_disk / "model")) == before

    fill(small_disk, leave=0)
    command = f"evaluate grey -d digits -o {small_disk / 'cards'}"
    assert main(words(command)) == 2
    out, err = capsys.readouterr()
    assert "No space left on device" in err and err.removeprefix(DEVICE).count("\n") == 1
    assert not out or "bits/dim" in out  # reported at once, or with the score on the screen


def test_a_read_only_disk_is_told_before_the_work(
    small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for command in (
        f"sample grey -o {small_disk}/a.png",
        f"evaluate grey -d digits -o {small_disk}",
    ):
        refused(command, f"cannot write to {small_disk}: Read-only file system", capsys)
    with pytest.raises(pixelar.PixelarError, match="Read-only file system"):
        pixelar.save(pixelar.load("grey"), small_disk / "model")
