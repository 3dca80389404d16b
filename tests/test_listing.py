"""The content of a folder of images is recognised by usual names; what is left out is counted."""

import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from fixtures import noise, numbered, save, write_files
from PIL import Image

from pixelar.cli import main
from pixelar.data import Folder
from pixelar.data.base import SPLITS
from pixelar.data.listing import extensions, find_images, split_folders
from pixelar.errors import Advice, PixelarError

pytestmark = pytest.mark.faults


def names(root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in find_images(root)]


# --- splits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "folders",
    [
        ("Train", "Test"),
        ("Training", "Testing"),
        ("TRAIN", "TEST"),
        ("train", "valid", "test"),
        ("train", "Validation", "test"),
        ("training", "VAL", "testing"),
    ],
)
def test_split_folders_by_their_usual_names(folders: tuple[str, ...], tmp_path: Path) -> None:
    for folder, count in zip(folders, (10, 4, 3), strict=False):
        write_files(
            tmp_path, *numbered(f"{folder}/cat/", count), *numbered(f"{folder}/dog/", count)
        )
    data = Folder(root=str(tmp_path), size=4)
    assert data.classes == ["cat", "dog"]
    for split, part in split_folders(tmp_path).items():
        assert part.name in folders
        assert all(Path(name).parts[0] == part.name for name in data.split(split).names)
    assert len(split_folders(tmp_path)) == len(folders)


def test_two_folders_for_one_split_are_refused(tmp_path: Path) -> None:
    write_files(tmp_path, "Train/0.png", "training/0.png")
    with pytest.raises(PixelarError, match="Train and training are two folders for one split"):
        Folder(root=str(tmp_path))


def test_a_split_next_to_classes_is_refused(tmp_path: Path) -> None:
    write_files(tmp_path, "TRAINING/0.png", "cat/0.png")
    with pytest.raises(PixelarError) as caught:
        Folder(root=str(tmp_path))
    assert str(caught.value) == (
        f"{tmp_path} has split folders (TRAINING), so every image belongs in one for train, val or "
        f"test: move {tmp_path}/cat/0.png there, or rename TRAINING if it is no split"
    )


