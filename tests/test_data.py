"""Datasets, image files, and the order in which images are seen."""

import json
import pickle
import struct
import zlib
from collections.abc import Callable, Iterable
from io import BytesIO
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser
from lightning.pytorch.callbacks import ModelCheckpoint
from PIL import Image
from sklearn.datasets import load_digits, load_sample_image
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import datasets as torchvision_datasets

from pixelar.data import DATASETS, MNIST, Digits, Folder, ImageData, ImageSet, Photos, holdout
from pixelar.data.base import SPLITS, collate
from pixelar.data.images import MAX_PIXELS, find_images, fit, open_image, read_image, to_tensor
from pixelar.data.module import PixelData
from pixelar.data.photos import BANDS
from pixelar.data.sampling import ShardSampler, StepSampler
from pixelar.errors import PixelarError
from pixelar.seeds import mix

SHARED = Path(__file__).parents[2] / "shared" / "data"


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    """Random 8-bit values."""
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def save(pixels: np.ndarray, path: Path) -> None:
    """Writes pixels with shape (H, W) or (H, W, 3) as an image file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


# --- tiny sources in the real formats ---------------------------------------------------------


def write_mnist(folder: Path, train: int = 20, test: int = 10) -> None:
    """Writes idx files of random images below `folder`/raw."""
    (folder / "raw").mkdir(parents=True)
    for part, n in (("train", train), ("t10k", test)):
        images, labels = noise(n, 28, 28, seed=n), np.arange(n, dtype=np.uint8) % 10
        header = struct.pack(">4I", 0x803, n, 28, 28)
        (folder / "raw" / f"{part}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        header = struct.pack(">2I", 0x801, n)
        (folder / "raw" / f"{part}-labels-idx1-ubyte").write_bytes(header + labels.tobytes())


def write_cifar10(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes CIFAR-10's pickles with 4 images each, and lets torchvision skip their MD5 sums."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    cifar10 = torchvision_datasets.CIFAR10
    for part in ("train_list", "test_list"):
        files = [name for name, _ in getattr(cifar10, part)]
        monkeypatch.setattr(cifar10, part, [[name, None] for name in files])
        for seed, name in enumerate(files):
            batch = {"data": noise(4, 3072, seed=seed), "labels": [3, 1, 0, 9]}
            (folder / name).write_bytes(pickle.dumps(batch))
    monkeypatch.setattr(cifar10, "meta", {**cifar10.meta, "md5": None})
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}))


def build_mnist(name: str, root: Path) -> ImageData:
    write_mnist(root / {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}[name])
    return DATASETS[name](root=str(root), val_images=5)


def build_cifar10(root: Path, monkeypatch: pytest.MonkeyPatch) -> ImageData:
    write_cifar10(root, monkeypatch)
    return DATASETS["cifar10"](root=str(root), val_images=5)


def build_folder(root: Path) -> ImageData:
    for i in range(20):
        save(noise(6, 5, 3, seed=i), root / ("cat" if i % 2 else "dog") / f"{i}.png")
    return Folder(root=str(root), size=4)


ZOO: dict[str, Callable[[Path, pytest.MonkeyPatch], ImageData]] = {
    "digits": lambda root, patch: Digits(),
    "photos": lambda root, patch: Photos(size=8, train_images=40, val_images=10, test_images=10),
    "mnist": lambda root, patch: build_mnist("mnist", root),
    "fashion_mnist": lambda root, patch: build_mnist("fashion_mnist", root),
    "cifar10": build_cifar10,
    "folder": lambda root, patch: build_folder(root),
}


def test_zoo_covers_datasets() -> None:
    assert set(ZOO) == set(DATASETS)


@pytest.fixture(params=ZOO)
def data(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> ImageData:
    return ZOO[request.param](tmp_path, monkeypatch)


# --- every dataset ----------------------------------------------------------------------------


def test_contract_of_dataset(data: ImageData) -> None:
    assert DATASETS[data.name] is type(data)
    names: list[str] = []
    for split in SPLITS:
        images = data.split(split)
        assert len(images) > 0
        assert images.images.dtype == torch.uint8
        assert images.images.shape == (len(images), *data.shape)
        names += images.names
        if data.classes is None:
            assert images.labels is None
        else:
            assert images.labels is not None and images.labels.dtype == torch.int64
            assert 0 <= images.labels.min() and images.labels.max() < len(data.classes)
    assert len(set(names)) == len(names)


def test_same_arguments_same_images(data: ImageData) -> None:
    arguments = {key: value for key, value in data.describe().items() if hasattr(data, key)}
    for key in ("name", "shape", "preprocessing"):
        del arguments[key]
    again, other = type(data)(**arguments), type(data)(**{**arguments, "seed": 1})
    for split in SPLITS:
        assert again.split(split).fingerprint() == data.split(split).fingerprint()
        assert again.split(split).names == data.split(split).names
    assert other.split("train").fingerprint() != data.split("train").fingerprint()


def test_description_is_plain(data: ImageData) -> None:
    description = json.loads(json.dumps(data.describe()))
    assert description["name"] == data.name
    assert description["shape"] == list(data.shape)
    assert description["seed"] == 0


def test_unknown_split_is_refused() -> None:
    with pytest.raises(PixelarError, match=r"split: unknown 'tset'; did you mean 'test'\? Known"):
        Digits().split("tset")  # type: ignore[arg-type]


@pytest.mark.parametrize("workers", [0, 1])
def test_data_loader_transports_batches(workers: int) -> None:
    images = torch.arange(5, dtype=torch.uint8)[:, None, None, None].expand(5, 1, 2, 2)
    labels = torch.tensor([4, 3, 2, 1, 0])
    for y in (labels, None):
        data = ImageSet(images, y, list("abcde"))
        loader = DataLoader(data, batch_size=2, num_workers=workers, collate_fn=collate)
        batches = list(loader)
        assert torch.equal(torch.cat([batch[0] for batch in batches]), images)
        if y is None:
            assert all(batch[1] is None for batch in batches)
        else:
            assert torch.equal(torch.cat([batch[1] for batch in batches]), labels)


def test_image_set_parts_and_fingerprint() -> None:
    pixels = torch.from_numpy(noise(4, 1, 2, 2))
    data = ImageSet(pixels, torch.tensor([3, 2, 1, 0]), list("abcd"))
    part = data.subset([2, 0])
    assert torch.equal(part.images, pixels[[2, 0]]) and part.names == ["c", "a"]
    image, label = part[0]
    assert torch.equal(image, pixels[2]) and label == 1
    assert data.first(2).names == ["a", "b"] and len(data.first(9)) == 4
    with pytest.raises(PixelarError, match="limit: at least 1 image is needed; got 0"):
        data.first(0)
    others = [
        ImageSet(pixels, None, data.names),
        ImageSet(pixels, torch.tensor([3, 2, 1, 1]), data.names),
        ImageSet(pixels.view(4, 1, 1, 4), data.labels, data.names),
        ImageSet(pixels ^ 1, data.labels, data.names),
    ]
    assert len({data.fingerprint(), *(other.fingerprint() for other in others)}) == 5


def test_holdout() -> None:
    rest, held = holdout(10, 3, seed=0)
    assert len(held) == 3 and sorted([*rest.tolist(), *held.tolist()]) == list(range(10))
    assert torch.equal(holdout(10, 3, seed=0)[1], held)
    assert len({tuple(holdout(10, 3, seed=s)[1].tolist()) for s in range(5)}) > 1
    with pytest.raises(PixelarError, match="11 images are to be held out of 10; choose a number"):
        holdout(10, 11, seed=0)


# --- each dataset -----------------------------------------------------------------------------


def test_digits_lose_nothing() -> None:
    data = Digits()
    source = torch.from_numpy(load_digits().images)
    assert [len(data.split(split)) for split in SPLITS] == [1337, 100, 360]
    for split in SPLITS:
        images = data.split(split)
        rows = [int(name.removeprefix("digits/")) for name in images.names]
        pixels = images.images[:, 0].double()
        assert torch.equal(pixels, (source[rows] * 255 / 16).round())
        assert torch.equal((pixels * 16 / 255).round(), source[rows])


def test_photos_bands_share_no_pixel() -> None:
    size = 24
    data = Photos(size=size, train_images=300, val_images=200, test_images=200)
    seen = torch.zeros(len(SPLITS), 640, dtype=torch.bool)
    for i, split in enumerate(SPLITS):
        for name in data.split(split).names:
            left = int(name.split(",")[1])
            seen[i, left : left + size] = True
    assert seen.any(1).all() and seen.sum(0).max() == 1
    assert seen.sum(1).tolist() == [right - left for left, right in BANDS.values()]


def test_photos_patches_are_where_their_names_say() -> None:
    patches = Photos(size=8, train_images=20).split("train")
    for name, patch in zip(patches.names, patches.images, strict=True):
        file, place = name.split("/")
        i, j = map(int, place.split(","))
        expected = load_sample_image(file)[i : i + 8, j : j + 8].transpose(2, 0, 1)
        assert torch.equal(patch, torch.tensor(expected))


def test_photos_messages() -> None:
    with pytest.raises(PixelarError, match="side of a patch, from 1 to 96; got 97"):
        Photos(size=97)
    with pytest.raises(PixelarError, match=r"800 patches of size 96 .* 544 to 640, which have 664"):
        Photos(size=96, test_images=800).split("test")


def test_torchvision_sets_keep_pixels_and_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mnist = build_mnist("mnist", tmp_path)
    test = mnist.split("test")
    assert torch.equal(test.images[:, 0], torch.from_numpy(noise(10, 28, 28, seed=10)))
    assert test.labels is not None and test.labels.tolist() == list(range(10))
    cifar10 = build_cifar10(tmp_path, monkeypatch)
    test = cifar10.split("test")
    assert torch.equal(test.images, torch.from_numpy(noise(4, 3072)).view(4, 3, 32, 32))
    assert test.labels is not None and test.labels.tolist() == [3, 1, 0, 9]


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("mnist", "MNIST/raw"),
        ("fashion_mnist", "FashionMNIST/raw"),
        ("cifar10", "cifar-10-batches-py"),
    ],
)
def test_missing_files_are_named(name: str, folder: str, tmp_path: Path) -> None:
    with pytest.raises(PixelarError) as caught:
        DATASETS[name](root=str(tmp_path)).split("train")
    assert str(caught.value) == (
        f"{name}: there is no complete copy in {tmp_path}/{folder}; "
        "pass download: true (or --download) to fetch it"
    )


@pytest.mark.parametrize("length", [0, 3, 10, 1000])
@pytest.mark.parametrize("first", [b"", b"PK\3\4"])
def test_damaged_mnist_is_refused(length: int, first: bytes, tmp_path: Path) -> None:
    data = build_mnist("mnist", tmp_path)
    file = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    file.write_bytes((first + file.read_bytes())[:length])
    with pytest.raises(PixelarError, match=r"no complete copy in .*MNIST/raw"):
        data.split("train")


def test_failed_download_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = (tmp_path / "nowhere").as_uri() + "/"
    monkeypatch.setattr(torchvision_datasets.MNIST, "mirrors", [nowhere])
    with pytest.raises(
        PixelarError, match=r"mnist: the download to .*MNIST/raw failed: "
    ) as caught:
        MNIST(root=str(tmp_path), download=True).split("train")
    assert "\n" not in str(caught.value)


def shared(folder: str) -> Path:
    """Returns a folder of the shared images, or skips the test where it is missing."""
    if not (SHARED / folder).is_dir():
        pytest.skip(f"{SHARED / folder} is not there")
    return SHARED / folder


@pytest.mark.shared_data
def test_real_mnist() -> None:
    data = MNIST(root=str(shared("MNIST").parent))
    assert [len(data.split(split)) for split in SPLITS] == [55000, 5000, 10000]
    test = data.split("test")
    assert test.labels is not None and test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    everything = torch.cat((data.split("train").images, data.split("val").images))
    assert everything.double().mean() / 255 == pytest.approx(0.1307, abs=5e-5)


@pytest.mark.shared_data
def test_real_folder_with_splits_and_classes(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for label in ("bird", "ship"):
            (tmp_path / split / label).mkdir(parents=True)
            for file in sorted((shared("cifar10-subset") / split / label).iterdir())[:20]:
                (tmp_path / split / label / file.name).symlink_to(file)
    data = Folder(root=str(tmp_path), resize=False)
    assert data.classes == ["bird", "ship"]
    assert [len(data.split(split)) for split in SPLITS] == [36, 4, 40]


# --- folders ----------------------------------------------------------------------------------


def write_files(root: Path, *names: str) -> None:
    for i, name in enumerate(names):
        save(noise(4, 4, 3, seed=i), root / name)


def numbered(folder: str, n: int) -> list[str]:
    return [f"{folder}{i}.png" for i in range(n)]


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
    found = [path.relative_to(tmp_path).as_posix() for path in find_images(tmp_path)]
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
    with pytest.raises(PixelarError, match=r"has a folder train, .* and 1 more are elsewhere"):
        Folder(root=str(tmp_path))


# --- image files ------------------------------------------------------------------------------

GREY = np.array([[0, 100, 255]], dtype=np.uint8)
RGB = np.array([[[255, 0, 0], [0, 128, 255]]], dtype=np.uint8)


def pixels_of(path: Path, channels: int = 3, **options: tuple[int, int, int]) -> list[Any]:
    """Returns the pixels of a file as nested lists, (H, W) or (H, W, 3)."""
    pixels = to_tensor(open_image(path), channels, **options)
    return (pixels[0] if channels == 1 else pixels.permute(1, 2, 0)).tolist()


def test_grey_and_colour(tmp_path: Path) -> None:
    save(GREY, tmp_path / "grey.png")
    save(RGB, tmp_path / "colour.png")
    assert pixels_of(tmp_path / "grey.png", 1) == GREY.tolist()
    assert pixels_of(tmp_path / "grey.png", 3) == GREY[..., None].repeat(3, -1).tolist()
    assert pixels_of(tmp_path / "colour.png", 3) == RGB.tolist()
    assert pixels_of(tmp_path / "colour.png", 1) == [[76, 104]]
    with pytest.raises(PixelarError, match="with 1 or 3 channels; got 2"):
        pixels_of(tmp_path / "grey.png", 2)


def test_one_bit(tmp_path: Path) -> None:
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "a.png")
    assert pixels_of(tmp_path / "a.png", 1) == [[255, 0]]


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_sixteen_bit_grey_is_scaled(suffix: str, tmp_path: Path) -> None:
    values = np.array([[0, 257, 25700, 32768, 65535]], dtype=np.uint16)
    path = tmp_path / f"a.{suffix}"
    if suffix == "pgm":
        path.write_bytes(b"P5 5 1 65535\n" + values.astype(">u2").tobytes())
    else:
        Image.fromarray(values).save(path)
    assert pixels_of(path, 1) == [[0, 1, 100, 128, 255]]


def test_unknown_range_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0.0, 1.5]], dtype=np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(PixelarError, match="32 bits per value and no known range; save it with 8"):
        open_image(tmp_path / "a.tif")


def test_alpha_is_composited(tmp_path: Path) -> None:
    rgba = np.array([[[200, 100, 0, 255], [200, 100, 0, 0], [200, 100, 0, 51]]], dtype=np.uint8)
    Image.fromarray(rgba).save(tmp_path / "rgba.png")
    assert pixels_of(tmp_path / "rgba.png", background=(0, 0, 255)) == [
        [[200, 100, 0], [0, 0, 255], [40, 20, 204]]
    ]
    grey = np.array([[[100, 255], [100, 0], [100, 51]]], dtype=np.uint8)
    Image.fromarray(grey).save(tmp_path / "la.png")
    assert open_image(tmp_path / "la.png").mode == "RGBA"
    assert pixels_of(tmp_path / "la.png", 1) == [[100, 255, 224]]


def test_palette(tmp_path: Path) -> None:
    image = Image.frombytes("P", (3, 1), bytes([0, 1, 2]))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.save(tmp_path / "opaque.png")
    assert pixels_of(tmp_path / "opaque.png") == [[[255, 0, 0], [0, 255, 0], [0, 0, 255]]]
    image.save(tmp_path / "transparent.png", transparency=bytes([255, 0, 255]))
    assert pixels_of(tmp_path / "transparent.png", background=(9, 8, 7)) == [
        [[255, 0, 0], [9, 8, 7], [0, 0, 255]]
    ]


def test_cmyk(tmp_path: Path) -> None:
    cmyk = np.array([[[0, 255, 255, 0], [0, 0, 0, 255]]], dtype=np.uint8)
    Image.frombytes("CMYK", (2, 1), cmyk.tobytes()).save(tmp_path / "a.tif")
    assert pixels_of(tmp_path / "a.tif") == [[[255, 0, 0], [0, 0, 0]]]


def test_exif_rotation(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    Image.fromarray(RGB).save(tmp_path / "a.png", exif=exif)
    assert pixels_of(tmp_path / "a.png") == [[RGB[0, 0].tolist()], [RGB[0, 1].tolist()]]


def test_first_frame_of_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (2, 1), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert pixels_of(tmp_path / "a.gif") == [[[255, 0, 0], [255, 0, 0]]]


def test_one_pixel_is_enlarged(tmp_path: Path) -> None:
    save(RGB[:, :1], tmp_path / "a.png")
    image = read_image(tmp_path / "a.png", (3, 2, 3), resize=True)
    assert torch.equal(image, torch.tensor([255, 0, 0]).view(3, 1, 1).expand(3, 2, 3))


def test_fit_covers_and_crops() -> None:
    wide = np.zeros((40, 120), dtype=np.uint8)
    wide[:, 20:100] = 200  # the crop, columns 40 to 80, and what the filter reaches around it
    assert (np.asarray(fit(Image.fromarray(wide), (10, 10))) == 200).all()
    same = noise(5, 7, 3)
    assert (np.asarray(fit(Image.fromarray(same), (5, 7))) == same).all()
    checks = np.indices((64, 64)).sum(0) % 2 * np.uint8(255)
    shrunk = np.asarray(fit(Image.fromarray(checks.astype(np.uint8)), (8, 8)))
    assert abs(shrunk.astype(int) - 127).max() <= 8  # antialiased: neither black nor white


def test_wrong_size_is_refused(tmp_path: Path) -> None:
    save(noise(4, 6, 3), tmp_path / "a.png")
    with pytest.raises(PixelarError) as caught:
        read_image(tmp_path / "a.png", (3, 28, 27), resize=False)
    assert str(caught.value) == (
        f"{tmp_path}/a.png is 6×4, not 27×28: pass resize: true (or --fit) to resize and crop it"
    )


def png_claiming(width: int, height: int) -> bytes:
    """Returns a PNG of a few bytes whose header claims a size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        crc = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)

    header = struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(b"\0" * 100))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


