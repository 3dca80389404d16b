"""The notebooks run as they stand, in a kernel of their own, and print what is stored in them."""

from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "docs" / "notebooks").glob("*.ipynb"))
MEASURED = "times as fast"  # differs from run to run


def printed(notebook: Any) -> list[str]:  # noqa: ANN401
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    return [o["text"] for o in outputs if "text" in o and MEASURED not in o["text"]]


def pictures(notebook: Any) -> int:  # noqa: ANN401
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    return sum("image/png" in o.get("data", {}) for o in outputs)


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_runs(file: Path, tmp_path: Path) -> None:
    stored, notebook = nbformat.read(file, 4), nbformat.read(file, 4)
    kernel = nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    kernel.execute()
    assert printed(notebook) == printed(stored)
    assert pictures(notebook) == pictures(stored) > 0


def test_there_are_notebooks() -> None:
    assert [file.stem for file in NOTEBOOKS] == ["sample_and_complete", "write_a_net"]