@pytest.mark.parametrize("outer", ["digits/", "{}/"])
def test_splits_further_down_are_advised_of(outer: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        inside = outer.format(name)
        write_files(tmp_path, *numbered(f"{inside}Train/", 4), *numbered(f"{inside}test/", 2))
    with pytest.warns(Advice, match=r"directly in it are splits; (digits|a)/Train, .*/test count"):
        Folder(root=str(tmp_path), size=4)


# --- files ----------------------------------------------------------------------------------------


def test_every_extension_that_pillow_opens_is_read(tmp_path: Path) -> None:
    assert extensions() >= set(
        ".apng .avif .bmp .dib .gif .ico .j2k .jfif .jp2 .jpe .jpeg .jpg .mpo .pbm .pcx .pgm .png "
        ".pnm .ppm .psd .qoi .sgi .tga .tif .tiff .webp .xbm".split()
    )
    left_out = set(Image.registered_extensions()) - extensions()
    assert left_out == set(
        ".bufr .emf .eps .fit .fits .grib .h5 .hdf .iim .mpeg .mpg .palm .pdf .ps .wmf".split()
    )
    write_files(tmp_path, "0.PNG", "1.jp2", "2.tga", "3.Tif", "4.jpg", "5.avif")
    shutil.copy(tmp_path / "4.jpg", tmp_path / "6.jfif")
    shutil.copy(tmp_path / "4.jpg", tmp_path / "7.JPE")
    assert len(Folder(root=str(tmp_path), size=4, val_fraction=0).split("train")) == 7


def test_what_is_left_out_is_counted_in_one_line(tmp_path: Path) -> None:
    write_files(tmp_path, "a.png", ".b.png", ".hidden/c.png")
    for name in ("1.heic", "2.HEIC", "3.heic", "x.txt", "y.csv", "z.json", "README"):
        (tmp_path / name).write_text("no image")
    with pytest.warns(Advice) as caught:
        assert names(tmp_path) == ["a.png"]
    (advice,) = [str(warning.message) for warning in caught]
    assert advice == f"{tmp_path}: left out 3 .heic, 2 hidden, 1 .csv, 1 .json, 2 of other kinds"
    (tmp_path / "a.png").unlink()
    with pytest.raises(PixelarError, match=r"holds no images .*; it has 3 \.heic, 2 hidden"):
        find_images(tmp_path)


def test_other_formats_are_not_read_under_the_name_of_a_picture(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n")
    with pytest.raises(PixelarError, match="it is not an image"):
        Folder(root=str(tmp_path), size=4, val_fraction=0, test_fraction=1).prepare()


def test_links_are_followed_and_every_image_counts_once(tmp_path: Path) -> None:
    root = tmp_path / "root"
    write_files(tmp_path / "store", "ant/0.png", "ant/1.png", "loose.png")
    write_files(root, "bird/0.png", "cat/0.png", "cat/deep/1.png")
    (root / "ant").symlink_to(tmp_path / "store/ant")
    (root / "cat/linked.png").symlink_to(tmp_path / "store/loose.png")
    expected = ["ant/0.png", "ant/1.png", "bird/0.png", "cat/0.png", "cat/deep/1.png"]
    assert names(root) == [*expected, "cat/linked.png"]

    (root / "cat/up").symlink_to(root)  # around itself, directly and by way of others
    (root / "cat/deep/further").symlink_to(tmp_path)
    (root / "bird/self").symlink_to(root / "bird")
    (tmp_path / "store/ant/back").symlink_to(root)
    (root / "aardvark").symlink_to(root / "cat")  # and twice
    (root / "bird/again.png").symlink_to(root / "cat/0.png")
    (root / "zebra").symlink_to(tmp_path / "store/ant")
    with pytest.warns(Advice, match="left out 4 linked twice, 3 linked to a folder around it"):
        assert names(root) == [*expected, "cat/linked.png"]
    with pytest.warns(Advice):
        assert Folder(root=str(root), size=4).classes == ["ant", "bird", "cat"]


def test_links_to_splits_are_followed(tmp_path: Path) -> None:
    write_files(tmp_path / "store", *numbered("a/", 6), *numbered("b/", 2))
    (tmp_path / "root").mkdir()
    (tmp_path / "root/Train").symlink_to(tmp_path / "store/a")
    (tmp_path / "root/Test").symlink_to(tmp_path / "store/b")
    data = Folder(root=str(tmp_path / "root"), size=4)
    assert [len(data.split(split)) for split in SPLITS] == [5, 1, 2]


def test_broken_links_and_pipes_do_not_pass_for_images(tmp_path: Path) -> None:
    write_files(tmp_path, *numbered("", 4))
    os.mkfifo(tmp_path / "pipe.png")  # to open it would wait for ever
    (tmp_path / "nowhere").symlink_to(tmp_path / "missing")
    with pytest.warns(Advice, match="left out 1 neither file nor folder, 1 without extension"):
        find_images(tmp_path)
    (tmp_path / "x.png").symlink_to(tmp_path / "missing.png")
    cannot = pytest.raises(PixelarError, match=r"1 of 5 images cannot be used:\n.*x\.png cannot")
    with cannot, pytest.warns(Advice):
        Folder(root=str(tmp_path), size=4).prepare()


# --- too few --------------------------------------------------------------------------------------


def test_too_few_images_are_a_plain_sentence(tmp_path: Path) -> None:
    for count, noun in ((1, "1 image"), (2, "2 images")):
        root = tmp_path / str(count)
        write_files(root, *numbered("", count))
        with pytest.raises(PixelarError) as caught:
            Folder(root=str(root), size=4).split("train")
        assert str(caught.value) == (
            f"{root} holds {noun}, but 3 are needed, one each for train, test and val; add images, "
            "or set a fraction to 0"
        )
    write_files(tmp_path / "3", *numbered("", 3))
    data = Folder(root=str(tmp_path / "3"), size=4)
    assert [len(data.split(split)) for split in SPLITS] == [1, 1, 1]
    alone = Folder(root=str(tmp_path / "1"), size=4, val_fraction=0, test_fraction=0)
    assert len(alone.split("train")) == 1


def test_too_few_images_in_a_folder_for_training(tmp_path: Path) -> None:
    write_files(tmp_path, "train/0.png", "test/0.png", "test/1.png")
    data = Folder(root=str(tmp_path), size=4)
    assert len(data.split("test")) == 2
    with pytest.raises(PixelarError, match="train holds 1 image, but 2 are needed"):
        data.split("train")


def test_fractions_that_leave_nothing(tmp_path: Path) -> None:
    write_files(tmp_path, *numbered("", 4))
    arguments: dict[str, Any] = {"val_fraction": 0.45, "test_fraction": 0.45}
    with pytest.raises(PixelarError, match=r"4 images, of which val_fraction 0\.45 and test_fract"):
        Folder(root=str(tmp_path), size=4, **arguments).split("train")


CONFIG = """
model:
  net: {{class_path: ImageGPT, init_args: {{width: 16, depth: 1, heads: 2}}}}
  head: {{class_path: Categorical}}
  quantizer: {{class_path: Identity, init_args: {{levels: 256}}}}
  scan: raster
data:
  dataset: {{class_path: Folder, init_args: {{root: {root}, size: 4, channels: 1}}}}
trainer: {{max_steps: 2}}
"""


def test_fit_of_one_image_says_what_is_needed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_files(tmp_path / "pictures", "0.png")
    (tmp_path / "notes.txt").write_text("")
    config = tmp_path / "a.yaml"
    config.write_text(CONFIG.format(root=tmp_path / "pictures"))
    assert main(["fit", "-c", str(config), "--run", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert "holds 1 image, but 3 are needed" in error and "0 to 0" not in error
    assert not re.search(r"\b1 images\b", error)


def test_evaluate_takes_splits_by_any_of_their_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, count in (("Training", 2), ("TESTING", 3)):
        for i in range(count):
            save(noise(8, 8, seed=i) // 128 * 255, tmp_path / "pictures" / name / f"{i}.png")
    (tmp_path / "pictures/notes.txt").write_text("")
    words = ["evaluate", "digits-imagegpt", "-d", str(tmp_path / "pictures"), "--fit"]
    assert main([*words, "-o", str(tmp_path / "e")]) == 0
    printed = capsys.readouterr()
    assert "3" in printed.out + printed.err and "left out 1 .txt" in printed.err
    table = next((tmp_path / "e").rglob("*.csv")).read_text()
    assert table.count("TESTING/") == 3 and "Training" not in table
    assert torch.is_grad_enabled()
