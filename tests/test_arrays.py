"""Grids of any integers: files of arrays, every net, and every way through the package."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zoo

import pixelar
from pixelar.cli import main
from pixelar.cli.demo import open_models
from pixelar.cli.draw import completions
from pixelar.common.arrays import DTYPES
from pixelar.data import Arrays, ImageSet
from pixelar.data.base import SPLITS
from pixelar.errors import PixelarError
from pixelar.heads import HEADS
from pixelar.model import PixelModel, build_model, describe_model
from pixelar.nets import NETS
from pixelar.nets.presets import PRESETS
from pixelar.quantizers import Codes, Identity
from pixelar.scan import build_scan
from pixelar.testing import randomize

RANDOM = np.random.default_rng(0)


def grid_model(
    net: str,
    quantizer: str = "Codes",
    head: str = "Categorical",
    *,
    shape: tuple[int, int, int] = (5, 4, 5),
    scan: str = "raster",
    dtype: str | None = None,
    **args: int,
) -> PixelModel:
    described = {
        "image_shape": list(shape),
        "scan": scan,
        "quantizer": {"name": quantizer, "args": args},
        "head": {"name": head, "args": zoo.HEAD_ARGS[head]},
        "net": {"name": net, "args": PRESETS[net].tiny_for(build_scan(scan, shape))},
    }
    if dtype is not None:
        described["image_dtype"] = dtype
    return randomize(build_model(described)).eval()


@pytest.mark.parametrize("head", ["Categorical", "FactoredCategorical", "LogisticMixture"])
@pytest.mark.parametrize("net", NETS)
@pytest.mark.exhaustive(1)
def test_every_net_takes_five_channels_of_300_levels(net: str, head: str, tmp_path: Path) -> None:
    """Drawn, completed, scored, saved and loaded, in the type of the data."""
    scan = "raster" if PRESETS[net].scans else "planes"
    model = grid_model(net, "Identity", head, scan=scan, dtype="int32", levels=300, high=299)
    drawn = pixelar.sample(model, 3, seed=1)
    assert drawn.dtype == torch.int32 and drawn.shape == (3, 5, 4, 5)
    assert drawn.max() > 255 and drawn.min() >= 0
    known = torch.zeros(4, 5, dtype=torch.bool)
    known[:2] = True
    completed = pixelar.complete(model, drawn, known, seed=2, method="clamp")
    assert completed.dtype == torch.int32
    assert torch.equal(completed[..., :2, :], drawn[..., :2, :])
    bits = pixelar.bits_per_dim(model, drawn)
    report = pixelar.evaluate(model, ImageSet(drawn.long(), None, [*"abc"]), dtype=torch.float64)
    assert torch.equal(report.per_image, bits) and report.unit == "bits/dim"
    pixelar.save(model, tmp_path / "model")
    again = pixelar.load(tmp_path / "model")
    assert again.image_dtype == torch.int32
    assert torch.equal(pixelar.sample(again.double(), 3, seed=1), drawn)


@pytest.mark.parametrize("scan", ["raster", "subpixel", "planes"])
@pytest.mark.parametrize("head", [name for name in HEADS if name != "Bernoulli"])
def test_probabilities_of_all_grids_add_up_to_one(head: str, scan: str) -> None:
    model = grid_model("GatedPixelCNN" if scan != "planes" else "ImageGPT", "Codes", head,
                       shape=(4, 1, 2), scan=scan, levels=2)  # fmt: skip
    every = torch.cartesian_prod(*[torch.arange(2)] * 8).view(-1, 4, 1, 2)
    assert float(model(every).detach().exp().sum()) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("dtype", DTYPES)
def test_samples_have_the_type_of_the_data(dtype: str) -> None:
    model = grid_model("PixelCNN", levels=200, dtype=dtype, shape=(1, 3, 4))
    drawn = pixelar.sample(model, 2, seed=0)
    assert drawn.dtype == DTYPES[dtype]
    assert describe_model(model).get("image_dtype") == (None if dtype == "int64" else dtype)
    found = pixelar.posterior(model, drawn, torch.tensor([[True] * 4] + [[False] * 4] * 2), seed=0)
    assert found.images.dtype == DTYPES[dtype]


def test_codes_have_bits_per_code() -> None:
    model = grid_model("PixelCNN", levels=1024, shape=(1, 3, 4))
    codes = torch.randint(1024, (4, 1, 3, 4))
    report = pixelar.evaluate(model, ImageSet(codes, None, [*"abcd"]))
    assert report.unit == "bits/code" and report.card["data"]["codes_per_image"] == 12
    with pytest.raises(PixelarError, match=r"codes are not dimensions .* reports bits/code"):
        pixelar.bits_per_dim(model, codes)


def test_spins_have_a_likelihood_with_a_gradient() -> None:
    model = grid_model(
        "PixelCNN", "Identity", "Bernoulli", shape=(1, 4, 4), levels=2, low=-1, high=1
    )
    drawn = pixelar.sample(model, 5, seed=0)
    assert set(drawn.unique().tolist()) == {-1, 1}
    log_p = model(model.encode(drawn))
    log_p.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.full((1, 1, 2, 2), 512), r"from 0 to 511; images\[0, 0, 0, 0\] is 512"),
        (torch.tensor([[[[0, 1], [2, -1]]]]), r"images\[0, 0, 1, 1\] is -1"),
        (np.full((1, 1, 2, 2), 600, np.uint16), "is 600"),
        (torch.zeros(1, 1, 2, 2), "takes int64 images with values 0 … 511; got torch.float32"),
    ],
)
def test_values_out_of_range_are_named(images: torch.Tensor, message: str) -> None:
    model = grid_model("PixelCNN", levels=512, shape=(1, 2, 2))
    with pytest.raises(PixelarError, match=message):
        pixelar.surprise_map(model, images)


def test_a_type_that_loses_values_is_refused() -> None:
    with pytest.raises(
        PixelarError, match="uint8 cannot hold the values 0 … 511 of quantizer Codes"
    ):
        grid_model("PixelCNN", levels=512, dtype="uint8")
    with pytest.raises(PixelarError, match="image_dtype: unknown 'float32'"):
        grid_model("PixelCNN", levels=512, dtype="float32")


# --- files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["npy", "npz", "pt"])
def test_files_of_all_kinds_hold_the_same(suffix: str, tmp_path: Path) -> None:
    values, path = RANDOM.integers(0, 1000, (20, 3, 4)).astype(np.uint16), tmp_path / f"a.{suffix}"
    if suffix == "npy":
        np.save(path, values)
    elif suffix == "npz":
        np.savez(path, images=values)
    else:
        torch.save({"images": torch.from_numpy(values)}, path)
    data = Arrays(path=str(path), split_by="order", val=0.2, test=0.3)
    assert data.shape == (1, 3, 4) and data.dtype == torch.uint16
    parts = [data.part(split).images for split in ("train", "val", "test")]
    assert [len(part) for part in parts] == [10, 4, 6]
    assert np.array_equal(torch.cat(parts)[:, 0].numpy(), values)
    names = [name for split in ("train", "val", "test") for name in data.part(split).names]
    assert names == [f"a.{suffix}/{k}" for k in range(20)]


def test_a_mapped_file_is_not_read_into_memory(tmp_path: Path) -> None:
    """Splits by order are views of the file's pages."""
    values = np.lib.format.open_memmap(tmp_path / "a.npy", "w+", np.uint16, (30, 4, 5, 2))
    values[:] = RANDOM.integers(0, 60000, values.shape)
    values.flush()
    data = Arrays(path=str(tmp_path / "a.npy"), layout="NHWC", split_by="order")
    train = data.split("train").images
    assert (
        train.untyped_storage().data_ptr() == data.split("test").images.untyped_storage().data_ptr()
    )
    assert np.array_equal(train.numpy(), np.moveaxis(values[:24], -1, 1))


