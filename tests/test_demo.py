"""What the demo computes, and how programs call it. The page is tested in test_demo_browser.py."""

import io
import zipfile
from collections.abc import Generator, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, cast
from xml.etree import ElementTree

import gradio as gr
import numpy as np
import pytest
import served
import torch
from gradio_client import Client, handle_file
from PIL import Image, ImageDraw
from served import Answer, Server, serving
from torch import Tensor
from zoo import every_net, gradient_past, tiny

import pixelar
from pixelar.caches.gated_pixelcnn import GatedPixelCNNCache
from pixelar.cli import main
from pixelar.demo.inputs.canvas import CANVAS, INKS, MARKER, read_canvas, settle, without_marks
from pixelar.demo.inputs.examples import blank, examples, tiles
from pixelar.demo.inputs.regions import CHOICES, PAINTED, known_pixels
from pixelar.demo.render import plots
from pixelar.demo.render.pictures import heat, ring, show
from pixelar.demo.server.storage import sweep, sweeping
from pixelar.demo.tasks import drawing, sample
from pixelar.demo.tasks.complete import command_line, complete_picture, preview, sheet
from pixelar.demo.tasks.complete import write_files as write_completions
from pixelar.demo.tasks.drawing import Frame, Task, first_frame, frames, paced, read_seed
from pixelar.demo.tasks.labels import LIKELIEST, class_probabilities, label_of
from pixelar.demo.tasks.understand import histogram_of, look_at_pixel, read, share_below
from pixelar.demo.widgets.errors import reporting_errors
from pixelar.demo.widgets.labels import label_choice, label_update
from pixelar.hub.index import packaged
from pixelar.model import PixelModel, build_model
from pixelar.quantizers import Palette
from pixelar.scoring.analysis import seen_by

MODELS = ("digits-gated-pixelcnn", "digits-imagegpt")


@pytest.fixture(scope="module")
def model() -> PixelModel:
    return pixelar.load(MODELS[0])


@pytest.fixture(scope="module")
def digit() -> Tensor:
    return pixelar.data.Digits().split("test").images[:1]


def palette_model() -> PixelModel:
    """A model of 4×4 RGB images with a palette of five colours."""
    model = build_model(
        {
            "image_shape": [3, 4, 4],
            "scan": "raster",
            "quantizer": {"name": "Palette", "args": {"levels": 5}},
            "head": {"name": "Categorical", "args": {}},
            "net": {"name": "ImageGPT", "args": {"width": 8, "depth": 1, "heads": 2}},
        }
    )
    assert isinstance(model.quantizer, Palette)
    model.quantizer.colours.copy_(torch.rand(5, 3) * 255)
    return model.eval()


def task_for(model: PixelModel, image: Tensor, region: str, **changes: Any) -> Task:  # noqa: ANN401
    none = torch.zeros(1, *image.shape[2:], dtype=torch.bool)
    options: dict[str, Any] = {
        "images": image.repeat(changes.pop("n", 2), 1, 1, 1),
        "known": known_pixels(region, none),
        "labels": None,
        "method": "auto",
        "particles": 4,
        "temperature": 1.0,
        "top_p": 1.0,
        "seed": 3,
    }
    return Task(model, **options | changes)


class TestRegions:
    def test_ready_made(self) -> None:
        none = torch.zeros(1, 8, 8, dtype=torch.bool)
        shares = {region: float(known_pixels(region, none).float().mean()) for region in CHOICES}
        assert shares == {
            "Bottom half": 0.5,
            "Right half": 0.5,
            "Centre box": 0.75,
            "Every other row": 0.5,
            PAINTED: 1.0,
        }
        assert known_pixels("Bottom half", none)[0, 0].all()
        assert known_pixels("Right half", none)[0, :, 0].all()

    def test_paint_comes_before_the_region(self) -> None:
        paint = torch.eye(4, dtype=torch.bool)[None]
        for region in CHOICES:
            assert torch.equal(known_pixels(region, paint), ~paint)

    def test_unknown(self) -> None:
        with pytest.raises(pixelar.PixelarError, match="region: unknown 'Botom half'; did you"):
            known_pixels("Botom half", torch.zeros(1, 2, 2, dtype=torch.bool))


