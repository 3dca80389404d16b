"""The notebooks run as they stand, cell by cell, and print what is stored in them."""

import ast
import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

NOTEBOOKS = sorted((Path(__file__).parents[1] / "docs" / "notebooks").glob("*.ipynb"))
MEASURED = "times as fast"  # differs from run to run


def outputs(cell: dict[str, Any]) -> tuple[str, bool]:
    """Returns what a cell is stored to print, and whether it shows a picture."""
    found = cell["outputs"]
    printed = "".join("".join(output.get("text", [])) for output in found)
    return printed, any("image/png" in output.get("data", {}) for output in found)


def run(source: str, names: dict[str, Any]) -> tuple[str, bool]:
    """Runs a cell; what its last expression gives is shown, as in a notebook."""
    tree = ast.parse(source)
    last = tree.body[-1]
    printed, value = io.StringIO(), None
    with contextlib.redirect_stdout(printed):
        if isinstance(last, ast.Expr):
            tree.body.pop()
        exec(compile(tree, "cell", "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
    return printed.getvalue(), isinstance(value, Image.Image)


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_runs(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
    names: dict[str, Any] = {"__name__": "__main__"}
    pictures = 0
    for cell in cells:
        if cell["cell_type"] == "code":
            printed, picture = run("".join(cell["source"]), names)
            stored, was_picture = outputs(cell)
            assert printed == stored or MEASURED in stored
            assert picture == was_picture
            pictures += picture
    assert pictures


def test_there_are_notebooks() -> None:
    assert [file.stem for file in NOTEBOOKS] == ["sample_and_complete", "write_a_net"]