def test_the_layout_of_medmnist_is_read(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {}
    for split, n in (("train", 6), ("val", 2), ("test", 4)):
        arrays[f"{split}_images"] = RANDOM.integers(0, 256, (n, 5, 5, 3)).astype(np.uint8)
        arrays[f"{split}_labels"] = RANDOM.integers(0, 2, (n, 1)).astype(np.uint8)
    np.savez(tmp_path / "breast.npz", **arrays)
    data = Arrays(path=str(tmp_path / "breast.npz"), layout="NHWC", classes=["no", "yes"])
    for split in SPLITS:
        part = data.split(split)
        assert np.array_equal(part.images.movedim(1, -1).numpy(), arrays[f"{split}_images"])
        assert part.labels is not None
        assert np.array_equal(part.labels.numpy(), arrays[f"{split}_labels"][:, 0])
    assert data.classes == ["no", "yes"]


def test_arrays_that_are_not_used_may_hold_anything(tmp_path: Path) -> None:
    codes: dict[str, Any] = {
        "images": np.zeros((9, 2, 2), np.int64),
        "vectors": np.zeros((9, 3)),
        "by": ["me"],
    }
    np.savez(tmp_path / "a.npz", **codes)
    assert len(Arrays(path=str(tmp_path / "a.npz")).split("train")) == 7


def test_labels_of_a_mapped_file_are_in_a_file_of_their_own(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((4, 2, 2), np.uint8))
    np.save(tmp_path / "b.npy", np.array([0, 2, 1, 2]))
    path, labels = str(tmp_path / "a.npy"), str(tmp_path / "b.npy")
    data = Arrays(path=path, labels=labels, split_by="order", val=0.0, test=0.5)
    assert data.classes == ["0", "1", "2"]
    assert data.part("test").labels.tolist() == [1, 2]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        ({"images": np.zeros((3, 4, 4, 4), np.uint8)}, {}, "give layout: NHWC .* or NCHW"),
        ({"images": np.zeros((3, 4), np.uint8)}, {}, r"shape \(3, 4\); images have three axes"),
        ({"images": np.zeros((3, 4, 4), np.uint8)}, {"layout": "NCHW"}, "does not fit layout NCHW"),
        ({"images": np.zeros((3, 4, 4))}, {}, r"holds torch\.float64, and only whole numbers"),
        ({"image": np.zeros((3, 4, 4), np.uint8)}, {}, "did you mean 'image'"),
        (
            {"images": np.zeros((3, 4, 4), np.uint8), "labels": np.zeros((3, 2), np.uint8)},
            {},
            r"one class number each; labels have shape \(3, 2\)",
        ),
        (
            {"images": np.zeros((3, 4, 4), np.uint8), "labels": np.array([0, 5, 1])},
            {"classes": ["a", "b"]},
            "labels up to 5, but only 2 classes are named",
        ),
        (
            {"images": np.zeros((3, 4, 4), np.uint8), "kinds": np.array([0, 5, 1])},
            {"labels": "kind"},
            "labels: unknown 'kind'; did you mean 'kinds'",
        ),
        ({"images": np.array(["a"])}, {}, "is no array of numbers but an array of <U1"),
        ({"images": np.zeros((3, 4, 4), np.uint8)}, {"val": 0.7, "test": 0.7}, "at most 1; got"),
        ({"images": np.zeros((3, 4, 4), np.uint8)}, {"split_by": "ordr"}, "did you mean 'order'"),
    ],
)
def test_bad_files_are_explained(
    arrays: dict[str, Any], options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(PixelarError, match=message):
        Arrays(path=str(tmp_path / "a.npz"), **options)


def test_files_that_hold_something_else_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"PK no archive")
    (tmp_path / "a.npy").write_bytes(b"no array")
    (tmp_path / "a.pt").write_bytes(b"no tensor")
    np.save(tmp_path / "objects.npy", np.array([{}, []], object))
    torch.save({"images": [1, 2]}, tmp_path / "list.pt")
    for name in ("a.npz", "a.npy", "a.pt", "objects.npy", "list.pt", "missing.npy", "a.png"):
        with pytest.raises(PixelarError, match=name) as refused:
            Arrays(path=str(tmp_path / name))
        assert "pickle" not in str(refused.value)  # no advice to trust the file


