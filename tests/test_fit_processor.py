"""`--fit processor`: pictures as ImageGPT's image processor in transformers makes them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fixtures import palette_model
from PIL import Image
from sklearn.datasets import load_sample_image
from transformers import ImageGPTImageProcessor
from transformers.models.imagegpt.image_processing_pil_imagegpt import ImageGPTImageProcessorPil

from pixelar.cli import main
from pixelar.cli.options import add_complete, add_evaluate
from pixelar.data import Folder
from pixelar.data.images import read_image
from pixelar.errors import PixelarError
from pixelar.io.folders import save
from pixelar.io.foreign import export_imagegpt
from pixelar.sampling.masks import covered, read_mask

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "china.png"
    Image.fromarray(load_sample_image("china.jpg")).save(path)  # 640×427
    return path


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("imagegpt")
    export_imagegpt(palette_model(shape=(3, 16, 16), bias=True), folder)
    return folder


def test_tokens_are_those_of_the_processor(photo: Path, theirs: Path) -> None:
    """To the last token by its Pillow backend; torchvision's may round to the level next to it."""
    image = read_image(photo, (3, 16, 16), resize="processor")[None]
    tokens = palette_model(shape=(3, 16, 16), bias=True).encode(image).flatten().tolist()
    for kind, least in ((ImageGPTImageProcessorPil, 1), (ImageGPTImageProcessor, 0.98)):
        processor: Any = kind.from_pretrained(theirs)
        expected = processor(Image.open(photo), return_tensors="pt")["input_ids"].flatten().tolist()
        same = sum(a == b for a, b in zip(tokens, expected, strict=True)) / len(tokens)
        assert same >= least
    cropped = read_image(photo, (3, 16, 16), resize=True)[None]
    assert not torch.equal(cropped, image)


def test_a_folder_is_squashed_as_its_images_are(photo: Path) -> None:
    data = Folder(
        root=str(photo.parent), size=16, resize="processor", val_fraction=0, test_fraction=0
    )
    assert data.preprocessing.startswith("squashed (bilinear, without cropping)")
    image = read_image(photo, (3, 16, 16), resize="processor")
    assert torch.equal(data.split("train").images[0], image)
    with pytest.raises(PixelarError, match="resize must be true, false or processor; got 'squash'"):
        Folder(root=str(photo.parent), resize="squash")  # type: ignore[arg-type]


def test_a_mask_is_squashed_as_its_picture_is() -> None:
    """Nothing at its edges is cropped, and what is drawn covers what was marked."""
    marked = np.zeros((4, 12), dtype=bool)
    marked[:, 0] = True  # which a crop leaves out
    assert covered(marked, (4, 4), squashed=True)[:, 0].all()
    assert not covered(marked, (4, 4)).any()
    known = read_mask(Image.fromarray(~marked), (4, 4), "the mask", squashed=True)
    assert known[0].tolist() == [[False, True, True, True]] * 4


@pytest.mark.parametrize(
    ("words", "fit"),
    [
        ("MODEL IMAGE --keep top", False),
        ("MODEL IMAGE --fit --keep top", True),
        ("MODEL --fit IMAGE --keep top", True),
        ("--fit MODEL IMAGE --keep top", True),
        ("MODEL IMAGE --keep top --fit", True),
        ("MODEL IMAGE --fit crop --keep top", True),
        ("MODEL IMAGE --fit=processor --keep top", "processor"),
        ("MODEL --fit processor IMAGE --keep top", "processor"),
    ],
)
def test_the_word_is_optional_wherever_it_stands(words: str, fit: bool | str) -> None:
    from pixelar.cli import Parser

    parser = Parser("pixelar complete")
    add_complete(parser)
    options = parser.read(words.split())
    assert (options.fit, options.model, options.images) == (fit, "MODEL", ["IMAGE"])


def test_other_words_are_refused() -> None:
    from pixelar.cli import Parser

    parser = Parser("pixelar evaluate")
    add_evaluate(parser)
    with pytest.raises(PixelarError, match="--fit: must be crop or processor; got 'squash'"):
        parser.read(["MODEL", "--fit=squash"])
    assert parser.read(["--fit", "MODEL"]).fit is True


def test_the_commands(photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save(palette_model(), "model")
    for fit in ("crop", "processor"):
        scored = f"evaluate model -d {photo.parent} --fit {fit} -o {fit} --device cpu"
        assert main(scored.split()) == 0
        drawn = f"complete model {photo} --fit {fit} --keep top -n 1 --seed 0 -o {fit}.png"
        assert main(drawn.split()) == 0
    cards = {fit: next(Path(fit).rglob("report.json")).read_text() for fit in ("crop", "processor")}
    assert "squashed (bilinear" in cards["processor"] and "centre-cropped" in cards["crop"]
    assert Path("crop.png").read_bytes() != Path("processor.png").read_bytes()