class TestSeen:
    def canvas(self, image: Tensor, *strokes: tuple[str, tuple[int, ...]]) -> dict[str, Any]:
        picture = show(image, side=CANVAS).convert("RGBA")
        layer = Image.new("RGBA", picture.size)
        for colour, box in strokes:
            ImageDraw.Draw(layer).rectangle(box, fill=colour)
        return {"background": picture, "layers": [layer], "composite": None}

    def test_an_enlarged_picture_is_seen_as_it_is(self, model: PixelModel, digit: Tensor) -> None:
        seen, paint = read_canvas(self.canvas(digit), model)
        assert torch.equal(seen, digit) and not paint.any()

    def test_the_marker_marks_and_ink_draws(self, model: PixelModel, digit: Tensor) -> None:
        block = CANVAS // 8
        corner, other = (0, 0, block - 1, block - 1), (7 * block, 7 * block, CANVAS, CANVAS)
        canvas = self.canvas(digit, (MARKER, corner), (INKS[0], other))
        seen, paint = read_canvas(canvas, model)
        assert paint.nonzero().tolist() == [[0, 0, 0]]
        assert seen[0, 0, 7, 7] == 255 and torch.equal(seen[0, 0, :7], digit[0, 0, :7])
        again, marks = read_canvas({"background": without_marks(canvas), "layers": []}, model)
        assert torch.equal(again, seen) and not marks.any()

    def test_a_stroke_is_never_lost(self, model: PixelModel, digit: Tensor) -> None:
        _, paint = read_canvas(self.canvas(digit, (MARKER, (60, 60, 60, 60))), model)
        assert paint.nonzero().tolist() == [[0, 1, 1]]

    def test_every_ink_is_told_from_the_marker(self, model: PixelModel, digit: Tensor) -> None:
        for ink in INKS:
            assert not read_canvas(self.canvas(digit, (ink, (0, 0, 99, 99))), model)[1].any()

    def test_margins_of_a_canvas_are_not_the_picture(self, model: PixelModel) -> None:
        page = Image.new("RGBA", (CANVAS, CANVAS))
        page.paste(Image.new("RGBA", (CANVAS, 200), "black"), (0, 124))
        seen, _ = read_canvas({"background": page, "layers": []}, model)
        assert not seen.any()

    def test_pictures_of_any_kind(self) -> None:
        rng = np.random.default_rng(0)
        for shape, levels in (((1, 8, 8), 17), ((3, 6, 4), 256), ((1, 5, 7), 2)):
            model = tiny("ImageGPT", shape=shape, levels=levels)
            for size in ((1, 1), (31, 17), (40, 60)):
                for mode in ("L", "RGB", "RGBA", "P", "1", "CMYK"):
                    pixels = rng.integers(0, 256, (size[1], size[0], 3), np.uint8)
                    seen = settle(Image.fromarray(pixels).convert(mode), model)
                    assert tuple(seen.shape) == (1, *shape)
                    model.encode(seen)  # has the model's levels

    def test_nothing_there(self, model: PixelModel) -> None:
        canvases: tuple[dict[str, Any] | None, ...]
        canvases = (None, {"background": None, "layers": [], "composite": None})
        for canvas in canvases:
            with pytest.raises(pixelar.PixelarError, match="there is no picture yet"):
                read_canvas(canvas, model)

    def test_strokes_of_another_size(self, model: PixelModel) -> None:
        canvas = {"background": Image.new("RGBA", (9, 9)), "layers": [Image.new("RGBA", (8, 9))]}
        with pytest.raises(pixelar.PixelarError, match="strokes have 8×9 pixels and the picture"):
            read_canvas(canvas, model)


def pixel(picture: Image.Image, at: tuple[int, int]) -> tuple[int, ...]:
    """Returns a pixel of a picture with colours."""
    return cast("tuple[int, ...]", picture.getpixel(at))


class TestShow:
    def test_blocks_gaps_and_hatching(self) -> None:
        images = torch.tensor([0, 255, 255], dtype=torch.uint8)[:, None, None, None]
        hidden = torch.tensor([False, False, True])[:, None, None, None]
        picture = np.asarray(show(images.expand(-1, 1, 2, 2), hidden, side=20, columns=2))
        assert picture.shape == (48, 48, 4)
        assert not picture[:20, :20, :3].any() and (picture[:20, :20, 3] == 255).all()
        assert (picture[:20, 28:] == 255).all() and not picture[:, 20:28, 3].any()
        stripes = np.unique(picture[28:, :20, :3].reshape(-1, 3), axis=0)
        assert len(stripes) == 2 and not picture[28:, 28:, 3].any()

    def test_heat_and_ring(self) -> None:
        values = torch.tensor([[0.0, 1.0], [2.0, 4.0]])
        picture = heat(values, 4.0, side=40)
        light = [sum(pixel(picture, at)[:3]) for at in ((5, 5), (25, 5), (5, 25), (25, 25))]
        assert light == sorted(light) and len(set(light)) == 4
        marked = ring(picture, 1, 0, 20)
        assert marked.getpixel((10, 30)) == picture.getpixel((10, 30))
        assert pixel(marked, (21, 30))[:3] == (255, 46, 147)