def test_the_command_line_trains_and_scores_codes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("codes.npy", RANDOM.integers(0, 512, (64, 4, 4)).astype(np.int32))
    Path("codes.yaml").write_text(
        """
model:
  net: {class_path: PixelCNN, init_args: {width: 4, depth: 1, readout: [8]}}
  head: Categorical
  quantizer: {class_path: Codes, init_args: {levels: 512}}
data:
  dataset: {class_path: Arrays, init_args: {path: codes.npy}}
  batch_size: 16
trainer: {max_steps: 4, val_check_interval: 2}
"""
    )
    assert main(["fit", "-c", "codes.yaml", "--run", "run"]) == 0
    model = pixelar.load("run/model")
    assert model.image_dtype == torch.int32 and isinstance(model.quantizer, Codes)
    assert main(["evaluate", "run/model", "-o", "own"]) == 0
    assert main(["evaluate", "run/model", "-d", "codes.npy", "-o", "all"]) == 0
    assert capsys.readouterr().out.count("bits/code") >= 2
    for command in ("sample run/model -n 3 -o", "complete run/model drawn.npy --keep top -n 3 -o"):
        assert main([*command.split(), "out.png"]) == main([*command.split(), "out.npy"]) == 0
        drawn = np.load("out.npy")
        assert drawn.dtype == np.int32 and drawn.shape == (3, 1, 4, 4)
        np.save("drawn.npy", drawn[0])
    (card,) = (json.loads(path.read_text()) for path in Path("all").rglob("report.json"))
    assert card["data"]["images"] == 64 and card["data"]["training_images"] == 52


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_completions_of_any_grid_are_shown(channels: int) -> None:
    model = grid_model("ImageGPT", "Identity", shape=(channels, 2, 4), levels=300, high=299)
    images = torch.full((2, channels, 2, 4), 299)
    known = (torch.arange(2) < 1)[:, None].expand(2, 4)[None, None]
    picture = completions(model, images, known, images.repeat_interleave(3, 0))
    assert picture.dtype == torch.uint8 and picture.shape[0] == 3
    wide = 4 * (1 if channels in (1, 3) else channels) * 32 + 4
    assert picture.shape[2] == 5 * wide + 4
    shown = picture[:, 4:-4:32, 4 + wide :: 32][:, :2, : wide // 32]  # what is kept: the upper row
    assert (shown[:, 0] == 255).all() and (shown[0, 1] == 214).all()


def test_the_demo_refuses_what_is_no_picture(tmp_path: Path) -> None:
    pixelar.save(grid_model("PixelCNN", levels=64, shape=(1, 3, 4)), tmp_path / "codes")
    with pytest.raises(PixelarError, match="takes the values 0 … 63; the demo shows pictures of 8"):
        open_models([str(tmp_path / "codes")])


def test_levels_of_sixteen_bits_train_as_a_mixture() -> None:
    """One step in float32 changes the likelihood of the values it has seen for the better."""
    model = grid_model(
        "PixelCNN", "Identity", "LogisticMixture", shape=(1, 4, 4), levels=65536
    ).float()
    assert isinstance(model.quantizer, Identity)
    images = torch.randint(20000, 21000, (8, 1, 4, 4))
    x, optimizer = model.encode(images), torch.optim.Adam(model.parameters(), 1e-2)
    before = model(x).mean()
    for _ in range(20):
        optimizer.zero_grad()
        (-model(x).mean()).backward()
        optimizer.step()
    assert model(x).mean() > before + 16
