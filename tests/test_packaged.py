"""Every packaged model is what its card says; one is tested by being there."""

import json
import math
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import zoo
from fixtures import numbered, write_files
from PIL import Image
from safetensors.torch import load_file

import pixelar
from pixelar.cli import main
from pixelar.cli.fit_build import build
from pixelar.data import DATASETS, Digits, Folder, ImageData, ImageSet
from pixelar.errors import PixelarError
from pixelar.hub.cards import fill_in, render_card
from pixelar.hub.index import find, packaged, read_card
from pixelar.hub.publish import MOST_BYTES, MOST_BYTES_IN_ALL, SOURCES, About, package
from pixelar.io.folders import fingerprint
from pixelar.model import describe_model
from pixelar.training.runs import Run

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data"
MODELS = packaged()
OFFLINE = ("digits",)  # data sets that need no files


def card_of(name: str) -> dict[str, Any]:
    card = read_card(MODELS[name])
    assert card, f"{name} has no card, or one that lacks something"
    return card


def size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*"))


def test_images(card: dict[str, Any]) -> ImageSet:
    """Returns the test images of a card, or skips where they are not there."""
    name = card["data"]["name"]
    data: ImageData | None
    if name in OFFLINE:
        return DATASETS[name]().split("test")
    if name == "folder":
        root = SHARED / "noto-emoji-32"
        data = Folder(root=str(root), resize=False) if root.is_dir() else None
    else:
        kind: Callable[..., ImageData] = DATASETS[name]
        data = kind(root=str(SHARED)) if (SHARED / "MNIST").is_dir() else None
    if data is None:
        pytest.skip(f"the images of {card['data']['title']} are not in {SHARED}")
    return data.split("test")


test_images.__test__ = False  # type: ignore[attr-defined]

# --- every model ------------------------------------------------------------------------------

every_model = pytest.mark.parametrize("name", MODELS)


def test_there_are_models() -> None:
    assert {"digits-gated-pixelcnn", "digits-imagegpt"} <= MODELS.keys()
    assert sum(map(size, MODELS.values())) <= MOST_BYTES_IN_ALL


@every_model
def test_a_model_is_small_and_stored_in_halves(name: str) -> None:
    folder, card = MODELS[name], card_of(name)
    assert size(folder) <= MOST_BYTES
    weights = load_file(folder / "model.safetensors")
    assert (folder / "model.safetensors").stat().st_size == card["bytes"]
    own = [t for k, t in weights.items() if not k.startswith("quantizer.")]
    assert {t.dtype for t in own if t.is_floating_point()} == {torch.float16}


@every_model
def test_a_card_is_of_the_model_beside_it(name: str) -> None:
    card, model = card_of(name), pixelar.load(name)
    assert card["name"] == name
    assert card["model"] == describe_model(model)
    assert card["model_sha256"] == fingerprint(model)
    assert card["parameters"] == sum(p.numel() for p in model.parameters())
    assert card["classes"] == model.classes
    assert {p.dtype for p in model.parameters()} == {torch.float32}


@every_model
def test_a_card_is_complete(name: str) -> None:
    card = card_of(name)
    data, figure, training = card["data"], card["figure"], card["training"]
    assert data["licence"] == SOURCES[data["source"]]["licence"]
    for key in ("steps", "images", "seconds"):
        assert training[key] > 0
    assert training["steps"] == sum(part["steps"] for part in training["parts"])
    assert training["images"] == sum(p["steps"] * p["batch_size"] for p in training["parts"])
    assert training["hardware"] and isinstance(training["seed"], int)
    assert len(card["curve"]) >= 2 and card["curve"][-1][0] == training["steps"]
    assert training["precision"] in ("float32", "bf16-mixed") and training["outlook"]
    dims = next(v for k, v in card["protocol"].items() if k.endswith("per_image"))
    assert figure["nats_mean"] == pytest.approx(figure["mean"] * dims * math.log(2))
    edges, counts = (card["histogram"][key] for key in ("edges", "counts"))
    assert len(edges) == len(counts) + 1 and sum(counts) == figure["images"]
    assert edges == sorted(edges) and edges[0] < figure["mean"] < edges[-1]
    assert re.fullmatch(r"\d+\.\d+ ± \d+\.\d+ (nats|bits/dim|bits/token)", card["headline"])
    assert f" {name}" in card["evaluate"] and f" -c {name}/train " in card["retrain"]


@every_model
def test_the_readable_card_says_what_the_other_says(name: str) -> None:
    text = (MODELS[name] / "README.md").read_text()
    assert text == render_card(card_of(name), MODELS[name])
    with Image.open(MODELS[name] / "samples.png") as picture:
        assert min(picture.size) > 300