class TestWalks:
    @pytest.mark.parametrize("region", ["Bottom half", "Centre box"])
    def test_frames_end_as_complete_does(
        self, model: PixelModel, digit: Tensor, region: str
    ) -> None:
        task = task_for(model, digit, region)
        shown = [first_frame(model, task.images, task.known), *frames(task)]
        assert len(shown) > 10 and shown[0].done == 0 and shown[-1].done == 1
        for before, after in pairwise(shown):
            assert (before.hidden | ~after.hidden).all(), "a pixel was hidden again"
        for frame in shown:
            assert torch.equal(frame.images[:, :, frame.hidden], task.images[:, :, frame.hidden])
        assert not shown[-1].hidden.any()
        expected = pixelar.complete(
            model, task.images, task.known, seed=3, particles=4, method=task.method
        )
        assert torch.equal(shown[-1].images, expected)

    def test_frames_of_a_net_of_any_order_begin_with_what_is_unknown(self, digit: Tensor) -> None:
        model = tiny("LMConv", shape=(1, 8, 8), levels=17)
        assert task_for(model, digit, "Centre box").method == "known_first"
        self.test_frames_end_as_complete_does(model, digit, "Centre box")

    @pytest.mark.parametrize("method", ["prefix", "particles"])
    def test_closing_ends_the_work(
        self, model: PixelModel, digit: Tensor, method: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        visited: list[int] = []
        step = GatedPixelCNNCache.step

        def counted(cache: GatedPixelCNNCache, x: Tensor, t: int) -> Tensor:
            visited.append(t)
            return step(cache, x, t)

        monkeypatch.setattr(GatedPixelCNNCache, "step", counted)
        film = frames(task_for(model, digit, "Bottom half", method=method))
        next(film)
        assert isinstance(film, Generator)
        film.close()
        assert len(visited) <= 8, "more than a row was drawn"

    def test_pace(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = iter(k / 60 for k in range(1000))  # each frame takes a 60th of a second
        monkeypatch.setattr(drawing.time, "monotonic", lambda: next(clock))  # type: ignore[attr-defined]
        assert list(paced(iter(range(35)))) == [0, 10, 20, 30, 34]
        assert list(paced(iter([]))) == []

    def test_seeds(self) -> None:
        assert read_seed(" 12 ") == 12 and read_seed(str(10**17)) == 10**17
        assert len({read_seed("") for _ in range(20)}) > 10 and read_seed(None) >= 0
        for wrong in ("-1", "1.5", "x", "٣", "1" * 19):
            with pytest.raises(pixelar.PixelarError, match="a seed is a whole number"):
                read_seed(wrong)

    def test_nothing_to_redraw(self, model: PixelModel, digit: Tensor) -> None:
        with pytest.raises(pixelar.PixelarError, match="nothing to redraw: paint over"):
            task_for(model, digit, PAINTED)

    def test_prefix_where_it_does_not_apply(self, model: PixelModel, digit: Tensor) -> None:
        with pytest.raises(pixelar.PixelarError, match="method prefix needs the known pixels"):
            task_for(model, digit, "Right half", method="prefix")


class TestComplete:
    def last(self, task: Task) -> tuple[Frame, str, str]:
        *_, last = complete_picture(task, "name", None)
        return last

    def test_preview(self, model: PixelModel, digit: Tensor) -> None:
        canvas = {"background": show(digit, side=CANVAS), "layers": []}
        picture, caption = preview(canvas, "Bottom half", model)
        assert caption == "8×8 pixels, 17 levels of grey. 50% of them will be redrawn."
        pixels = np.asarray(picture.resize((8, 8), Image.Resampling.NEAREST))[..., :3]
        assert np.array_equal(pixels[:4, :, 0], digit[0, 0, :4].numpy())
        assert (pixels[4:, :, 2] > pixels[4:, :, 0]).all(), "what is redrawn is hatched"
        assert "Nothing is painted" in preview(canvas, PAINTED, model)[1]

    def test_summaries(self, model: PixelModel, digit: Tensor) -> None:
        frame, text, _ = self.last(task_for(model, digit, "Bottom half"))
        assert text.startswith("**Prefix**, exact · 2 completions in") and text.endswith("seed 3")
        _, text, _ = self.last(task_for(model, digit, "Bottom half", method="clamp", n=1))
        assert text.startswith("**Clamp**, biased") and "1 completion in" in text
        task = task_for(model, digit, "Right half", particles=16)
        frame, text, _ = self.last(task)
        assert frame.found is not None
        pooled = float(frame.found.log_known.logsumexp(0)) - np.log(2)
        assert f"log p(known) ≈ {pooled:.1f} ± " in text and "of 16 (lowest" in text
        _, text, _ = self.last(task_for(model, digit, "Right half", temperature=0.5))
        assert "log p" not in text and "nan" not in text and "of 4 (lowest" in text

    @pytest.mark.parametrize(
        "changes",
        [
            {"region": "Bottom half"},
            {"region": "Every other row", "temperature": 0.7, "top_p": 0.9, "n": 3},
            {"region": "Centre box", "method": "clamp"},
        ],
        ids=["prefix", "particles", "clamp"],
    )
    def test_the_command_gives_the_same(
        self,
        changes: dict[str, Any],
        digit: Tensor,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        model = pixelar.load(MODELS[1])
        task = task_for(model, digit, **changes)
        frame, *_ = self.last(task)
        command = command_line(task, MODELS[1], None)
        _, archive = write_completions(tmp_path, task, frame, command)
        monkeypatch.chdir(tmp_path)
        folder = tmp_path / "elsewhere"
        with zipfile.ZipFile(archive) as file:
            file.extractall(folder)
            assert file.read("command.txt").decode().strip() == command
        monkeypatch.chdir(folder)
        assert main(command.split()[1:]) == 0
        count = len(frame.images)
        with Image.open("completions.png") as opened:
            drawn = np.asarray(opened.convert("L"))[4:-4]
        tiles = [drawn[4::8, 4 + 68 * k + 4 : 68 * (k + 1) : 8] for k in range(2, 2 + count)]
        for tile, image in zip(tiles, frame.images, strict=True):
            assert np.array_equal(tile[:8], image[0].numpy())

    def test_command_of_a_model_with_classes(self) -> None:
        model = tiny("ImageGPT", shape=(1, 4, 4), classes=3)
        image = torch.zeros(1, 1, 4, 4, dtype=torch.uint8)
        task = task_for(model, image, "Bottom half", labels=torch.ones(2, dtype=torch.long))
        assert command_line(task, "my model", 1) == (
            "pixelar complete 'my model' picture.png --mask mask.png --method prefix -n 2 "
            "--label 1 --seed 3"
        )

    def test_sheets(self) -> None:
        for count, size in ((1, (448, 448)), (2, (680, 336)), (4, (680, 680)), (8, (696, 344))):
            images = torch.zeros(count, 1, 8, 8, dtype=torch.uint8)
            frame = Frame(images, torch.zeros(8, 8, dtype=torch.bool), 1.0, None)
            assert sheet(frame).size == size

    def test_sheets_of_samples_fit_the_page(self) -> None:
        hidden = torch.zeros(28, 28, dtype=torch.bool)
        for count in range(1, 33):
            images = torch.zeros(count, 1, 28, 28, dtype=torch.uint8)
            width, height = sample.sheet(Frame(images, hidden, 1.0, None)).size
            assert max(width, height) > 300 and width <= 1100 and height <= 720


class TestUnderstand:
    def test_reading(self, model: PixelModel, digit: Tensor) -> None:
        found = read(model, digit, LIKELIEST)
        assert found.per_dim == pytest.approx(float(pixelar.bits_per_dim(model, digit)[0]))
        assert found.unit == "bits/dim" and found.label is None
        assert sum(found.numbers["bits_of_rows"]) == pytest.approx(float(found.bits.sum()))

    @pytest.mark.parametrize(
        "model",
        [
            tiny("GatedPixelCNN", shape=(1, 5, 6)),
            tiny("ImageGPT", shape=(3, 3, 4), scan="subpixel"),
            tiny("PixelCNN", "LogisticMixture", shape=(3, 3, 4), levels=256),
            tiny("ImageGPT", shape=(1, 4, 4), scan="hilbert", classes=3),
            palette_model(),
        ],
        ids=["grey", "subpixel", "mixture", "classes", "palette"],
    )
    def test_a_pixel_costs_what_the_map_says(self, model: PixelModel) -> None:
        blank = torch.zeros(1, *model.image_shape, dtype=torch.uint8)
        image = model.quantizer.decode(
            torch.randint(model.quantizer.levels, (1, *model.scan.shape))
            if model.quantizer.unit == "dim"
            else model.encode(blank)
        )
        label = 1 if model.classes else None
        found = read(model, image, str(label))
        for row, column in ((0, 0), (1, 2), (2, 3)):
            pixel = look_at_pixel(model, image, label, row, column)
            assert pixel.probabilities.sum(1).numpy() == pytest.approx(1)
            assert float(pixel.bits.sum()) == pytest.approx(
                float(found.bits[row, column]), rel=1e-3, abs=1e-4
            )
            assert len(pixel.names) == len(pixel.true) == model.scan.shape[0]

    def test_outside_the_picture(self, model: PixelModel, digit: Tensor) -> None:
        for place in ((8, 0), (0, -1)):
            with pytest.raises(pixelar.PixelarError, match="rows 0 to 7 and columns 0 to 7"):
                look_at_pixel(model, digit, None, *place)

    def test_classes_by_bayes_rule(self) -> None:
        model = tiny("ImageGPT", shape=(1, 4, 4), classes=3)
        image = model.quantizer.decode(torch.randint(3, (1, 1, 4, 4)))
        x = model.encode(image)
        joint = torch.stack([model(x, torch.tensor([c]))[0] for c in range(3)]).exp()
        found = class_probabilities(model, image)
        assert found.numpy() == pytest.approx((joint / joint.sum()).detach().numpy())
        assert label_of(model, LIKELIEST, image) == int(found.argmax())
        assert label_of(model, "2", image) == 2
        for wrong in ("3", "-1", "x", ""):
            with pytest.raises(pixelar.PixelarError, match="class must be from 0 to 2"):
                label_of(model, wrong, image)

    def test_histogram_and_share(self, digit: Tensor, model: PixelModel) -> None:
        bars = histogram_of(MODELS[0])
        assert bars is not None and sum(bars[1]) == 360
        assert share_below(*bars, bars[0][0]) == 0 and share_below(*bars, 99.0) == 1
        assert histogram_of("no such model") is None


@pytest.mark.exhaustive
@pytest.mark.parametrize(("net", "scan", "shape", "classes"), list(every_net()))
def test_seen_by_is_a_row_of_the_dependencies(
    net: str, scan: str, shape: tuple[int, int, int], classes: int
) -> None:
    model = tiny(net, scan=scan, shape=shape, classes=classes)
    labels = torch.tensor([1]) if classes else None
    looks, order = pixelar.dependencies(model), model.scan.index % (shape[1] * shape[2])
    x = torch.randint(3, (1, *shape), generator=torch.Generator().manual_seed(0))
    by_gradient = looks & gradient_past(net, model.scan.sites)
    found = possible = 0
    for t in (0, 1, model.scan.sites // 2, model.scan.sites - 1):
        seen = seen_by(model, t, x, labels)
        allowed = torch.zeros(shape[1] * shape[2], dtype=torch.bool)
        allowed[order[by_gradient[t]].flatten()] = True
        assert tuple(seen.shape) == shape[1:] and (seen >= 0).all()
        assert not (seen.flatten() > 0)[~allowed].any(), "it saw what it does not depend on"
        found, possible = found + int((seen > 0).sum()), possible + int(allowed.sum())
    assert found > possible / 2  # some units are silent for one image
    assert not model.net.embed._forward_hooks


class TestPlots:
    @pytest.mark.parametrize(
        "figure",
        [
            plots.rows([1.0, 0.0, 3.5]),
            plots.rows([0.0]),
            plots.histogram([0, 1, 2], [3, 0], 5.0, "bits/dim"),
            plots.distribution([0.25, 0.75], 0, "Prediction"),
            plots.distribution([0.1] * 10, 3, "Prediction"),
            plots.distribution([1 / 256] * 256, 255, "red & blue", ["rgb(0,0,0)"] * 256),
            plots.legend(3.0, "bits"),
        ],
    )
    def test_are_sound_and_say_what_they_show(self, figure: str) -> None:
        root = ElementTree.fromstring(figure)
        (image,) = (e for e in root.iter() if e.get("role") == "img")
        assert len(image.get("aria-label", "")) > 20
        for element in root.iter("rect"):
            assert float(element.get("width", -1)) >= 0 and float(element.get("height", -1)) >= 0
            assert 0 <= float(element.get("x", -1)) <= 440

    @pytest.mark.parametrize("count", [3, 10])
    def test_the_true_level_is_marked(self, count: int) -> None:
        shares = [0.1, 0.2, 0.7] + [0.0] * (count - 3)
        root = ElementTree.fromstring(plots.distribution(shares, 1, "title"))
        kinds = [e.get("class") for e in root.iter("rect")]
        assert kinds == ["bar", "bar true", "bar"]

    def test_a_few_levels_have_their_shares_beside_them(self) -> None:
        root = ElementTree.fromstring(plots.distribution([0.024, 0.976], 1, "title"))
        assert [e.text for e in root.iter("text")] == ["level 0", "2.4%", "level 1", "97.6%"]
        small, large = (float(e.get("width", 0)) for e in root.iter("rect"))
        assert small / large == pytest.approx(0.024 / 0.976, rel=0.01)


class TestExamples:
    @pytest.mark.parametrize("name", MODELS)
    def test_digits_are_seen_as_they_are(self, name: str) -> None:
        model = pixelar.load(name)
        known = {tuple(i.flatten().tolist()) for i in pixelar.data.Digits().split("test").images}
        pictures = examples(name, model)
        assert len(pictures) >= 4
        for picture, _ in pictures:
            assert tuple(settle(picture, model).flatten().tolist()) in known

    @pytest.mark.parametrize(
        ("shape", "levels"), [((1, 28, 28), 256), ((3, 32, 32), 256), ((1, 12, 9), 2)]
    )
    def test_models_of_other_sizes(self, shape: tuple[int, int, int], levels: int) -> None:
        model = tiny("ImageGPT", shape=shape, levels=levels)
        for picture, _ in examples("no packaged model", model):
            seen = settle(picture, model)
            assert seen.float().std() > 20
        assert settle(blank(model), model).float().std() == 0

    def test_what_models_drew(self) -> None:
        for folder in packaged().values():
            model = pixelar.load(folder)
            drawn = tiles(folder / "samples.png", model.image_shape[1:])
            assert len(drawn) >= 4
            for picture in drawn:
                seen = settle(picture, model)
                again = model.quantizer.decode(model.encode(seen))
                assert torch.equal(seen, again), "the picture was changed on its way"

    def test_no_grid(self, tmp_path: Path) -> None:
        Image.new("L", (101, 80)).save(tmp_path / "other.png")
        assert tiles(tmp_path / "other.png", (8, 8)) == tiles(tmp_path / "none.png", (8, 8)) == []


def test_mistakes_are_told() -> None:
    with pytest.raises(gr.Error, match="There is no picture") as caught, reporting_errors():
        raise pixelar.PixelarError("there is no picture")
    assert not caught.value.print_exception


def test_folders_of_the_demo_stay_though_they_are_empty(tmp_path: Path) -> None:
    (tmp_path / "unfinished").mkdir()
    with sweeping(tmp_path):
        kept = set(tmp_path.rglob("*"))
        (tmp_path / "uploads").mkdir()
        sweep(tmp_path, kept, oldest=-1)
    assert (tmp_path / "unfinished").is_dir()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("demo"), *MODELS) as server:
        yield server
        said = server.log.read_text().splitlines()
        assert all(line.startswith("pixelar: device: ") for line in said), said


@pytest.fixture(scope="module")
def client(demo: Server, tmp_path_factory: pytest.TempPathFactory) -> Client:
    folder = tmp_path_factory.mktemp("downloads")
    return Client(demo.url, verbose=False, download_files=str(folder), analytics_enabled=False)


class TestPrograms:
    @pytest.fixture
    def canvas(self, digit: Tensor, tmp_path: Path) -> dict[str, Any]:
        show(digit, side=CANVAS).save(tmp_path / "digit.png")
        picture = handle_file(str(tmp_path / "digit.png"))
        return {"background": picture, "layers": [], "composite": None}

    def test_endpoints_are_documented(self, client: Client) -> None:
        named = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
        assert sorted(named) == ["/complete", "/models", "/pixel", "/sample", "/understand"]
        for name, endpoint in named.items():
            assert len(endpoint["description"]) > 40, name
        assert [p["parameter_name"] for p in named["/complete"]["parameters"]] == [
            *("canvas", "region", "model", "label", "method", "completions"),
            *("particles", "temperature", "top_p", "seed"),
        ]

    def test_models(self, client: Client) -> None:
        found = client.predict(api_name="/models")
        assert [each["name"] for each in found] == list(MODELS)
        assert found[0]["image_shape"] == [1, 8, 8] and found[0]["levels"] == 17

    def test_complete(
        self, client: Client, canvas: dict[str, Any], digit: Tensor, model: PixelModel
    ) -> None:
        job = client.submit(
            canvas, region="Centre box", completions=2, particles=64, seed=5, api_name="/complete"
        )
        picture, bar, text, command, file, archive = job.result(timeout=120)
        assert text.startswith("**Particles**") and bar == ""
        assert command.split()[:4] == ["pixelar", "complete", MODELS[0], "picture.png"]
        sheets = {Path(frame[0]).read_bytes() for frame in job.outputs()}
        assert len(sheets) >= 3, "fewer than three different frames"
        task = task_for(model, digit, "Centre box", particles=64, seed=5)
        *_, last = frames(task)
        expected = np.asarray(sheet(last))
        for path in (picture, file):
            assert np.array_equal(np.asarray(Image.open(path)), expected)
        with zipfile.ZipFile(archive) as everything:
            assert set(everything.namelist()) == {
                *("1.png", "2.png", "picture.png", "mask.png", "completions.png", "command.txt")
            }
            image = Image.open(io.BytesIO(everything.read("1.png")))
        assert np.array_equal(np.asarray(image), last.images[0, 0].numpy())

    def test_users_and_seeds_do_not_mix(self, client: Client, canvas: dict[str, Any]) -> None:
        def ask(name: str, seed: int) -> Any:  # noqa: ANN401
            given = {"canvas": canvas, "model": name, "completions": 1, "seed": seed}
            return client.submit(**given, api_name="/complete")

        wanted = [(name, seed) for name in MODELS for seed in (1, 2)]
        pictures = [
            Path(job.result(timeout=120)[0]).read_bytes()
            for job in [ask(*each) for each in wanted + wanted]
        ]
        assert pictures[:4] == pictures[4:] and len(set(pictures)) == 4

    def test_understand_and_pixel(
        self, client: Client, canvas: dict[str, Any], digit: Tensor, model: PixelModel
    ) -> None:
        picture = canvas["background"]
        headline, *_, numbers = client.predict(picture, api_name="/understand")
        assert numbers["bits/dim"] == pytest.approx(float(pixelar.bits_per_dim(model, digit)[0]))
        assert f"{numbers['bits/dim']:.3f}" in headline and "test set" in headline
        text, *_, pixel = client.predict(picture, row=2, column=3, api_name="/pixel")
        assert sum(pixel["bits"]) == pytest.approx(numbers["bits_of_pixels"][2][3], rel=1e-4)
        assert text.startswith("Row 2, column 3: level ")

    def test_sample(self, client: Client) -> None:
        _, bar, text, _, archive = client.predict(
            model=MODELS[1], samples=3, seed=1, api_name="/sample"
        )
        assert text.startswith("3 samples in") and bar == ""
        expected = pixelar.sample(pixelar.load(MODELS[1]), 3, seed=1)
        with zipfile.ZipFile(archive) as everything:
            for number, image in enumerate(expected, 1):
                found = Image.open(io.BytesIO(everything.read(f"{number}.png")))
                assert np.array_equal(np.asarray(found), image[0].numpy())

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ({"region": "Painted"}, "There is nothing to redraw"),
            ({"region": "Right half", "method": "prefix"}, "Method prefix needs the known pixels"),
            ({"seed": "x"}, "A seed is a whole number"),
            ({"canvas": None}, "There is no picture yet"),
        ],
    )
    def test_mistakes(
        self, client: Client, canvas: dict[str, Any], wrong: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(Exception, match=message):
            client.predict(**{"canvas": canvas, **wrong}, api_name="/complete")


@pytest.fixture(scope="module")
def by_class(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model that is conditioned on classes."""
    return served.conditional_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def classes_demo(tmp_path_factory: pytest.TempPathFactory, by_class: Path) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("classes"), MODELS[1], by_class) as server:
        yield server


def test_classes_are_offered_by_their_names() -> None:
    model = tiny("ImageGPT", classes=2)
    assert label_update(model, "any")["choices"] == [("any", "any"), ("0", "0"), ("1", "1")]
    model.class_names = ("cat", "dog")
    for choices in (
        label_update(model, "any")["choices"],
        label_choice({"a": model}, "any").choices,
    ):
        assert [*map(tuple, choices)] == [("any", "any"), ("cat", "0"), ("dog", "1")]


class TestClasses:
    """A model that is conditioned on classes, next to one that is not."""

    def pictures(self, answer: Answer, count: int) -> Tensor:
        """Returns the images of the ZIP that an answer ends with, (N, 1, 8, 8)."""
        assert answer.kind == "complete", answer
        with zipfile.ZipFile(answer.data[-1]["path"]) as file:
            images = [Image.open(io.BytesIO(file.read(f"{k}.png"))) for k in range(1, count + 1)]
            return torch.stack([torch.from_numpy(np.array(image)) for image in images])[:, None]

    def test_they_are_told(self, classes_demo: Server, by_class: Path) -> None:
        found = classes_demo.ask("models").data[0]
        assert [(each["name"], each["classes"]) for each in found] == [
            (MODELS[1], 0),
            (str(by_class), 10),
        ]

    @pytest.mark.parametrize("label", ["7", "each in turn"])
    def test_sample(self, classes_demo: Server, by_class: Path, label: str) -> None:
        answer = classes_demo.ask("sample", model=str(by_class), label=label, samples=12, seed=4)
        labels = torch.arange(12) % 10 if label == "each in turn" else torch.full((12,), 7)
        expected = pixelar.sample(pixelar.load(by_class), 12, labels, seed=4)
        assert torch.equal(self.pictures(answer, 12), expected)
        other = pixelar.sample(pixelar.load(by_class), 12, (labels + 1) % 10, seed=4)
        assert not torch.equal(expected, other), "the class makes no difference"

    @pytest.mark.parametrize("label", ["6", "likeliest"])
    def test_complete(
        self, classes_demo: Server, by_class: Path, label: str, digit: Tensor, tmp_path: Path
    ) -> None:
        show(digit, side=CANVAS).save(tmp_path / "digit.png")
        (path,) = classes_demo.upload(("digit.png", (tmp_path / "digit.png").read_bytes()))
        given = {"canvas": served.canvas(path), "model": str(by_class), "label": label, "seed": 4}
        answer = classes_demo.ask("complete", completions=3, **given)
        model = pixelar.load(by_class)
        each = torch.stack([model(model.encode(digit), torch.tensor([c]))[0] for c in range(10)])
        chosen = 6 if label == "6" else int(each.argmax())
        assert chosen != int(each.argmax()) or label == "likeliest"
        assert f"--label {chosen} " in answer.data[3]
        known = known_pixels("Bottom half", torch.zeros(1, 8, 8, dtype=torch.bool))
        images, labels = digit.repeat(3, 1, 1, 1), torch.full((3,), chosen)
        expected = pixelar.complete(model, images, known, labels, seed=4)
        assert torch.equal(self.pictures(answer, 3), expected)

    def test_understand(
        self, classes_demo: Server, by_class: Path, digit: Tensor, tmp_path: Path
    ) -> None:
        show(digit, side=CANVAS).save(tmp_path / "digit.png")
        (path,) = classes_demo.upload(("digit.png", (tmp_path / "digit.png").read_bytes()))
        picture = {"path": path, "meta": served.META}
        model = pixelar.load(by_class)
        for label in ("3", "likeliest"):
            numbers = classes_demo.ask(
                "understand", picture=picture, model=str(by_class), label=label
            ).data[-1]
            likeliest = int(torch.tensor(numbers["class_probabilities"]).argmax())
            assert numbers["label"] == (3 if label == "3" else likeliest)
            bits = pixelar.bits_per_dim(model, digit, torch.tensor([numbers["label"]]))
            assert numbers["bits/dim"] == pytest.approx(float(bits[0]), rel=1e-5)

    @pytest.mark.parametrize("event", ["sample", "complete"])
    @pytest.mark.parametrize("label", ["10", "-1", "x"])
    def test_unknown(self, classes_demo: Server, by_class: Path, event: str, label: str) -> None:
        answer = classes_demo.ask(event, model=str(by_class), label=label)
        assert answer.kind == "error" and "Traceback" not in str(answer.data)

    def test_a_model_without_classes_takes_no_notice(self, classes_demo: Server) -> None:
        answers = [
            classes_demo.ask("sample", label=label, samples=2, seed=1) for label in ("1", "2")
        ]
        assert torch.equal(*[self.pictures(answer, 2) for answer in answers])


@pytest.mark.full
def test_served_from_a_model_folder_without_a_card(tmp_path: Path, digit: Tensor) -> None:
    with serving(tmp_path, served.small_model(tmp_path)) as demo:
        show(digit, side=64).save(tmp_path / "digit.png")
        client = Client(demo.url, verbose=False, download_files=str(tmp_path))
        headline, *_ = client.predict(
            handle_file(str(tmp_path / "digit.png")), api_name="/understand"
        )
        assert "has no histogram" in headline