def encoded(suffix: str) -> bytes:
    """Returns the bytes of a good image file."""
    file = BytesIO()
    Image.fromarray(noise(40, 40, 3)).save(file, suffix)
    return file.getvalue()


UNREADABLE: dict[str, tuple[bytes, str]] = {
    "empty.png": (b"", "it is empty"),
    "text.png": (b"<html>not found</html>", "it is not an image"),
    "truncated.png": (encoded("PNG")[:2000], "truncated"),
    "truncated.jpg": (encoded("JPEG")[:1000], "truncated"),
    "flipped.png": (encoded("PNG")[:60] + b"\0\0\0" + encoded("PNG")[63:], ""),
    "above_our_limit.png": (png_claiming(MAX_PIXELS + 1, 1), "it has more than 64,000,000 pixels"),
    "above_warning.png": (png_claiming(10_000, 10_000), "it has more than 64,000,000 pixels"),
    "above_error.png": (png_claiming(100_000, 100_000), "it has more than 64,000,000 pixels"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_unreadable_files_are_named(name: str, tmp_path: Path) -> None:
    content, reason = UNREADABLE[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(PixelarError, match=rf"{name} cannot be read: .*{reason}"):
        open_image(tmp_path / name)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PixelarError, match=r"a\.png cannot be read: no such file or directory"):
        open_image(tmp_path / "a.png")


# --- sampling ---------------------------------------------------------------------------------


def test_mix() -> None:
    seeds = {mix(a, b) for a in range(30) for b in range(30)} | {mix(a) for a in range(30)}
    assert len(seeds) == 930 and all(0 <= seed < 2**63 for seed in seeds)
    assert mix(0, 1) == 1506311409109703068


def flat(parts: Iterable[list[int]]) -> list[int]:
    return list(chain.from_iterable(parts))


def steps(start: int = 0, **options: int) -> list[list[int]]:
    arguments = {"n": 23, "batch_size": 4, "total": 17, "seed": 0, **options}
    return list(StepSampler(**arguments, start=start))


def test_batches_are_a_function_of_seed_and_number() -> None:
    run = steps()
    assert len(run) == 17 and steps() == run and steps(seed=1) != run
    assert steps(total=40)[:17] == run
    for start in range(18):
        assert steps(start) == run[start:]


def test_epochs_repeat_no_image_and_differ() -> None:
    run = steps()  # 5 batches an epoch
    epochs = [flat(run[i : i + 5]) for i in range(0, 15, 5)]
    for epoch in epochs:
        assert len(set(epoch)) == 20 and all(0 <= i < 23 for i in epoch)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_ranks_share_the_batches_of_one_process() -> None:
    whole = steps(batch_size=6, total=9)
    parts = [steps(batch_size=2, total=9, rank=rank, world=3) for rank in range(3)]
    assert [flat(batch) for batch in zip(*parts, strict=True)] == whole


def test_too_few_images_for_a_batch() -> None:
    with pytest.raises(
        PixelarError,
        match=r"8 images on each of 3 processes, .* only 23 .* batch_size of at most 7",
    ):
        steps(batch_size=8, world=3)


@pytest.mark.parametrize(("n", "world"), [(10, 1), (10, 3), (2, 4)])
def test_shards_are_everything_once(n: int, world: int) -> None:
    shards = [list(ShardSampler(n, rank, world)) for rank in range(world)]
    assert sorted(flat(shards)) == list(range(n))
    assert [len(ShardSampler(n, rank, world)) for rank in range(world)] == list(map(len, shards))


# --- the data module --------------------------------------------------------------------------


class Recorder(L.LightningModule):
    """Keeps the sums of the images it is trained on, and fails at batch `fail_at`."""

    def __init__(self, fail_at: int | None = None) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.fail_at, self.seen = fail_at, dict[int, list[int]]()

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        if batch_idx == self.fail_at:
            raise KeyboardInterrupt
        self.seen[batch_idx] = batch[0].flatten(1).sum(1).tolist()
        return self.weight * 1.0

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1.0)


def trainer(**options: bool | int | list[L.Callback]) -> L.Trainer:
    return L.Trainer(
        max_epochs=1,
        accelerator="cpu",
        use_distributed_sampler=False,
        check_val_every_n_epoch=None,
        limit_val_batches=0,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **{"max_steps": 12, "accumulate_grad_batches": 2, "enable_checkpointing": False, **options},
    )


def small() -> PixelData:
    return PixelData(Digits(test_images=1700, val_images=50), batch_size=10)  # 4 batches an epoch


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("saving", "fail_at"),
    [({"every_n_train_steps": 5}, 12), ({"every_n_epochs": 9, "save_on_exception": True}, 10)],
    ids=["after a step", "as a batch fails"],
)
def test_resumed_training_goes_on_with_the_next_batch(
    saving: dict[str, Any], fail_at: int, tmp_path: Path
) -> None:
    whole, first, second = Recorder(), Recorder(fail_at), Recorder()
    trainer().fit(whole, small())
    assert sorted(whole.seen) == list(range(24))
    callback = ModelCheckpoint(tmp_path, **saving)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        trainer(enable_checkpointing=True, callbacks=[callback]).fit(first, small())
    (checkpoint,) = tmp_path.glob("*.ckpt")
    trainer().fit(second, small(), ckpt_path=str(checkpoint))
    assert first.seen == {k: whole.seen[k] for k in range(fail_at)}
    assert second.seen == {k: whole.seen[k] for k in range(10, 24)}


