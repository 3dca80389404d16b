"""Classes by name: kept in models, matched in any data, refused where they are others."""

import json
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import zoo
from fixtures import noise, save

import pixelar
from pixelar.cli import main
from pixelar.cli.describe import describe
from pixelar.data import Folder, ImageSet
from pixelar.errors import Advice, PixelarError
from pixelar.heads import Categorical
from pixelar.hub.index import packaged
from pixelar.io.folders import fingerprint
from pixelar.io.plain import digest
from pixelar.model import PixelModel
from pixelar.names.classes import class_number, match_labels
from pixelar.nets import ImageGPT
from pixelar.quantizers import Identity
from pixelar.training import Training

pytestmark = pytest.mark.faults

NAMES = ("ant", "bee", "cat", "dog")

CONFIG = """
model:
  net: {{class_path: ImageGPT, init_args: {{width: 8, depth: 1, heads: 2, classes: {classes}}}}}
  head: {{class_path: Categorical}}
  quantizer: {{class_path: Identity}}
data:
  dataset: {{class_path: Folder, init_args: {{root: {root}, size: 4, channels: 1}}}}
  batch_size: 4
trainer: {{max_steps: {steps}, val_check_interval: 100, accelerator: cpu}}
samples: 0
"""


def conditional(names: tuple[str, ...] | None = NAMES) -> PixelModel:
    model = zoo.tiny("ImageGPT", shape=(1, 4, 4), levels=256, classes=4).float()
    model.class_names = names
    return model


def folder(root: Path, *names: str, each: int = 6) -> Path:
    """Writes grey images into one folder per class."""
    for c, name in enumerate(names):
        for i in range(each):
            save(noise(4, 4, seed=100 * c + i), root / name / f"{i}.png")
    return root


def whole(root: Path) -> Folder:
    return Folder(root=str(root), size=4, channels=1, val_fraction=0.0, test_fraction=1.0)


def fit(root: Path, *options: str, classes: int = 2, steps: int = 2) -> int:
    Path("tiny.yaml").write_text(CONFIG.format(root=root, classes=classes, steps=steps))
    return main(["fit", "-c", "tiny.yaml", "--run", "run", *options])


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# --- in models --------------------------------------------------------------------------------


def test_a_model_folder_keeps_the_names(tmp_path: Path) -> None:
    model = conditional()
    pixelar.save(model, "named")
    pixelar.save(conditional(None), "nameless")
    assert pixelar.load("named").class_names == NAMES
    assert pixelar.load("nameless").class_names is None
    assert json.loads(Path("named/config.json").read_text())["class_names"] == [*NAMES]
    assert "class_names" not in json.loads(Path("nameless/config.json").read_text())
    model.class_names = None
    assert fingerprint(pixelar.load("named")) == fingerprint(model)  # which is of the weights
    assert describe(Path("named"))["class_names"] == [*NAMES]
    assert describe(Path("nameless"))["class_names"] is None


@pytest.mark.parametrize("names", [["a"], [*"aabb"], [1, 2, 3, 4], "abcd", {}, []])
def test_names_that_are_none_are_refused(names: Any) -> None:  # noqa: ANN401
    with pytest.raises(PixelarError, match="class_names must be"):
        conditional(names)
    pixelar.save(conditional(), "forged")
    config = json.loads(Path("forged/config.json").read_text()) | {"class_names": names}
    config["config_sha256"] = digest(config)
    Path("forged/config.json").write_text(json.dumps(config))
    for read in (pixelar.load, describe):
        with pytest.raises(PixelarError, match="class_names must be"):
            read(Path("forged"))


def test_the_packaged_models_know_their_digits() -> None:
    for name, path in packaged().items():
        described = describe(path)
        digits = [*"0123456789"] if described["classes"] else None
        assert described["class_names"] == digits, name
        assert (described["card"] or {}).get("class_names") == digits
        assert described["card"]["model_sha256"]  # of unchanged weights, or it were not shown


# --- in data ----------------------------------------------------------------------------------


def test_labels_are_matched_by_name() -> None:
    labels = torch.tensor([0, 1, 1, 0])
    assert match_labels(labels, ["bee", "dog"], NAMES, 4).tolist() == [1, 3, 3, 1]
    assert match_labels(labels, ["dog", "bee"], NAMES, 4).tolist() == [3, 1, 1, 3]
    assert match_labels(labels, None, NAMES, 4) is labels
    with pytest.raises(PixelarError, match=r"a class that .* know: fox; it knows ant, bee, cat"):
        match_labels(labels, ["bee", "fox"], NAMES, 4)
    assert match_labels(labels[:1], ["bee", "fox"], NAMES, 4).tolist() == [1]  # no fox among them
    with pytest.raises(PixelarError, match="labels must be from 0 to 0; got 0 to 1"):
        match_labels(labels, ["bee"], NAMES, 4)
    with pytest.warns(Advice, match=r"names of the model's 2 classes are not known.*\(x, y\)"):
        assert match_labels(labels, ["x", "y"], None, 2) is labels
    with pytest.raises(PixelarError, match=r"model's 4 classes are not known, .* has 2 \(x, y\)"):
        match_labels(labels, ["x", "y"], None, 4)


