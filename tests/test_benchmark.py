"""The benchmarks run, and the document on them is what their JSON says."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "benchmarks" / "benchmark.py"
sys.path.insert(0, str(SCRIPT.parent))

from suites import SUITES  # noqa: E402
from suites.document import write  # noqa: E402
from suites.measure import Row, ratio  # noqa: E402
from suites.scaling import exponent  # noqa: E402

from pixelar.nets import NETS  # noqa: E402


@pytest.mark.full
def test_every_suite_runs(tmp_path: Path) -> None:
    output = tmp_path / "found.json"
    command: list[str | Path] = [sys.executable, SCRIPT, "--tiny", "-o", output]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    assert "skipped" not in done.stdout
    found = json.loads(output.read_text())
    assert set(found["suites"]) == set(SUITES)
    assert found["environment"]["threads"] == 1 and found["environment"]["torch"]
    for rows in found["suites"].values():
        assert rows
        for row in rows:
            assert row["reference"] in row["seconds"]
            assert all(min(times) > 0 for times in row["seconds"].values())
    for name in ("batches", "pixels", "depths"):
        assert (tmp_path / f"benchmark-{name}.png").stat().st_size > 5000
    logits = next(row["numbers"] for row in found["suites"]["transformer"])
    assert logits["largest difference of logits"] < 1e-4
    assert not any(
        row["numbers"]["fixed_point: pixels that differ"] for row in found["suites"]["parallel"]
    )


@pytest.mark.full
def test_nets_are_added_to_what_is_there(tmp_path: Path) -> None:
    output = tmp_path / "found.json"
    for nets in (["PixelCNN"], ["RasterRNN", "PixelCNN"]):
        command: list[str | Path]
        command = [sys.executable, SCRIPT, "pixels", "--tiny", "-o", output, "--nets", *nets]
        subprocess.run(command, capture_output=True, check=True, timeout=300)
    cases = [row["case"] for row in json.loads(output.read_text())["suites"]["pixels"]]
    assert cases == [f"{net}, {n}×{n}" for net in ("PixelCNN", "RasterRNN") for n in (4, 6)]


@pytest.mark.full
@pytest.mark.parametrize(
    "command", [["compare.py", "digits"], ["benchmark.py", "--tiny", "pixels", "--nets"]]
)
def test_results_are_not_added_to_something_else(command: list[str], tmp_path: Path) -> None:
    output, (script, *options) = tmp_path / "notes.json", command
    for content in ("{", "[]", "{}"):
        output.write_text(content)
        given: list[str | Path]
        given = [sys.executable, SCRIPT.with_name(script), *options, "WaveNet", "-o", output]
        done = subprocess.run(given, capture_output=True, text=True)
        assert done.returncode == 2 and output.read_text() == content
        assert f"{output} does not hold results" in done.stderr


def test_the_document_is_what_was_measured(tmp_path: Path) -> None:
    """Writing it again changes nothing."""
    docs = tmp_path / "docs"
    (docs / "performance").mkdir(parents=True)
    for path in (ROOT / "docs" / "performance").glob("*.json"):
        (docs / "performance" / path.name).write_text(path.read_text())
    text = (ROOT / "docs" / "performance.md").read_text()
    (docs / "performance.md").write_text(text)
    _, *pictures = write(docs)
    assert (docs / "performance.md").read_text() == text, "the page is not what was measured"
    assert all((ROOT / "docs" / "performance" / p.name).is_file() for p in pictures) and pictures


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["sampeling"], "unknown suite: sampeling; known: sampling, parallel"),
        (["--device", "gpu"], "argument --device: gpu cannot be used: Expected one of cpu"),
        pytest.param(
            ["--threads", "0"],
            "argument --threads: must be a whole number of at least 1; got '0'",
            marks=pytest.mark.full,
        ),
    ],
)
def test_mistakes_are_explained(options: list[str], message: str) -> None:
    done = subprocess.run([sys.executable, SCRIPT, *options], capture_output=True, text=True)
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr


def test_ratios_are_of_neighbouring_runs() -> None:
    row = Row("", "a", {"a": [1.0, 10.0, 1.0], "b": [2.0, 20.0, 3.0]})
    assert ratio(row, "b") == 2 and ratio(row, "a") == 1


def test_the_fitted_exponent() -> None:
    x = [4.0, 9.0, 16.0]
    assert exponent(x, [3 * v**1.5 for v in x]) == pytest.approx(1.5)


@pytest.mark.full
def test_every_net_is_compared(tmp_path: Path) -> None:
    """On digits, for an instant each: that it runs, and what it writes is whole."""
    script, output = ROOT / "benchmarks" / "compare.py", tmp_path / "digits.json"
    options = ["--seconds", "0.1", "--parameters", "8000", "--batch-size", "4", "--limit", "20"]
    done = subprocess.run(
        [sys.executable, script, "digits", *options, "-o", output], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(output.read_text())["results"]
    assert found.keys() == NETS.keys()
    for result in found.values():
        assert result["bits"] and all(math.isfinite(value) for value in result["bits"])
        assert 6500 < result["numbers"]["parameters"] < 10_000  # widths are whole numbers
        assert len(result["depends"]) == len(result["moves"]) == 8
    drawn = {path.name for path in tmp_path.glob("*.png")}
    assert drawn == {f"digits-{kind}.png" for kind in ("curves", "costs", "context")}
    again = subprocess.run(
        [sys.executable, script, "digits", "WaveNet", "-o", output], capture_output=True
    )
    assert again.returncode == 2
    assert b"holds results of another protocol (seconds 0.1; parameters about 8000" in again.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "name the data: digits, mnist"),
        (["digits", "ImageGTP"], "unknown net: ImageGTP; known: PixelCNN, GatedPixelCNN"),
        (["mnist", "--root", "nowhere"], "there is no complete copy in nowhere/MNIST/raw"),
        (["digits", "--seconds", "0"], "argument --seconds: must be a number above 0; got '0'"),
        (["digits", "--lr", "x"], "argument --lr: must be a number above 0; got 'x'"),
    ],
)
@pytest.mark.full
def test_mistakes_of_the_comparison_are_explained(options: list[str], message: str) -> None:
    command: list[str | Path]
    command = [sys.executable, ROOT / "benchmarks" / "compare.py", *options]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr
