"""Work in the demo is not lost, and a model shows its own pictures."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
from PIL import Image

import pixelar
from pixelar.demo.app import build_demo
from pixelar.demo.inputs.canvas import CANVAS, MARKER
from pixelar.demo.server import storage
from pixelar.demo.server.cache import save_once
from pixelar.demo.server.storage import IN_USE, sweep, work_folder
from pixelar.demo.tabs.complete import CompleteTab
from pixelar.demo.tabs.sample import SampleTab
from pixelar.demo.tabs.understand import UnderstandTab
from pixelar.demo.theme import css
from pixelar.demo.widgets import components
from pixelar.demo.widgets.errors import reporting_errors
from pixelar.model import PixelModel

pytestmark = pytest.mark.faults

NAMES = ("digits-gated-pixelcnn", "binary-mnist-imagegpt")
PAINT = np.array([255, 46, 147, 255], np.uint8)


@pytest.fixture(scope="module")
def models() -> dict[str, PixelModel]:
    return {name: pixelar.load(name) for name in NAMES}


def tab(kind: type, models: dict[str, PixelModel]) -> Any:  # noqa: ANN401
    with gr.Blocks(analytics_enabled=False):
        return kind(models)


def sweep_all(folder: Path) -> None:
    """Sweeps all that may be swept, however new."""
    sweep(folder, set(), oldest=-1, fresh=-1)


def test_what_is_in_use_is_not_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "file").touch()
    with work_folder() as folder:
        sweep_all(tmp_path)
        assert folder.is_dir() and folder.name.startswith(IN_USE)
        (folder / "inside").mkdir()
        (folder / "inside" / "file").write_text("result")
        sweep(tmp_path, set(), most=0, largest=0)
        sweep_all(tmp_path)
        assert (folder / "inside" / "file").read_text() == "result"
        assert not (tmp_path / "old" / "file").exists()
    sweep_all(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_picture_is_kept_whatever_is_swept_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Path.mkdir
    swept: list[Path] = []

    def mkdir(path: Path, *args: Any, **options: Any) -> None:  # noqa: ANN401
        made(path, *args, **options)
        if path != tmp_path and not swept:  # the worst moment: the folder has no file yet
            swept.append(path)
            sweep_all(tmp_path)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    path = save_once(Image.new("RGB", (4, 4)), str(tmp_path), format="png")
    assert swept and Image.open(path).size == (4, 4)


@pytest.mark.parametrize("kind", ["complete", "sample"])
def test_long_work_keeps_its_results(
    kind: str, models: dict[str, PixelModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that may be swept is swept after every frame, as if it had taken a minute."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    frames: Iterator[tuple[Any, ...]]
    if kind == "sample":
        frames = tab(SampleTab, models).sample(NAMES[0], "", 2, 1.0, 1.0, "0")
    else:
        page = tab(CompleteTab, models)
        canvas = {"background": page.pictures[NAMES[0]][0][0], "layers": []}
        given = (canvas, "Bottom half", NAMES[0], "", "auto", 2, 2, 1.0, 1.0, "0")
        frames = page.complete(*given)
    for last in frames:
        sweep_all(tmp_path)
        files = [Path(path) for path in last[-2:] if isinstance(path, str)]
    assert [path.suffix for path in files] == [".png", ".zip"]
    sweep_all(tmp_path)
    assert not list(tmp_path.rglob("*.*")), "the folder goes when the work has ended"


def test_the_limits_are_those_that_are_documented() -> None:
    assert (storage.OLDEST, storage.FRESH, storage.MOST_FILES) == (3600, 60, 3000)


def nudged(picture: Image.Image, by: int) -> Image.Image:
    """Returns a picture as a browser's canvas returns it."""
    pixels = np.asarray(picture.convert("RGBA")).astype(int)
    pixels[::3, ::2, :3] += by
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("by", [0, 1, -1])
@pytest.mark.parametrize("number", [0, 3, -1])
def test_another_model_shows_its_own_example(
    models: dict[str, PixelModel], number: int, by: int
) -> None:
    page = tab(CompleteTab, models)
    old, new = NAMES
    canvas = {"background": nudged(page.pictures[old][number][0], by), "layers": []}
    *_, swapped = page.switch(new, canvas)
    assert swapped["background"] is page.pictures[new][number][0]
    clear = Image.new("RGBA", (CANVAS, CANVAS))
    *_, swapped = page.switch(new, canvas | {"layers": [clear]})
    assert swapped["background"] is page.pictures[new][number][0]


def test_what_someone_made_stays_when_the_model_changes(models: dict[str, PixelModel]) -> None:
    page = tab(CompleteTab, models)
    example, own = page.pictures[NAMES[0]][0][0], Image.new("RGB", (CANVAS, CANVAS), "teal")
    marks = np.zeros((CANVAS, CANVAS, 4), np.uint8)
    marks[:9] = np.frombuffer(bytes.fromhex(MARKER[1:] + "ff"), np.uint8)
    canvases: tuple[dict[str, Any] | None, ...] = (
        {"background": own, "layers": []},
        {"background": example, "layers": [Image.fromarray(marks)]},
        {"background": nudged(example, 40), "layers": []},
        {"background": None, "layers": []},
        None,
    )
    for canvas in canvases:
        *_, kept = page.switch(NAMES[1], canvas)
        assert kept == gr.skip()


def test_understand_shows_the_new_models_own_example(models: dict[str, PixelModel]) -> None:
    page = tab(UnderstandTab, models)
    old, new = (page.pictures[name] for name in NAMES)
    _, _, picture, row, column = page.switch(NAMES[1], old[2][0])
    assert picture is new[2][0] and (row, column) == (14, 14)
    for own in (Image.new("RGB", (50, 40), "teal"), None):
        assert page.switch(NAMES[1], own)[2] == gr.skip()


def test_what_has_no_result_yet_has_no_boxes(models: dict[str, PixelModel]) -> None:
    parts_of = build_demo(models).get_config_file()["components"]
    by_name = {part["props"].get("elem_id"): part["props"] for part in parts_of}
    for name in ("complete-status", "complete-command", "sample-status"):
        assert components.RESULT in by_name[name]["elem_classes"]
    for word in (
        f".{components.RUN}:has(.done progress) .{components.RESULT} {{ display: none",
        ".stopped p",
    ):
        assert word in css()


def test_the_whole_picture_cannot_be_redrawn(models: dict[str, PixelModel]) -> None:
    page = tab(CompleteTab, models)
    over = np.broadcast_to(PAINT, (CANVAS, CANVAS, 4)).copy()
    canvas = {"background": page.pictures[NAMES[0]][0][0], "layers": [Image.fromarray(over)]}
    given = (canvas, "Painted", NAMES[0], "", "auto", 1, 2, 1.0, 1.0, "0")
    with (
        pytest.raises(gr.Error, match="Nothing of the picture is kept: the tab S"),
        reporting_errors(),
    ):
        list(page.complete(*given))
    assert "Nothing of the picture is kept" in page.look(canvas, "Painted", NAMES[0])[1]