def test_a_folder_of_some_classes_is_scored_as_these(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """By Python and by the command line, whole data sets and their splits."""
    model, data = conditional(), whole(folder(Path("some"), "dog", "bee"))
    images = data.split("test")
    labels = torch.tensor([NAMES.index(Path(name).parts[0]) for name in images.names])
    right = pixelar.bits_per_dim(model, images.images, labels)
    for given in (data, images, images.subset(range(len(images)))):
        report = pixelar.evaluate(model, given)
        assert torch.equal(report.per_image, right)
        assert report.card["classes"]["missing"] == ["ant", "cat"]
    assert report.card["classes"]["matched_by"] == "name"
    pixelar.save(model, "model")
    assert main("evaluate model -d some".split()) == 0
    text = capsys.readouterr().out
    assert f"{float(right.mean()):.4f} ±" in text and "all 12 images of" in text
    assert "classes of the model that the data does not have: ant, cat" in text
    Path("some/bee").rename("some/wasp")
    assert main("evaluate model -d some".split()) == 2
    assert "does not know: wasp; it knows ant, bee, cat, dog" in capsys.readouterr().err


def test_images_with_plain_numbers_keep_them() -> None:
    images, labels = torch.zeros(3, 1, 4, 4, dtype=torch.uint8), torch.tensor([3, 0, 2])
    report = pixelar.evaluate(conditional(), ImageSet(images, labels, [*"abc"]))
    assert torch.equal(report.per_image, pixelar.bits_per_dim(conditional(), images, labels))
    assert report.card["classes"] == {"names": [*NAMES], "matched_by": "number", "missing": []}


# --- on the command line ----------------------------------------------------------------------


def test_a_label_is_a_name_or_a_number(capsys: pytest.CaptureFixture[str]) -> None:
    pixelar.save(conditional(), "model")
    for label, file in (("dog", "name"), ("3", "number")):
        words = f"sample model -n 2 --seed 1 --label {label} -o {file}.png"
        assert main(words.split()) == 0
    assert Path("name.png").read_bytes() == Path("number.png").read_bytes()
    capsys.readouterr()
    for label in ("fox", "4", "-1", "٣", ""):
        assert main(["sample", "model", f"--label={label}"]) == 2
        message = "--label must be from 0 to 3 or one of the names ant, bee, cat, dog; got"
        assert message in capsys.readouterr().err
    assert main(["sample", "model", "--label", "2"]) == 0
    assert "taken" not in capsys.readouterr().err
    pixelar.save(conditional(("3", "2", "1", "0")), "turned")
    assert main(["sample", "turned", "--label", "0"]) == 0
    text = capsys.readouterr().err
    assert "0 is taken as the class of that name, which has the number 3" in text


def test_a_name_that_is_its_number_is_not_ambiguous() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert class_number("3", [*"0123456789"], 10) == 3


def test_info_prints_the_names(capsys: pytest.CaptureFixture[str]) -> None:
    pixelar.save(conditional(), "model")
    assert main(["info", "model"]) == 0
    assert "classes     4: ant, bee, cat, dog" in capsys.readouterr().out
    assert main(["info", "model", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["class_names"] == [*NAMES]


# --- in training ------------------------------------------------------------------------------


def training(names: tuple[str, ...] | None) -> Training:
    made = Training(
        lambda scan, levels, out: ImageGPT(scan, levels, out, width=8, depth=1, heads=1, classes=4),
        Categorical,
        Identity(),
        (1, 4, 4),
    )
    made.name_classes(names)
    return made


def test_as_many_classes_as_the_data_has() -> None:
    assert training(NAMES).model.class_names == NAMES
    with pytest.raises(PixelarError, match=r"net.classes is 4, but the data has 2 classes \(a, b"):
        training(("a", "b"))
    with pytest.raises(PixelarError, match=r"net\.classes is 4, but the images have no labels"):
        training(None)


def test_weights_of_other_classes_are_refused() -> None:
    start, named = training(NAMES), training(NAMES).model
    start.start_from(named)
    named.class_names = ("bee", "ant", "cat", "dog")
    with pytest.raises(PixelarError, match=r"--init: the model has the classes bee, .* another or"):
        start.start_from(named)
    named.class_names = ("ant", "bee", "cat", "fox")
    with pytest.raises(PixelarError, match=r"bee, cat, fox, and the data has ant, bee, cat, dog"):
        start.start_from(named)
    named.class_names = None
    with pytest.warns(Advice, match="does not name its 4 classes: the data's classes"):
        start.start_from(named)


def test_a_run_keeps_its_classes(capsys: pytest.CaptureFixture[str]) -> None:
    """From the first step on, to its model; a resumed one has the same in the same order."""
    pictures = folder(Path("pictures"), "cat", "dog")
    assert fit(pictures, classes=3) == 2
    assert "net.classes is 3, but the data has 2 classes (cat, dog)" in capsys.readouterr().err
    assert not Path("run/checkpoints").exists()
    assert fit(pictures) == 0
    assert pixelar.load("run/model").class_names == ("cat", "dog")
    checkpoint = next(Path("run/checkpoints").glob("*.ckpt"))
    assert pixelar.io.folders.load_checkpoint(checkpoint).class_names == ("cat", "dog")
    for one, other in (("dog", "fox"), ("cat", "zebra")):
        shutil.copytree(pictures, "changed")
        Path("changed", one).rename(Path("changed", other))
        before = Path("run/config.yaml").read_bytes()
        assert fit(Path("changed"), "--resume", steps=4) == 2
        assert Path("run/config.yaml").read_bytes() == before  # as the run is still that one
        assert "checkpoint has the classes cat, dog, and the data has" in capsys.readouterr().err
        shutil.rmtree("changed")
    assert fit(pictures, "--resume", steps=3) == 0
