"""A run records its data: what it held out is evaluated, what it was trained on is counted."""

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fixtures import noise, save
from PIL import Image

import pixelar
from pixelar.cli import main
from pixelar.data import Digits, Folder
from pixelar.data.record import image_digests, read_record, record_of
from pixelar.errors import PixelarError
from pixelar.hub.cards import images_in_words

pytestmark = pytest.mark.faults

N = 40

CONFIG = """
model:
  net: {class_path: PixelCNN, init_args: {width: 4, depth: 1, first_kernel_size: 3}}
  head: {class_path: Categorical}
  quantizer: {class_path: Identity}
data:
  dataset:
    class_path: Folder
    init_args: {root: pictures, size: 4, channels: 1, seed: 7, test_fraction: 0.3}
  batch_size: 4
trainer: {max_steps: 2, val_check_interval: 100, accelerator: cpu}
samples: 0
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures and a run on them, which tests copy."""
    root = tmp_path_factory.mktemp("ran")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for i in range(N):
            save(noise(4, 4, seed=i), Path(f"pictures/{i:02}.png"))
        Path("tiny.yaml").write_text(CONFIG)
        assert main("fit -c tiny.yaml --run run".split()) == 0
    return root


@pytest.fixture(autouse=True)
def here(ran: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A copy of both, in which the run's record names the copied pictures."""
    shutil.copytree(ran, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    for record in ("run/data.json", "run/model/data.json"):
        change(record, root=str(tmp_path / "pictures"))
    yield


def change(file: str, **arguments: Any) -> None:  # noqa: ANN401
    """Changes the arguments of the data set in a record."""
    content = json.loads(Path(file).read_text())
    content["arguments"] |= arguments
    Path(file).write_text(json.dumps(content))


def held_out(split: str = "test") -> list[str]:
    data = Folder(root="pictures", size=4, channels=1, seed=7, test_fraction=0.3)
    return [*data.split(split).names]  # type: ignore[arg-type]


def evaluated(words: str, capsys: pytest.CaptureFixture[str]) -> tuple[list[str], dict, str]:
    """Evaluates, and returns the names of the images, the report and what was printed."""
    shutil.rmtree("out", ignore_errors=True)
    capsys.readouterr()
    assert main(f"evaluate {words} -o out".split()) == 0
    printed = capsys.readouterr()
    table = next(Path("out").rglob("per_image.csv"))
    names = [row[0] for row in csv.reader(table.open())][1:]
    card = json.loads(table.with_name("report.json").read_text())
    return names, card, printed.out + printed.err


@pytest.mark.parametrize("model", ["run/model", "run/checkpoints/step-00000002.ckpt"])
def test_the_data_is_the_runs_own(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    for words, says in (
        ("", "without -d, the data is the run's own"),
        (" -d pictures", "pictures is the folder of the run"),
    ):
        names, card, text = evaluated(model + words, capsys)
        assert names == held_out() and len(names) == 12
        assert says in text and "12 test images of" in text
        assert "training images among them, by their pixels: none" in text
        assert card["data"]["training_images"] == 0 and card["data"]["split_as_in_run"]
        assert "changed" not in text


def test_other_splits_of_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    names, card, text = evaluated("run/model --split train", capsys)
    assert names == held_out("train") and card["data"]["training_images"] == len(names)
    assert f"pixels: {len(names)} of {len(names)}" in text
    names, card, text = evaluated("run/model --split all", capsys)
    assert len(names) == N and "all 40 images of" in text
    assert card["data"]["training_images"] == len(held_out("train"))
    names, _, text = evaluated("run/model --limit 1", capsys)
    assert names == held_out()[:1] and "(the first test image of" in text


def test_a_folder_that_was_moved_is_the_runs(capsys: pytest.CaptureFixture[str]) -> None:
    Path("pictures").rename("moved")
    assert main(["evaluate", "run/model"]) == 2
    assert "if it is elsewhere now, name its folder with -d" in capsys.readouterr().err
    names, card, text = evaluated("run/model -d moved", capsys)
    assert len(names) == 12 and card["data"]["split_as_in_run"]
    assert "moved is the folder of the run" in text


def test_a_folder_that_has_changed_is_said_to(capsys: pytest.CaptureFixture[str]) -> None:
    trained = {*image_digests(torch.cat([read(name) for name in held_out("train")]))}
    save(noise(4, 4, seed=99), Path("pictures") / held_out()[0])
    assert "other images in test" in evaluated("run/model", capsys)[2]
    save(noise(4, 4, seed=N), Path("pictures/new.png"))
    names, card, text = evaluated("run/model -d pictures", capsys)
    assert "40 images then, 41 now" in text and not card["data"]["split_as_in_run"]
    again = [n for n in names if {*image_digests(read(n))} & trained]
    assert card["data"]["training_images"] == len(again) > 0


def read(name: str) -> torch.Tensor:
    return torch.from_numpy(np.array(Image.open(Path("pictures", name))))[None, None]


def test_copies_of_training_images_are_found_by_their_pixels(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for i, name in enumerate((*held_out("train")[:3], *held_out()[:2])):
        Path("others").mkdir(exist_ok=True)
        Image.open(Path("pictures", name)).save(f"others/{i}.bmp")  # another name and format
    _, card, text = evaluated("run/model -d others", capsys)
    assert "all 5 images of" in text and "by their pixels: 3 of 5" in text
    assert card["data"]["training_images"] == 3 and card["data"]["split"] == "all"
    # another folder with the same names is not the run's
    shutil.copytree("pictures", "alike")
    for i in range(N):
        save(noise(4, 4, seed=1000 + i), Path(f"alike/{i:02}.png"))
    names, _, text = evaluated("run/model -d alike", capsys)
    assert len(names) == N and "folder of the run" not in text


def test_a_data_set_by_name_is_split_as_in_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    text = CONFIG.replace("Identity}", "Identity, init_args: {levels: 17}}")
    begin, end = text.index("class_path: Folder"), text.index("  batch_size")
    digits = "class_path: Digits\n    init_args: {test_images: 20, val_images: 5, seed: 3}\n"
    Path("digits.yaml").write_text(text[:begin] + digits + text[end:])
    assert main("fit -c digits.yaml --run second".split()) == 0
    right = [*Digits(test_images=20, val_images=5, seed=3).split("test").names]
    for words in ("second/model", "second/model -d digits"):
        names, card, printed = evaluated(words, capsys)
        assert names == right and card["data"]["training_images"] == 0
        assert "split as in the run" in printed
    # the images that the first weights were trained on count as well
    assert main("fit -c tiny.yaml --run third --init run/model --data.dataset.seed 8".split()) == 0
    first, third = read_record(Path("run")), read_record(Path("third"))
    assert first and third and {*first.trained_on} < {*third.trained_on}


def test_without_a_record_all_images_are_all(capsys: pytest.CaptureFixture[str]) -> None:
    for file in ("data.json", "trained_on.bin"):
        Path("run/model", file).unlink()
    names, card, text = evaluated("run/model -d pictures", capsys)
    assert len(names) == N and "all 40 images of" in text and "train" not in text
    assert card["data"]["split"] == "all" and card["data"]["training_images"] is None
    assert main(["evaluate", "run/model"]) == 2
    assert "-d is missing" in capsys.readouterr().err


def test_an_exported_model_keeps_the_record(capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = "run/checkpoints/step-00000002.ckpt"
    assert main(["export", checkpoint, "-o", "exported"]) == 0
    assert evaluated("exported", capsys)[0] == held_out()


def test_a_record_of_anyone_writes_nothing_and_is_checked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    change("run/model/data.json", cache="cache.npy")
    evaluated("run/model", capsys)
    assert not Path("cache.npy").exists()
    change("run/model/data.json", sizes=4)
    assert main(["evaluate", "run/model"]) == 2
    assert "the run's data cannot be read" in capsys.readouterr().err
    content = json.loads(Path("run/data.json").read_text())
    strange = {"kind": "my.Own", "name": None}
    Path("run/model/data.json").write_text(json.dumps(content | strange))
    assert main(["evaluate", "run/model"]) == 2
    assert "the run's data is my.Own, which is not part of pixelar" in capsys.readouterr().err
    for damage in ({"splits": {"test": 3}}, {"format": 2}, {"arguments": {"root": 3}}):
        Path("run/model/data.json").write_text(json.dumps(content | damage))
        assert main(["evaluate", "run/model", "-d", "pictures"]) == 2
        assert "not a record of a run's data" in capsys.readouterr().err


def test_the_size_of_a_record_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = Folder(root="pictures", size=4, channels=1, seed=7, test_fraction=0.3)
    complete = record_of(data)
    monkeypatch.setattr("pixelar.data.record.MOST_DIGESTS", 5)
    record = record_of(data)
    assert record.trained_on.tolist() == complete.trained_on[:5].tolist()
    assert complete.complete and not record.complete
    record.save(Path("bounded"))
    again = read_record(Path("bounded"))
    assert again and again.count_trained(data.split("train").images) == 5
    assert not again.joined(complete).complete
    report = pixelar.evaluate(pixelar.load("run/model"), data, split="train", record=again)
    assert report.card["data"]["training_images"] == 5
    assert not report.card["data"]["training_images_known"]
    assert Path("bounded/trained_on.bin").stat().st_size == 40


def test_images_in_words() -> None:
    words = {
        ("test", 1, None): "1 test image",
        ("test", 1200, None): "1,200 test images",
        ("all", 1, None): "1 image",
        ("all", 40, None): "all 40 images",
        (None, 2, None): "2 images",
        ("val", 5, 5): "the first 5 val images",
        ("all", 1, 1): "the first image",
        ("test", 3, 10): "3 test images",  # there are no more
    }
    for (split, images, limit), said in words.items():
        assert images_in_words({"split": split, "images": images, "limit": limit}) == said


def test_a_damaged_record_is_named() -> None:
    Path("run/data.json").write_text("{")
    with pytest.raises(PixelarError, match=r"data\.json is not JSON"):
        read_record(Path("run"))


def test_a_refused_resume_leaves_the_record() -> None:
    before = Path("run/data.json").read_bytes()
    words = "fit -c tiny.yaml --run run --resume --data.dataset.seed 8 --trainer.max_steps 3"
    assert main([*words.split(), "--model.net.init_args.width", "6"]) == 2
    assert Path("run/data.json").read_bytes() == before
    assert main(words.split()) == 0  # on other images, which count from now on
    record = read_record(Path("run/model"))
    assert record and record.arguments["seed"] == 8
    assert len(record.trained_on) > len(held_out("train"))
