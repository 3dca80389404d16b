"""Scores: every image once, the same for any batching, precision and number of processes."""

import csv
import json
import math
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
import zoo
from torch import Tensor
from torchmetrics import MetricCollection
from torchmetrics.aggregation import MeanMetric

import pixelar
from pixelar.cli import main
from pixelar.data import Digits, ImageSet, Photos
from pixelar.errors import PixelarError
from pixelar.io.folders import fingerprint
from pixelar.memory.budget import choose_batch_size, memory_of_image
from pixelar.memory.peaks import measure_peak
from pixelar.model import PixelModel, build_model, describe_model
from pixelar.scan import shuffled, symmetries
from pixelar.scoring.evaluation import evaluate
from pixelar.scoring.metrics import BitsPerDim
from pixelar.scoring.orders import Orders, order_averaged_log_prob
from pixelar.testing import randomize

N = 23  # divisible by no batch size and no number of processes


@pytest.fixture(scope="module")
def model() -> PixelModel:
    return zoo.tiny("PixelCNN", shape=(1, 8, 8), levels=17).float()


@pytest.fixture(scope="module")
def images() -> ImageSet:
    return Digits().split("test").first(N)


def palette_model() -> PixelModel:
    description = describe_model(zoo.tiny("ImageGPT", shape=(3, 4, 4)))
    quantizer = {"name": "Palette", "args": {"levels": 3}}
    model = randomize(build_model({**description, "quantizer": quantizer})).float()
    model.quantizer.load_state_dict({"colours": torch.tensor([[0.0] * 3, [99.0] * 3, [250.0] * 3])})
    return model.eval()


def strict_json(text: str) -> Any:  # noqa: ANN401
    """Reads JSON without the NaN and Infinity that Python allows."""

    def refuse(constant: str) -> NoReturn:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


# --- the score --------------------------------------------------------------------------------


def test_the_figure_is_that_of_images_one_by_one(model: PixelModel, images: ImageSet) -> None:
    double = zoo.tiny("PixelCNN", shape=(1, 8, 8), levels=17)
    with torch.no_grad():
        one_by_one = [-float(double(double.encode(image[None]))) for image in images.images]
    expected = np.array(one_by_one) / (64 * math.log(2))
    report = evaluate(double, images, dtype=torch.float64)
    np.testing.assert_allclose(report.per_image, expected, rtol=1e-12)
    np.testing.assert_allclose(report.mean, expected.mean(), rtol=1e-12)
    error = expected.std(ddof=1) / math.sqrt(N)
    np.testing.assert_allclose(report.standard_error, error, rtol=1e-9)
    single = evaluate(model, images)
    np.testing.assert_allclose(single.per_image, expected, rtol=1e-5)
    with torch.no_grad():
        sites = model.log_prob_sites(model.encode(images.images))  # float32
    assert torch.equal(single.per_image, sites.double().sum(1) / (-64 * math.log(2)))
    assert torch.equal(pixelar.bits_per_dim(model, images.images), single.per_image)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_the_figure_does_not_depend_on_batches(
    dtype: torch.dtype, tolerance: float, model: PixelModel, images: ImageSet
) -> None:
    reports = [evaluate(model, images, batch_size=b, dtype=dtype) for b in (1, 7, 64, 10**12)]
    for report in reports[1:]:
        assert len(report.per_image) == N
        torch.testing.assert_close(
            report.per_image, reports[0].per_image, rtol=tolerance, atol=tolerance
        )
        assert abs(report.mean - reports[0].mean) < tolerance


