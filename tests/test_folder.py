"""A folder of images becomes a data set, whatever its layout."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fixtures import noise, numbered, save, write_files
from PIL import Image

from pixelar.data import Folder
from pixelar.data.base import SPLITS
from pixelar.data.images import read_image
from pixelar.data.listing import find_images
from pixelar.errors import Advice, PixelarError
from pixelar.training.data_module import PixelData

LAYOUTS = {  # files, sizes of the splits, classes
    "flat": (numbered("", 20), [16, 2, 2], None),
    "classes": (numbered("a/", 10) + numbered("b/", 10), [16, 2, 2], ["a", "b"]),
    "train and test": (numbered("train/", 20) + numbered("test/", 3), [18, 2, 3], None),
    "train and val": (numbered("train/", 20) + numbered("val/", 3), [18, 3, 2], None),
    "all and classes": (
        [*numbered("train/a/", 5), "val/b/x/0.png", "test/c/0.png"],
        [5, 1, 1],
        ["a", "b", "c"],
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_folder_layouts(layout: str, tmp_path: Path) -> None:
    files, sizes, classes = LAYOUTS[layout]
    write_files(tmp_path, *files)
    data = Folder(root=str(tmp_path), size=4)
    assert data.classes == classes
    assert [len(data.split(split)) for split in SPLITS] == sizes
    for split in SPLITS:
        images = data.split(split)
        for i, name in enumerate(images.names):
            assert torch.equal(
                images.images[i], read_image(tmp_path / name, (3, 4, 4), resize=False)
            )
            if classes is not None:
                assert images.labels is not None
                assert classes[images.labels[i]] in Path(name).parts
            if (tmp_path / split).is_dir():
                assert name.startswith(split)


def test_folder_of_test_images_alone(tmp_path: Path) -> None:
    write_files(tmp_path, "test/0.png", "test/1.png")
    data = Folder(root=str(tmp_path), size=4)
    assert len(data.split("test")) == 2
    with pytest.raises(
        PixelarError,
        match=r"folder has no images to use as train \(it has train 0, val 0, test 2\)",
    ):
        data.split("train")


def test_folder_takes_what_are_images(tmp_path: Path) -> None:
    write_files(tmp_path, "b.PNG", "A.jpeg", "c/d.WebP", ".hidden.png", ".cache/e.png")
    (tmp_path / "notes.txt").write_text("not an image")
    with pytest.warns(Advice, match=r"left out 2 hidden, 1 \.txt$"):
        images = find_images(tmp_path)
    found = [path.relative_to(tmp_path).as_posix() for path in images]
    assert found == ["A.jpeg", "b.PNG", "c/d.WebP"]


def test_folder_size_of_first_image(tmp_path: Path) -> None:
    save(noise(3, 5, 3), tmp_path / "a.png")
    data = Folder(root=str(tmp_path), size=None, resize=False, test_fraction=1, val_fraction=0)
    assert data.shape == (3, 3, 5)
    expected = torch.from_numpy(noise(3, 5, 3)).permute(2, 0, 1)
    assert torch.equal(data.split("test").images[0], expected)


def test_folder_resizes_and_composites(tmp_path: Path) -> None:
    pixels = np.zeros((4, 8, 4), dtype=np.uint8)
    pixels[:, 2:6] = (200, 100, 50, 255)  # the centre is opaque, the sides are transparent
    Image.fromarray(pixels).save(tmp_path / "a.png")
    arguments: dict[str, Any] = {"root": str(tmp_path), "test_fraction": 1, "val_fraction": 0}
    image = Folder(size=2, **arguments).split("test").images[0]
    assert image[:, 0, 0].tolist() == image[:, 1, 1].tolist()
    square = Image.fromarray(np.full((2, 2, 4), 0, dtype=np.uint8))
    square.save(tmp_path / "a.png")
    image = Folder(size=2, background=(1, 2, 3), **arguments).split("test").images[0]
    assert image[:, 0, 0].tolist() == [1, 2, 3]


def test_folder_reports_all_unusable_files_at_once(tmp_path: Path) -> None:
    write_files(tmp_path, *numbered("", 3))
    for i in range(6):
        (tmp_path / f"bad{i}.png").write_bytes(b"")
    save(noise(5, 4, 3), tmp_path / "a.png")
    with pytest.raises(PixelarError) as caught:
        Folder(root=str(tmp_path), size=4, resize=False).split("train")
    lines = str(caught.value).split("\n")
    assert lines[0] == "7 of 10 images cannot be used:"
    assert len(lines) == 7 and lines[-1] == "  and 2 more"
    assert all(line.startswith(f"  {tmp_path}/") for line in lines[1:-1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"val_fraction": 0.6, "test_fraction": 0.5}, "add up to 1 at most; got 0.6 and 0.5"),
        ({"val_fraction": -0.1}, "got -0.1 and 0.1"),
        ({"channels": 4}, r"channels is 1 \(grey\) or 3 \(RGB\); got 4"),
        ({"background": (0, 0, 256)}, r"three values from 0 to 255; got \(0, 0, 256\)"),
        ({"size": None}, "size: null takes images as they are, so it needs resize: false"),
        ({"size": 0}, "the side of an image, at least 1; got 0"),
    ],
)
def test_folder_arguments(arguments: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(PixelarError, match=message):
        Folder(root=str(tmp_path), **arguments)


def test_folder_messages(tmp_path: Path) -> None:
    with pytest.raises(PixelarError, match="nowhere is not a folder"):
        Folder(root=str(tmp_path / "nowhere"))
    with pytest.raises(PixelarError, match=r"holds no images \(.png, .jpg"):
        Folder(root=str(tmp_path))
    write_files(tmp_path, "a/0.png", "1.png")
    with pytest.raises(PixelarError, match=r"in class folders; 1 of 2 do not, such as .*1\.png"):
        Folder(root=str(tmp_path))
    write_files(tmp_path, "train/0.png")
    with pytest.raises(PixelarError, match=r"folders \(train\), .*move .*1\.png and 1 more there"):
        Folder(root=str(tmp_path))


# --- the cache --------------------------------------------------------------------------------


def test_a_cache_is_read_in_place_of_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(tmp_path / "images", *numbered("", 12))
    root, cache = str(tmp_path / "images"), tmp_path / "made" / "images.npy"
    expected = Folder(root=root, size=4)
    first = Folder(root=root, size=4, cache=str(cache))
    for split in SPLITS:
        assert first.split(split).fingerprint() == expected.split(split).fingerprint()
    assert sorted(path.name for path in cache.parent.iterdir()) == ["images.json", "images.npy"]
    before = cache.read_bytes()
    first.split("train").images.zero_()  # a copy of the pages, not the file
    assert cache.read_bytes() == before

    read = []
    monkeypatch.setattr(
        "pixelar.data.folder.read_image",
        lambda *a, **k: read.append(a) or read_image(*a, **k),  # type: ignore[func-returns-value]
    )
    again = Folder(root=root, size=4, cache=str(cache))
    for split in SPLITS:
        assert again.split(split).fingerprint() == expected.split(split).fingerprint()
    assert not read
    batch, _ = next(iter(PixelData(again, eval_batch_size=1).test_dataloader()))
    assert torch.equal(batch, expected.split("test").images[:1])


@pytest.mark.parametrize("change", ["file", "size", "another", "torn", "not ours"])
def test_a_cache_is_made_anew_where_it_is_old(change: str, tmp_path: Path) -> None:
    write_files(tmp_path / "images", *numbered("", 4))
    arguments: dict[str, Any] = {"root": str(tmp_path / "images"), "size": 4}
    cache = tmp_path / "images.npy"
    Folder(**arguments, cache=str(cache)).prepare()
    if change == "file":
        save(noise(4, 4, 3, seed=9), tmp_path / "images" / "0.png")
    elif change == "size":
        arguments["size"] = 3
    elif change == "another":
        save(noise(4, 4, 3, seed=9), tmp_path / "images" / "9.png")
    elif change == "torn":
        cache.unlink()
    else:
        cache.with_suffix(".json").write_text("{")
    made = Folder(**arguments, cache=str(cache)).split("train")
    assert made.fingerprint() == Folder(**arguments).split("train").fingerprint()


def test_a_cache_of_images_that_cannot_be_used_is_not_left_behind(tmp_path: Path) -> None:
    write_files(tmp_path / "images", "0.png")
    (tmp_path / "images" / "1.png").write_text("no image")
    with pytest.raises(PixelarError, match="1 of 2 images cannot be used"):
        Folder(root=str(tmp_path / "images"), cache=str(tmp_path / "x.npy")).prepare()
    assert [path.name for path in tmp_path.iterdir()] == ["images"]
    with pytest.raises(PixelarError, match=r"cache: the file's name ends with \.npy; got x"):
        Folder(root=str(tmp_path / "images"), cache="x").prepare()