@every_model
def test_nothing_names_the_machine_it_was_made_on(name: str) -> None:
    for file in MODELS[name].glob("*"):
        if file.suffix in (".json", ".md", ".yaml"):
            assert not re.search(r"(?<![\w.:/])/(?!/)\w+/", file.read_text()), file


@every_model
def test_the_config_trains_that_model(name: str, tmp_path: Path) -> None:
    arguments = ["-c", str(MODELS[name] / "train.yaml")]
    card = card_of(name)
    if card["data"]["name"] == "folder":
        write_files(tmp_path, *numbered("", 20))
        arguments += ["--data.dataset.root", str(tmp_path)]
    assert describe_model(build(arguments).model.model) == card["model"]


@every_model
def test_the_config_of_the_same_name_differs_in_steps_at_most(name: str, tmp_path: Path) -> None:
    """Where it plans others than were made, it says so, and so does the card."""
    write_files(tmp_path, *numbered("", 20))
    root = ["--data.dataset.root", str(tmp_path)] * (card_of(name)["data"]["name"] not in OFFLINE)
    config = ROOT / "configs" / f"{name}.yaml"
    ours, packed = (
        build(["-c", str(file), *root]).config.as_dict()
        for file in (config, MODELS[name] / "train.yaml")
    )
    planned, made = (each["trainer"].pop("max_steps") for each in (ours, packed))
    assert {**ours, "config": None} == {**packed, "config": None}  # from two files
    assert made == sum(part["planned"] for part in card_of(name)["training"]["parts"])
    comment = " ".join(line[1:].strip() for line in config.read_text().splitlines() if "#" in line)
    assert "packaged model of the same name" in comment
    notes = " ".join(card_of(name)["training"]["notes"])
    assert (f"plans {planned:,} steps, the packaged model had {made:,}" in comment) == (
        planned != made
    )
    assert (f"configs/{name}.yaml` plans {planned:,} steps" in notes) == (planned != made)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name,
            marks=[] if card_of(name)["data"]["name"] in OFFLINE else pytest.mark.shared_data,
        )
        for name in MODELS
    ],
)
def test_the_figure_is_found_again_on_the_first_images(name: str) -> None:
    card = card_of(name)
    images = test_images(card)
    assert images.fingerprint() == card["protocol"]["images_sha256"]
    found = pixelar.evaluate(pixelar.load(name), images, limit=card["check"]["images"])
    assert found.mean == pytest.approx(card["check"]["mean"], abs=1e-4)


def test_the_page_on_models_is_up_to_date() -> None:
    page = (ROOT / "docs" / "models.md").read_text()
    assert page == fill_in(page, [*MODELS.values()]), "run python scripts/package_model.py --table"
    for name in MODELS:
        for part in ("| [{}]", "| `{}` |", "- `{}`: "):
            assert part.format(name) in page


def test_the_figure_of_digits_is_found_again_in_full() -> None:
    card = card_of("digits-gated-pixelcnn")
    report = pixelar.evaluate(pixelar.load("digits-gated-pixelcnn"), Digits())
    assert report.mean == pytest.approx(card["figure"]["mean"], abs=1e-5)
    assert report.standard_error == pytest.approx(card["figure"]["standard_error"], abs=1e-5)


def test_the_wheel_has_the_models_and_the_assets_of_the_demo(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="hatchling, which builds wheels, is not installed")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for folder in MODELS.values():
        for file in folder.iterdir():
            assert file.relative_to(ROOT).as_posix() in names
    for asset in ("page.css", "name_colours.js", "debounce.js"):
        assert f"pixelar/demo/assets/{asset}" in names
    assert "pixelar/py.typed" in names


# --- names and paths --------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_name_is_found_wherever_one_is(here: Path) -> None:
    assert find("digits-imagegpt") == MODELS["digits-imagegpt"]
    assert pixelar.load("digits-imagegpt").image_shape == (1, 8, 8)


def test_a_model_folder_comes_before_a_name(here: Path) -> None:
    (here / "digits-imagegpt").mkdir()
    assert find("digits-imagegpt") == MODELS["digits-imagegpt"]  # no model: it has no config
    pixelar.save(zoo.tiny("PixelCNN", shape=(1, 4, 4)).float(), here / "digits-imagegpt")
    assert find("digits-imagegpt") == Path("digits-imagegpt")
    assert pixelar.load("digits-imagegpt").image_shape == (1, 4, 4)


