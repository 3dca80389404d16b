"""What a package index shows: the README with links that are found from there, and addresses."""

import importlib.util
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

import pixelar

ROOT = Path(__file__).parents[1]
pytest.importorskip("hatchling", reason="hatchling, which builds wheels, is not installed")


def metadata(root: Path) -> dict[str, Any]:
    """Returns what the hook adds to the metadata of a source tree."""
    spec = importlib.util.spec_from_file_location("hook", ROOT / "scripts" / "metadata_hook.py")
    assert spec is not None and spec.loader is not None
    hook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)
    found: dict[str, Any] = {}
    hook.CustomMetadataHook(str(root), {}).update(found)
    return found


def test_one_variable_makes_all_links_absolute(tmp_path: Path) -> None:
    address = "https://example.org/someone/pixelar"
    project = (ROOT / "pyproject.toml").read_text()
    (tmp_path / "pyproject.toml").write_text(
        re.sub(r'^repository = ".*"', f'repository = "{address}/"', project, flags=re.MULTILINE)
    )
    (tmp_path / "README.md").write_text((ROOT / "README.md").read_text())
    found = metadata(tmp_path)
    text = found["readme"]["text"]
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert links and all(link.startswith(("https://", "#")) for link in links)
    assert f"]({address}/raw/HEAD/docs/images/demo.png)" in text
    assert f"]({address}/blob/HEAD/docs/comparison.md)" in text
    assert found["urls"]["Issues"] == f"{address}/issues"


def test_the_metadata_name_their_sources() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["keywords"] and project["classifiers"]
    assert set(project["dynamic"]) == {"version", "readme", "urls"}
    assert metadata(ROOT)["readme"]["text"]
    newest = re.search(r"^## (\d\S*)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None and newest[1] == pixelar.__version__
    assert f"version = {{{pixelar.__version__}}}" in (ROOT / "README.md").read_text()