def test_the_batch_size_is_chosen_and_written_down(
    model: PixelModel, images: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    encode, sizes = model.encode, []
    monkeypatch.setattr(model, "encode", lambda x: sizes.append(len(x)) or encode(x))  # type: ignore[func-returns-value]
    image = memory_of_image(model)
    found = []
    for megabytes, expected in (
        (1000, 256),
        (300 * image / 1e6, 128),
        (9 * image / 1e6, 4),
        (0, 1),
    ):
        free = int(1e6 * megabytes)
        monkeypatch.setattr(
            "pixelar.memory.budget.available_memory", lambda device, free=free: free
        )
        sizes.clear()
        found.append(evaluate(model, images))
        assert found[-1].card["batch_size"] == expected == choose_batch_size(model)
        assert sizes == [len(part) for part in torch.arange(N).split(expected)]
        bits = pixelar.bits_per_dim(model, images.images)
        assert torch.equal(bits, found[-1].per_image)
    for report in found[1:]:
        torch.testing.assert_close(report.per_image, found[0].per_image, rtol=1e-5, atol=1e-5)
    monkeypatch.setattr("pixelar.memory.budget.available_memory", lambda device: None)
    assert evaluate(model, images).card["batch_size"] == 256
    assert choose_batch_size(model, processes=2) == 256
    # what is quick binds before memory does: less than 256 images of a larger model
    large = zoo.tiny("PixelCNN", shape=(3, 32, 32), scan="subpixel", levels=256, width=33).float()
    assert 1 <= choose_batch_size(large) <= 8
    assert choose_batch_size(large.double()) < choose_batch_size(large.float())


@pytest.mark.parametrize(
    ("scan", "head"), [("subpixel", "Categorical"), ("raster", "LogisticMixture")]
)
def test_the_memory_of_an_image_is_what_is_measured(scan: str, head: str) -> None:
    args: dict[str, Any] = {"shape": (3, 32, 32), "levels": 256, "width": 33}
    model = zoo.tiny("PixelCNN", head, scan=scan, **args).float()
    x = torch.zeros(1, 3, 32, 32, dtype=torch.long)
    with torch.no_grad():
        measured = measure_peak(lambda: model(x))
    assert 0.7 < memory_of_image(model) / measured < 1.4


def test_evaluating_leaves_the_model_as_it_was(images: ImageSet) -> None:
    """Weights in float64 would be lost if they went through float32 and back."""
    model = zoo.tiny("PixelCNN", shape=(1, 8, 8), levels=17, dropout=0.5).train()
    before = fingerprint(model)
    reports = [evaluate(model, images, dtype=torch.float32) for _ in range(2)]
    assert reports[0].mean == reports[1].mean  # dropout is off
    assert fingerprint(model) == before
    assert model.training


def test_labels_reach_the_model(images: ImageSet) -> None:
    model = zoo.tiny("PixelCNN", shape=(1, 8, 8), levels=17, classes=10).float()
    report = evaluate(model, images)
    with torch.no_grad():
        nats = -model(model.encode(images.images), images.labels).double()
    torch.testing.assert_close(report.per_image, nats / (64 * math.log(2)), rtol=1e-5, atol=1e-5)
    own = pixelar.bits_per_dim(model, images.images, images.labels)
    assert torch.equal(own, report.per_image)


@pytest.mark.parametrize("orders", ["symmetries", 3])
@pytest.mark.parametrize("net", zoo.ANY_ORDER)
def test_orders_are_averaged(net: str, orders: Orders, tmp_path: Path, images: ImageSet) -> None:
    model = zoo.tiny(net, shape=(1, 8, 8), levels=17, scan="snake", classes=10).float()
    every = {
        "symmetries": symmetries("snake", (1, 8, 8)),
        3: [shuffled(model.scan, seed) for seed in range(3)],
    }[orders]
    own = fingerprint(model)
    reports = [
        evaluate(model, images, limit=7, batch_size=size, dtype=torch.float64, orders=orders)
        for size in (None, 3)
    ]
    assert images.labels is not None
    labels = images.labels[:7]
    nats = -order_averaged_log_prob(model.double(), images.images[:7], every, labels)
    for report in reports:
        torch.testing.assert_close(report.per_image, nats / (64 * math.log(2)))
    one = evaluate(model.float(), images, limit=7)
    assert not torch.allclose(one.per_image, report.per_image, rtol=1e-3)
    assert fingerprint(model) == own and model.scan.name == "snake"
    reports[0].save(tmp_path)
    card = strict_json((tmp_path / "report.json").read_text())
    assert card["orders"] == orders
    named = "; ".join(scan.name for scan in every)
    if orders == 3:
        named = "snake, shuffled by the seeds 0 to 2"
    assert card["order"] == f"{named}, mean of probabilities over {len(every)} orders"
    assert (one.card["orders"], one.card["order"]) == ("one", "snake, one order, not averaged")


def test_palettes_report_bits_per_token(tmp_path: Path) -> None:
    model = palette_model()
    data = ImageSet(torch.randint(256, (5, 3, 4, 4)).to(torch.uint8), None, list("abcde"))
    report = evaluate(model, data)
    with torch.no_grad():
        nats = -float(model(model.encode(data.images)).double().mean())
    assert report.unit == "bits/token"
    assert report.mean == pytest.approx(nats / (16 * math.log(2)), rel=1e-5)  # 16 tokens, 48 dims
    report.save(tmp_path)
    written = str(report) + "".join(file.read_text() for file in tmp_path.iterdir())
    assert "bits/token" in written and "bits/dim" not in written and "dims" not in written
    assert report.card["data"]["tokens_per_image"] == 16
    with pytest.raises(PixelarError, match=r"no bits/dim; use pixelar.evaluate"):
        pixelar.bits_per_dim(model, data.images)


# --- mistakes ---------------------------------------------------------------------------------


def test_bad_arguments_are_explained(model: PixelModel, images: ImageSet) -> None:
    conditional = zoo.tiny("PixelCNN", shape=(1, 8, 8), levels=17, classes=3).float()
    unlabelled = ImageSet(images.images, None, images.names)
    with pytest.raises(PixelarError, match="batch_size must be at least 1; got 0"):
        evaluate(model, images, batch_size=0)
    with pytest.raises(PixelarError, match="at least 1 image is needed; got 0"):
        evaluate(model, images, limit=0)
    with pytest.raises(PixelarError, match="no images to evaluate"):
        evaluate(model, images.subset([]))
    with pytest.raises(PixelarError, match=r"float32 or torch\.float64; got torch\.int8"):
        evaluate(model, images, dtype=torch.int8)
    takes_any = zoo.tiny("LMConv", shape=(1, 8, 8), levels=17).float()
    for orders in ("random", "", 1, 0, -8, True, 2.0, None):
        with pytest.raises(
            PixelarError, match="one, symmetries, or the number of random orders, from 2"
        ):
            evaluate(takes_any, images, orders=orders)  # type: ignore[arg-type]
    for orders in ("symmetries", 8):
        fixed = f"orders: {orders} needs a net that takes any order, .* PixelCNN is fixed; use ord"
        with pytest.raises(PixelarError, match=fixed):
            evaluate(model, images, orders=orders)  # type: ignore[arg-type]
    with pytest.raises(PixelarError, match="split: unknown 'tset'; did you mean 'test'"):
        evaluate(model, Digits(), split="tset")  # type: ignore[arg-type]
    with pytest.raises(PixelarError, match="conditioned on 3 classes, but these images have no"):
        evaluate(conditional, unlabelled)
    with pytest.raises(PixelarError, match="model's 3 classes are not known, and the data has 10"):
        evaluate(conditional, images)
    with pytest.raises(PixelarError, match=r"\(B, 1, 8, 8\).*got \(\d+, 3, 16, 16\)"):
        evaluate(model, Photos(size=16, train_images=1, val_images=1))


def test_bits_per_dim_explains_bad_arguments(model: PixelModel, images: ImageSet) -> None:
    with pytest.raises(PixelarError, match="uint8 images"):
        pixelar.bits_per_dim(model, images.images.float())
    with pytest.raises(PixelarError, match=r"got \(23, 8, 8\)"):
        pixelar.bits_per_dim(model, images.images[:, 0])
    with pytest.raises(PixelarError, match="not conditioned on classes"):
        pixelar.bits_per_dim(model, images.images, images.labels)
    conditional = zoo.tiny("PixelCNN", shape=(1, 8, 8), levels=17, classes=10).float()
    assert images.labels is not None
    with pytest.raises(PixelarError, match=r"labels of shape \(23,\); got \(4,\)"):
        pixelar.bits_per_dim(conditional, images.images, images.labels[:4])
    assert pixelar.bits_per_dim(model, images.images[:0]).shape == (0,)


def test_a_likelihood_that_is_no_number_is_no_figure(images: ImageSet) -> None:
    model = zoo.tiny("PixelCNN", shape=(1, 8, 8), levels=17).float()
    for value, message in (
        (torch.nan, "weights are not finite, net"),
        (1e38, "the likelihood of 23 of 23 images is nan"),  # finite, but their products are not
    ):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.fill_(value)
        for measure in (
            lambda: evaluate(model, images),
            lambda: pixelar.bits_per_dim(model, images.images),
        ):
            with pytest.raises(PixelarError, match=message):
                measure()


# --- card and table ---------------------------------------------------------------------------


def test_the_card_says_what_was_measured(model: PixelModel, tmp_path: Path) -> None:
    data = Digits()
    report = evaluate(model, data, limit=N, weights="ema", batch_size=5)
    report.save(tmp_path)
    card = strict_json((tmp_path / "report.json").read_text())
    assert card == report.card
    assert card["figure"] == {
        "mean": report.mean,
        "standard_error": report.standard_error,
        "unit": "bits/dim",
        "nats_per_image": pytest.approx(report.mean * 64 * math.log(2)),
    }
    described = {**data.describe(), "split": "test", "limit": N, "images": N, "dims_per_image": 64}
    described["fingerprint"] = data.split("test").first(N).fingerprint()
    unknown = {"split_as_in_run": None, "training_images": None, "training_images_known": False}
    assert card["data"] == {**described, **unknown}
    assert card["model"] == describe_model(model)
    assert card["model_sha256"] == fingerprint(model)
    assert card["parameters"] == sum(p.numel() for p in model.parameters())
    named = {k: card[k] for k in ("weights", "lossless", "order", "dtype", "batch_size")}
    assert named == {
        "weights": "ema",
        "lossless": True,
        "order": "raster, one order, not averaged",
        "dtype": "float32",
        "batch_size": 5,
    }
    assert (card["processes"], card["device"]) == (1, "cpu")
    assert card["versions"]["torch"] == torch.__version__
    assert card["versions"].keys() == {"pixelar", "torch", "python"}


def test_the_mean_of_the_table_is_the_figure(
    model: PixelModel, images: ImageSet, tmp_path: Path
) -> None:
    report = evaluate(model, images)
    report.save(tmp_path)
    with (tmp_path / "per_image.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["image", "bits/dim"]
    assert [name for name, _ in rows] == [*images.names]
    values = np.array([float(value) for _, value in rows])
    assert values.mean() == pytest.approx(report.mean, rel=1e-14)
    assert values.std(ddof=1) / math.sqrt(N) == pytest.approx(report.standard_error, rel=1e-9)


def test_one_image_has_no_standard_error(
    model: PixelModel, images: ImageSet, tmp_path: Path
) -> None:
    report = evaluate(model, images, limit=1)
    report.save(tmp_path)
    assert strict_json((tmp_path / "report.json").read_text())["figure"]["standard_error"] is None
    assert str(report) == f"{report.mean:.4f} bits/dim"


def test_names_that_are_no_text_are_written(
    model: PixelModel, images: ImageSet, tmp_path: Path
) -> None:
    names = ["a,b", 'c"d', "e\nf", os.fsdecode(b"\xff.png"), "ü"]
    data = ImageSet(images.images[:5], None, names)
    report = evaluate(model, data)
    report.card["data"]["root"] = names[3]
    report.save(tmp_path)
    strict_json((tmp_path / "report.json").read_text(encoding="utf-8"))
    with (tmp_path / "per_image.csv").open(newline="", encoding="utf-8") as file:
        written = [row[0] for row in csv.reader(file)][1:]
    assert written == [*names[:3], "\\udcff.png", "ü"]


# --- metric -----------------------------------------------------------------------------------


def test_the_metric_is_one_of_torchmetrics() -> None:
    nats = torch.rand(10, dtype=torch.float64) * 50
    metrics = MetricCollection({"bits": BitsPerDim(16), "mean": MeanMetric()})
    for part in nats.split(3):
        metrics(part)  # forward: updates, and returns the value of this batch
    bits = nats / (16 * math.log(2))
    torch.testing.assert_close(metrics.compute()["bits"], bits.mean())
    metric = metrics["bits"]
    assert isinstance(metric, BitsPerDim)
    torch.testing.assert_close(metric.standard_error(), bits.std() / math.sqrt(10))
    value = metric.forward(nats[:2])
    torch.testing.assert_close(value, bits[:2].mean())
    metric.reset()
    metric.update(nats[:1])
    assert metric.standard_error().isnan()


def measure_share(rank: int, nats: Tensor, port: int, folder: str) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2
    )
    metric = BitsPerDim(16)
    metric.update(nats[rank::2])
    found = {
        "mean": float(metric.compute()),
        "error": float(metric.standard_error()),
        "own": int(metric.images),
    }
    (Path(folder) / f"{rank}.json").write_text(json.dumps(found))
    torch.distributed.destroy_process_group()


def test_the_metric_sums_over_processes(tmp_path: Path) -> None:
    nats = torch.rand(11, dtype=torch.float64) * 50
    arguments = (nats, free_port(), str(tmp_path))
    mp.start_processes(  # type: ignore[attr-defined]
        measure_share, arguments, nprocs=2, start_method="fork"
    )
    bits = nats / (16 * math.log(2))
    for rank, own in ((0, 6), (1, 5)):
        found = json.loads((tmp_path / f"{rank}.json").read_text())
        assert found["mean"] == pytest.approx(float(bits.mean()), rel=1e-12)
        assert found["error"] == pytest.approx(float(bits.std()) / math.sqrt(11), rel=1e-9)
        assert found["own"] == own  # and nothing stays summed


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


# --- the command ------------------------------------------------------------------------------


def table_of(folder: Path) -> list[list[str]]:
    with (folder / "per_image.csv").open(newline="") as file:
        return [*csv.reader(file)]


@pytest.mark.parametrize(
    ("net", "orders"), [("LMConv", "3"), pytest.param("PixelCNN", "one", marks=pytest.mark.full)]
)
def test_two_processes_find_what_one_finds(net: str, orders: str, tmp_path: Path) -> None:
    model = zoo.tiny(net, shape=(1, 8, 8), levels=17).float()
    pixelar.save(model, tmp_path / "model")
    command = ["evaluate", str(tmp_path / "model"), "-d", "digits", "--limit", str(N)]
    command += ["--dtype", "float64", "--orders", orders, "--batch-size", "16"]
    assert main([*command, "-o", str(tmp_path / "one")]) == 0
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    launch += ["--master-addr", "127.0.0.1", "--master-port", str(free_port()), "-m", "pixelar"]
    done = subprocess.run(
        [*launch, *command, "-o", str(tmp_path / "two")],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("bits/dim") == 1
    (name,) = (path.name for path in (tmp_path / "one").iterdir())
    one, two = (tmp_path / k / name for k in ("one", "two"))
    assert [row[0] for row in table_of(one)] == [row[0] for row in table_of(two)]
    values = [[float(row[1]) for row in table_of(folder)[1:]] for folder in (one, two)]
    np.testing.assert_allclose(values[0], values[1], rtol=1e-12)
    cards = [strict_json((folder / "report.json").read_text()) for folder in (one, two)]
    assert [card.pop("processes") for card in cards] == [1, 2]
    figures = [card.pop("figure") for card in cards]
    assert figures[0]["mean"] == pytest.approx(figures[1]["mean"], rel=1e-12)
    assert cards[0] == cards[1]


CONFIG = """
model:
  net: {class_path: PixelCNN, init_args: {width: 4, depth: 1, first_kernel_size: 3, readout: []}}
  head: {class_path: Categorical}
  quantizer: {class_path: Identity, init_args: {levels: 17}}
  lr: 0.1
  warmup_steps: 1
data:
  dataset: {class_path: Digits, init_args: {val_images: 5}}
  batch_size: 8
trainer: {max_steps: 8, val_check_interval: 8}
checkpoint_every: 4
samples: 0
"""


@pytest.mark.full
def test_checkpoints_have_two_figures_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real training run: both sets of weights, no card over another, export, info."""
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(CONFIG)
    fit = [sys.executable, "-m", "pixelar", "fit", "-c", "tiny.yaml", "--run", "run"]
    done = subprocess.run(fit, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    checkpoints = sorted(Path("run/checkpoints").glob("*.ckpt"))
    assert len(checkpoints) == 2
    for checkpoint in checkpoints:
        assert main(["evaluate", str(checkpoint), "-d", "digits", "--limit", "9"]) == 0
    cards = sorted(Path("run/evaluation").glob("*/report.json"))
    found = [strict_json(card.read_text()) for card in cards]
    assert [card["weights"] for card in found] == ["ema", "raw"] * 2
    assert len({card["figure"]["mean"] for card in found}) == 4
    assert len({card["model_sha256"] for card in found}) == 4
    printed = capsys.readouterr().out
    for card in found:
        assert f"{card['weights']} weights: {card['figure']['mean']:.4f} ±" in printed

    last = str(checkpoints[-1])
    for weights, card in zip(("ema", "raw"), found[2:], strict=True):
        assert main(["export", last, "-o", weights, "--weights", weights]) == 0
        assert fingerprint(pixelar.load(weights)) == card["model_sha256"]
    assert fingerprint(pixelar.load("run/model")) == found[2]["model_sha256"]
    capsys.readouterr()
    assert main(["info", last, "--json"]) == 0
    described = strict_json(capsys.readouterr().out)
    assert described["weights"] == ["ema", "raw"]
    means = [entry["figure"]["mean"] for entry in described["evaluations"]]
    assert means == [card["figure"]["mean"] for card in found[2:]]  # not of the other checkpoint