@pytest.mark.parametrize("path", ["./digits-imagegpt", "digits-imagegpt/", "digits-imagegpt.ckpt"])
def test_what_looks_like_a_path_is_one(path: str) -> None:
    assert find(path) == Path(path)


def test_a_misspelt_name_is_one_sentence() -> None:
    with pytest.raises(PixelarError) as caught:
        pixelar.load("digits-imgpt")
    message = str(caught.value)
    assert message.startswith("model: unknown 'digits-imgpt'; did you mean 'digits-imagegpt'? ")
    assert message.endswith("there is no folder of that name either") and "\n" not in message


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"name": 1}', '{"a":' * 100_000, '{"figure": {"mean": "x"}}']
)
def test_a_card_of_another_form_is_none(content: str, tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text(content)
    assert read_card(tmp_path) is None


# --- the command line -------------------------------------------------------------------------


def test_list_begins_with_the_models(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first.startswith("models")
    for name, line in zip(MODELS, lines, strict=False):
        card = card_of(name)
        assert line.split()[0] == name and line.endswith(" MB")
        assert card["summary"] in line and card["headline"] in line


def test_evaluate_takes_the_data_of_the_card(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(MODELS["digits-imagegpt"].rglob("*"))
    assert main(["evaluate", "digits-imagegpt"]) == 0
    headline = card_of("digits-imagegpt")["headline"]
    out = capsys.readouterr().out
    assert out.startswith(f"ema weights: {headline}  (360 test images of digits)")
    assert f"its card says: {headline}" in out
    assert Path("evaluations/digits-imagegpt/digits-test-ema/report.json").is_file()
    assert sorted(MODELS["digits-imagegpt"].rglob("*")) == before
    assert main(["info", "digits-imagegpt", "--json"]) == 0
    described = json.loads(capsys.readouterr().out)
    assert described["card"] == card_of("digits-imagegpt")
    assert len(described["evaluations"]) == 1


def test_another_figure_is_not_compared_with_the_card(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "digits-imagegpt", "--limit", "5"]) == 0
    assert "card says" not in capsys.readouterr().out


def test_info_shows_the_card(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "digits-imagegpt"]) == 0
    out, card = capsys.readouterr().out, card_of("digits-imagegpt")
    for text in (card["title"], card["headline"], "CC BY 4.0", card["evaluate"], card["retrain"]):
        assert text in out


def test_info_shows_no_card_of_other_weights(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pixelar.save(zoo.tiny("PixelCNN", shape=(1, 8, 8), levels=17).float(), "mine")
    shutil.copy(MODELS["digits-imagegpt"] / "card.json", "mine")
    assert main(["info", "mine"]) == 0
    assert card_of("digits-imagegpt")["headline"] not in capsys.readouterr().out


@pytest.mark.parametrize("command", ["sample digits-imagegpt -n 2", "info digits-imagegpt"])
def test_commands_take_names(command: str, here: Path) -> None:
    assert main(command.split()) == 0


def test_missing_images_are_a_sentence_that_says_what_to_do(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pixelar.save(zoo.tiny("PixelCNN", shape=(1, 28, 28), levels=256).float(), "mine")
    card = card_of("digits-imagegpt")
    card["data"]["name"] = "mnist"
    (here / "mine" / "card.json").write_text(json.dumps(card))
    assert main(["evaluate", "mine"]) == 2
    assert "name the folder that holds one as root (or --root)" in capsys.readouterr().err
    card["data"]["name"] = "folder"
    (here / "mine" / "card.json").write_text(json.dumps(card))
    assert main(["evaluate", "mine"]) == 2
    assert f"to measure its score again: {card['evaluate']}" in capsys.readouterr().err


# --- making one -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run of a few steps, resumed once."""
    folder, before = tmp_path_factory.mktemp("run"), Path.cwd()
    os.chdir(folder)
    short = "--trainer.val_check_interval 2 --checkpoint_every 2 --trainer.log_every_n_steps 2"
    command = f"fit -c {ROOT}/configs/digits-imagegpt.yaml --run tiny --samples 1 {short}"
    command += " --model.net.init_args.width 8 --model.net.init_args.depth 1"
    assert main(f"{command} --trainer.max_steps 4".split()) == 0
    assert main(f"{command} --trainer.max_steps 8 --resume".split()) == 0
    os.chdir(before)
    yield folder / "tiny"


ABOUT = About("A tiny ImageGPT", source="digits", hardware="a laptop")


def test_a_model_is_made_from_a_run(run: Path, tmp_path: Path) -> None:
    card = package([Run.at(run)], "tiny", Digits(), ABOUT, models=tmp_path)
    assert read_card(tmp_path / "tiny") == json.loads(json.dumps(card))
    assert card["model_sha256"] == fingerprint(pixelar.load(tmp_path / "tiny"))
    assert [step for step, _ in card["curve"]] == [2, 4, 6, 8]
    training = card["training"]
    assert (training["steps"], training["images"]) == (8, 512)
    assert training["precision"] == "float32" and not card["curve_end_measured_afterwards"]
    report = pixelar.evaluate(pixelar.load(tmp_path / "tiny"), Digits())
    assert report.mean == card["figure"]["mean"]
    assert str(run) not in "".join(f.read_text() for f in (tmp_path / "tiny").glob("*.[jmy]*"))
    config = build(["-c", str(tmp_path / "tiny" / "train.yaml")]).config
    assert config["trainer"]["max_steps"] == 8 and config["ema"] == 0.99


def test_an_earlier_checkpoint_of_a_run_can_be_taken(run: Path, tmp_path: Path) -> None:
    part = Run.at(run / "checkpoints" / "step-00000006.ckpt")
    about = replace(ABOUT, seconds=7.4, notes=("Cut short.",), published="As in papers.")
    card = package([part], "tiny", Digits(), about, weights="raw", models=tmp_path)
    assert [step for step, _ in card["curve"]] == [2, 4, 6]
    assert (card["training"]["steps"], card["training"]["seconds"]) == (6, 7)
    text = (tmp_path / "tiny" / "README.md").read_text()
    for words in ("early: 8 were planned", "of the last step (raw)", "Cut short.", "As in papers."):
        assert words in text


def test_a_curve_ends_where_the_training_did(run: Path, tmp_path: Path) -> None:
    """A point that validation missed is measured on the stored model."""
    at = run / "checkpoints" / "step-00000006.ckpt"
    missed = tmp_path / "run"
    (missed / "checkpoints").mkdir(parents=True)
    shutil.copy(at, missed / "checkpoints")
    shutil.copy(run / "config.yaml", missed)
    about = replace(ABOUT, seconds=7, outlook="More is better.")
    card = package([Run.at(missed)], "tiny", Digits(), about, models=tmp_path)
    ((step, value),) = card["curve"]
    whole = package([Run.at(at)], "whole", Digits(), ABOUT, models=tmp_path)
    assert step == 6 and value == pytest.approx(whole["curve"][-1][1], abs=1e-3)  # of halves
    assert card["curve_end_measured_afterwards"]
    assert "More is better." in (tmp_path / "tiny" / "README.md").read_text()


def test_a_model_is_made_from_runs_that_follow_each_other(run: Path, tmp_path: Path) -> None:
    second = tmp_path / "second"
    command = f"fit -c {run / 'config.yaml'} --run {second} --init {run / 'model'}"
    assert main(f"{command} --trainer.max_steps 4 --data.batch_size 32".split()) == 0
    parts = [Run.at(run), Run.at(second)]
    card = package(parts, "tiny", Digits(), ABOUT, models=tmp_path)
    training = card["training"]
    assert (training["steps"], training["images"]) == (12, 8 * 64 + 4 * 32)
    assert [step for step, _ in card["curve"]] == [2, 4, 6, 8, 10, 12]
    assert card["retrain"].split(" && ") == [
        "pixelar fit -c tiny/train-1 --run runs/tiny-1",
        "pixelar fit -c tiny/train --init runs/tiny-1/model --run runs/tiny",
    ]
    text = (tmp_path / "tiny" / "README.md").read_text()
    assert str(tmp_path) not in text and "8 of 64 images, then 4 of 32 images" in text
    with pytest.raises(PixelarError, match="use --before to name the run that made them"):
        package(parts[1:], "tiny", Digits(), ABOUT, models=tmp_path)
    with pytest.raises(PixelarError, match="began with no other run's weights"):
        package([parts[0], parts[0]], "tiny", Digits(), ABOUT, models=tmp_path)


def test_more_than_fits_is_refused(run: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "model.safetensors").write_bytes(bytes(MOST_BYTES_IN_ALL))
    with pytest.raises(
        PixelarError, match=r"all models together would take .* may take 12,000,000"
    ):
        package([Run.at(run)], "tiny", Digits(), ABOUT, models=tmp_path)
    assert not (tmp_path / "tiny").exists()


def test_what_is_no_run_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(PixelarError, match=r"has no checkpoint: it is not a run"):
        Run.at(tmp_path)
    with pytest.raises(PixelarError, match=r"unknown 'digit'; did you mean 'digits'\?"):
        package([Run.at(run)], "tiny", Digits(), replace(ABOUT, source="digit"), models=tmp_path)
