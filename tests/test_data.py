"""Datasets, image files, and the order in which images are read."""

import json
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from fixtures import noise, save, write_mnist
from sklearn.datasets import load_digits, load_sample_image
from torch.utils.data import DataLoader
from torchvision import datasets as torchvision_datasets

from pixelar.data import DATASETS, MNIST, Digits, Folder, ImageData, ImageSet, Photos, holdout
from pixelar.data.base import SPLITS, collate
from pixelar.data.photos import BANDS
from pixelar.errors import PixelarError
from pixelar.training.data_module import PixelData

SHARED = Path(__file__).parents[2] / "shared" / "data"


# --- tiny sources in the real formats ---------------------------------------------------------


def write_cifar10(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes CIFAR-10's pickles with 4 images each, and makes torchvision skip their MD5 sums."""
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


def data_set(name: str, **options: Any) -> ImageData:  # noqa: ANN401
    """Returns a data set by its name."""
    kind: Callable[..., ImageData] = DATASETS[name]
    return kind(**options)


def build_mnist(name: str, root: Path) -> ImageData:
    write_mnist(root / {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}[name])
    return data_set(name, root=str(root), val_images=5)


def build_cifar10(root: Path, monkeypatch: pytest.MonkeyPatch) -> ImageData:
    write_cifar10(root, monkeypatch)
    return data_set("cifar10", root=str(root), val_images=5)


def build_folder(root: Path) -> ImageData:
    for i in range(20):
        save(noise(6, 5, 3, seed=i), root / ("cat" if i % 2 else "dog") / f"{i}.png")
    return Folder(root=str(root), size=4)


def build_arrays(root: Path) -> ImageData:
    root.mkdir(parents=True, exist_ok=True)
    images = np.random.default_rng(0).integers(0, 40000, (20, 5, 6, 4)).astype(np.uint16)
    np.savez(root / "scans.npz", images=images, labels=np.arange(20) % 3)
    return data_set("arrays", path=str(root / "scans.npz"), layout="NHWC", val=0.25)


ZOO: dict[str, Callable[[Path, pytest.MonkeyPatch], ImageData]] = {
    "digits": lambda root, patch: Digits(),
    "photos": lambda root, patch: Photos(size=8, train_images=40, val_images=10, test_images=10),
    "arrays": lambda root, patch: build_arrays(root),
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
        assert images.images.dtype == data.dtype
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


def calls(function: Callable[[], object]) -> int:
    """Returns how many functions are called, Python's and C's, while one runs."""
    function()  # what is done once is done before
    count = 0

    def note(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


def test_a_batch_takes_as_many_calls_as_an_image(data: ImageData) -> None:
    """Whatever the data set, nothing is done image by image once the images are there."""
    trainer = SimpleNamespace(max_steps=2, accumulate_grad_batches=1, global_rank=0, world_size=1)
    trainer.lightning_module = None
    counts: dict[int, list[int]] = {}
    for size in (1, 4):
        loaders = PixelData(data, batch_size=size, eval_batch_size=size)
        loaders.trainer = trainer  # type: ignore[assignment]
        for loader in (loaders.train_dataloader(), loaders.test_dataloader()):
            length = min(size, len(loader.dataset))  # type: ignore[arg-type]
            assert len(next(iter(loader))[0]) == length
            counts.setdefault(size, []).append(
                calls(lambda it=loader: next(iter(it)))  # type: ignore[misc]
            )
    assert counts[1] == counts[4] and max(counts[1]) < 200, counts


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
    with pytest.raises(
        PixelarError, match="cannot hold out 11 of 10 images; choose a number of at most 10"
    ):
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
        data_set(name, root=str(tmp_path)).split("train")
    assert str(caught.value) == (
        f"{name}: there is no complete copy in {tmp_path}/{folder}; "
        "name the folder that holds one as root (or --root), "
        "or pass download: true (or --download) to fetch it"
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