@pytest.mark.filterwarnings("ignore")
def test_training_is_counted_in_steps() -> None:
    with pytest.raises(PixelarError, match="give the trainer max_steps of at least 1"):
        trainer(max_steps=-1).fit(Recorder(), small())


def test_evaluation_loaders_need_no_trainer() -> None:
    data = PixelData(Digits(), batch_size=7, eval_batch_size=64)
    assert data.shape == (1, 8, 8) and data.classes == tuple("0123456789")
    for loader, split in ((data.val_dataloader(), "val"), (data.test_dataloader(), "test")):
        batches = list(loader)
        assert {len(images) for images, _ in batches[:-1]} == {64}
        images = torch.cat([images for images, _ in batches])
        assert torch.equal(images, data.dataset.split(split).images)  # type: ignore[arg-type]


def test_loaders_take_the_share_of_their_process() -> None:
    parts = []
    for rank in range(2):
        data = small()
        data.trainer = SimpleNamespace(  # type: ignore[assignment]
            global_rank=rank, world_size=2, max_steps=3, accumulate_grad_batches=2
        )
        expected = StepSampler(47, 10, total=6, seed=0, rank=rank, world=2)
        assert list(data.train_dataloader().batch_sampler) == list(expected)
        parts.append(flat(data.val_dataloader().batch_sampler))
    assert parts == [list(range(0, 50, 2)), list(range(1, 50, 2))]


def test_batch_sizes_are_checked() -> None:
    with pytest.raises(PixelarError, match="eval_batch_size are at least 1; got 4 and 0"):
        PixelData(Digits(), batch_size=4, eval_batch_size=0)


def test_configs_build_datasets(tmp_path: Path) -> None:
    write_files(tmp_path, *numbered("", 20))
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(PixelData, "data")
    for name, arguments in (
        ("Digits", {"test_images": 300}),
        ("Folder", {"root": str(tmp_path), "size": 4, "background": [1, 2, 3]}),
    ):
        dataset = {"class_path": name, "init_args": arguments}
        config = parser.parse_object({"data": {"dataset": dataset, "batch_size": 5}})
        data = parser.instantiate(config).data
        assert isinstance(data, PixelData) and type(data.dataset).__name__ == name
        assert len(next(iter(data.val_dataloader()))[0]) <= 5
