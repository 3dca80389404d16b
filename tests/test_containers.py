"""Images, labels, masks and counts in any container; a sentence for what is none."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import zoo
from torch import Tensor

import pixelar
from pixelar.data.base import ImageSet
from pixelar.model import PixelModel
from pixelar.quantizers import BitDepth

pytestmark = pytest.mark.faults

IMAGES = torch.zeros(2, 1, 5, 6, dtype=torch.uint8)
IMAGES[0, 0, 2:] = 127
IMAGES[1, 0, :, 3:] = 127
KNOWN = torch.arange(5)[:, None].expand(5, 6) < 2
LABELS = torch.tensor([2, 0])


def model(*, classes: int = 0) -> PixelModel:
    made = zoo.tiny("LMConv", classes=classes, levels=128).float()
    made.quantizer = BitDepth(bits=7)
    return made


class Marked(Tensor):
    """A tensor of another class."""


def containers(values: Tensor) -> dict[str, Any]:
    """Returns whole numbers as callers may have them."""
    array = values.numpy()
    frozen = array.copy()
    frozen.flags.writeable = False
    kinds = (torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint64)
    return {
        **{str(kind): values.to(kind) for kind in kinds if int(values.max()) < 128},
        "int64": values.long(),
        "array": array,
        "frozen": frozen,
        "backwards": array[::-1].copy()[::-1],
        "foreign bytes": array.astype(">i4"),
        "uint64": array.astype("u8"),
        "list": values.tolist(),
        "tensors": [*values],
        "arrays": tuple(array),
        "subclass": values.as_subclass(Marked),
    }


def test_images_in_any_container() -> None:
    tried = model()
    shown = pixelar.surprise_map(tried, IMAGES)
    bits = pixelar.bits_per_dim(tried, IMAGES, batch_size=2)
    drawn = pixelar.complete(tried, IMAGES, KNOWN, seed=1)
    for name, given in containers(IMAGES).items():
        assert torch.equal(pixelar.bits_per_dim(tried, given, batch_size=2), bits), name
        assert torch.equal(pixelar.surprise_map(tried, given), shown), name
        assert torch.equal(pixelar.complete(tried, given, KNOWN, seed=1), drawn), name
        kept = ImageSet(given, None, ["a", "b"])
        assert torch.equal(kept.images.long(), IMAGES.long()), name
        assert type(kept.images) is Tensor and not kept.images.is_floating_point()
        assert kept.fingerprint() == ImageSet(IMAGES, None, ["a", "b"]).fingerprint()


def test_labels_in_any_container() -> None:
    tried = model(classes=3)
    right = pixelar.bits_per_dim(tried, IMAGES, LABELS, batch_size=2)
    drawn = pixelar.sample(tried, 2, LABELS, seed=1)
    for name, given in containers(LABELS).items():
        assert torch.equal(pixelar.bits_per_dim(tried, IMAGES, given, batch_size=2), right), name
        assert torch.equal(pixelar.sample(tried, 2, given, seed=1), drawn), name
        data = ImageSet(IMAGES, given, ["a", "b"])
        assert torch.equal(pixelar.evaluate(tried, data, batch_size=2).per_image, right), name
        assert tried(tried.encode(IMAGES), given).shape == (2,), name


def test_masks_in_any_container() -> None:
    tried = model()
    right = pixelar.complete(tried, IMAGES, KNOWN, seed=1)
    numbers = containers(KNOWN.to(torch.uint8)) | {"paint": KNOWN.numpy().astype("u1") * 255}
    truths = {"bool": KNOWN.numpy(), "lists": KNOWN.tolist(), "floats": KNOWN.double()}
    for name, given in (numbers | truths).items():
        assert torch.equal(pixelar.complete(tried, IMAGES, given, seed=1), right), name
    for given in (KNOWN.tolist(), KNOWN.numpy().astype("i2")):
        *_, last = pixelar.stream(tried, IMAGES.tolist(), given, every=9, seed=1)
        assert torch.equal(last, right)
        assert pixelar.posterior(tried, IMAGES.tolist(), given, particles=2).images.shape[0] == 2


FLOATS = IMAGES / 255
WRONG: dict[str, tuple[Callable[[PixelModel], Any], str]] = {
    "float images": (lambda m: pixelar.bits_per_dim(m, FLOATS), r"uint8 images.*got torch.float32"),
    "float array": (lambda m: pixelar.surprise_map(m, FLOATS.numpy()), "NumPy array of float32"),
    "float list": (lambda m: pixelar.bits_per_dim(m, FLOATS.tolist()), "got a list of float64"),
    "ragged list": (lambda m: pixelar.bits_per_dim(m, [[1], [1, 2]]), "list of rows of several"),
    "text": (lambda m: pixelar.surprise_map(m, "photo.png"), "got str 'photo.png'"),
    "nothing": (lambda m: pixelar.complete(m, None, KNOWN), "got NoneType None"),  # type: ignore[arg-type]
    "bool images": (lambda m: pixelar.bits_per_dim(m, IMAGES > 0), "got torch.bool"),
    "sparse": (lambda m: pixelar.bits_per_dim(m, IMAGES.to_sparse()), "a tensor of torch.sparse"),
    "one image": (
        lambda m: pixelar.bits_per_dim(m, IMAGES[0]),
        r"images of shape.*got \(1, 5, 6\)",
    ),
    "too bright": (
        lambda m: pixelar.bits_per_dim(m, IMAGES.int() * 3),
        r"image values must be from 0 to 255; images\[0, 0, 2, 0\] is 381",
    ),
    "negative": (
        lambda m: pixelar.bits_per_dim(m, -IMAGES.long()),
        r"images\[0, 0, 2, 0\] is -127",
    ),
    "far too bright": (
        lambda m: pixelar.bits_per_dim(m, np.full((1, 1, 5, 6), 2**64 - 1, "u8")),
        r"images\[0, 0, 0, 0\] is 18446744073709551615",
    ),
    "grey mask": (
        lambda m: pixelar.complete(m, IMAGES, KNOWN * 7),
        r"known must be True or 1.*known\[0, 0\] is 7",
    ),
    "soft mask": (lambda m: pixelar.complete(m, IMAGES, KNOWN * 0.5), r"known\[0, 0\] is 0.5"),
    "no mask": (lambda m: pixelar.complete(m, IMAGES, None), "known must be a mask"),  # type: ignore[arg-type]
    "named mask": (lambda m: pixelar.posterior(m, IMAGES, "top"), "got str 'top'"),
    "negative number": (lambda m: pixelar.sample(m, -1), "n, the number.* at least 0; got -1"),
    "half a number": (lambda m: pixelar.sample(m, 2.5), "must be a whole number; got float 2.5"),  # type: ignore[arg-type]
    "a truth value": (lambda m: pixelar.sample(m, True), "must be a whole number; got bool"),
    "seed": (lambda m: pixelar.sample(m, 1, seed=0.5), "seed must be a whole number; got float"),  # type: ignore[arg-type]
    "temperature": (lambda m: pixelar.sample(m, 1, temperature="hot"), "must be a number; got str"),  # type: ignore[arg-type]
    "top_k": (lambda m: pixelar.sample(m, 1, top_k=1.5), "top_k must be a whole number"),  # type: ignore[arg-type]
    "top_p": (lambda m: pixelar.sample(m, 1, top_p="0.5"), "top_p must be a number; got str"),  # type: ignore[arg-type]
    "batch size": (lambda m: pixelar.bits_per_dim(m, IMAGES, batch_size=0.5), "batch_size must"),  # type: ignore[arg-type]
    "every": (lambda m: [*pixelar.stream(m, IMAGES, KNOWN, every=1.5)], "every must be a whole"),  # type: ignore[arg-type]
    "particles": (lambda m: pixelar.posterior(m, IMAGES, KNOWN, particles=2.5), "particles must"),  # type: ignore[arg-type]
    "no temperature": (lambda m: pixelar.sample(m, 1, temperature=None), "got NoneType None"),  # type: ignore[arg-type]
    "resampling": (
        lambda m: pixelar.posterior(m, IMAGES, KNOWN, resample_below="half"),  # type: ignore[arg-type]
        "resample_below is a share",
    ),
    "trials": (lambda m: pixelar.dependencies(m, trials=0), "trials must be at least 1; got 0"),
    "limit": (
        lambda m: pixelar.evaluate(m, ImageSet(IMAGES, None, ["a", "b"]), limit=1.5),  # type: ignore[arg-type]
        "limit must be a whole number; got float 1.5",
    ),
    "meta": (lambda m: pixelar.surprise_map(m, IMAGES.to("meta")), "got a meta tensor"),
    "any object": (lambda m: pixelar.bits_per_dim(m, {}), "got an object of type dict"),  # type: ignore[arg-type]
    "data's name": (lambda m: pixelar.evaluate(m, "digits"), "data must be a data set.*got str"),  # type: ignore[arg-type]
    "bare images": (lambda m: pixelar.evaluate(m, IMAGES), "or an ImageSet; got Tensor"),  # type: ignore[arg-type]
    "model's name": (lambda m: pixelar.sample("digits-imagegpt", 1), "model must be.*got str"),  # type: ignore[arg-type]
    "no path": (lambda m: pixelar.load(None), "name of a packaged model.*got NoneType"),  # type: ignore[arg-type]
    "set of floats": (lambda m: ImageSet(FLOATS, None, ["a", "b"]), "got torch.float32"),
    "set of rows": (lambda m: ImageSet(IMAGES[:, 0], None, ["a", "b"]), r"got \(2, 5, 6\)"),
    "set with few names": (lambda m: ImageSet(IMAGES, None, ["a"]), "as many names; got 1"),
    "set with few labels": (lambda m: ImageSet(IMAGES, [1], ["a", "b"]), r"labels of shape \(2,\)"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_number_is_explained(name: str) -> None:
    call, message = WRONG[name]
    with pytest.raises(pixelar.PixelarError, match=message):
        call(model())


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (LABELS + 0.5, "labels must be class numbers, which are whole numbers; got torch.float32"),
        ([2.0, 0.5], "got a list of float64"),
        ("20", "got str '20'"),
        (3.7, "got float 3.7"),
        (2, r"labels of shape \(2,\); got \(\)"),
        ([True, False], "got a list of bool"),
        (np.array(["a", "b"]), "got a NumPy array of <U1"),
        ([3, 0], "labels must be from 0 to 2"),
    ],
)
def test_labels_of_another_kind_are_explained(labels: Any, message: str) -> None:  # noqa: ANN401
    tried = model(classes=3)
    for call in (
        lambda: pixelar.bits_per_dim(tried, IMAGES, labels),
        lambda: pixelar.sample(tried, 2, labels),
        lambda: pixelar.complete(tried, IMAGES, KNOWN, labels),
        lambda: pixelar.posterior(tried, IMAGES, KNOWN, labels, particles=2),
        lambda: pixelar.order_averaged_log_prob(tried, IMAGES, [tried.scan], labels),
    ):
        with pytest.raises(pixelar.PixelarError, match=message):
            call()


def test_no_images_have_no_results() -> None:
    tried, none = model(), IMAGES[:0]
    assert pixelar.surprise_map(tried, none).shape == (0, 5, 6)
    assert pixelar.bits_per_dim(tried, none).shape == (0,)
    assert pixelar.sequential_log_prob(tried, tried.encode(none)).shape == (0,)
    assert pixelar.order_averaged_log_prob(tried, none, [tried.scan]).shape == (0,)
    assert pixelar.sample(tried, 0).shape == (0, 1, 5, 6)
    assert pixelar.complete(tried, none, KNOWN).shape == (0, 1, 5, 6)
    with pytest.raises(pixelar.PixelarError, match="no images to evaluate"):
        pixelar.evaluate(tried, ImageSet(none, None, []))
