"""The chain rule holds: probabilities sum to one, and steps score the same as a parallel pass."""

import pytest
import torch
import zoo

from pixelar.errors import PixelarError
from pixelar.model import build_model, describe_model
from pixelar.nets import NETS, ImageGPT
from pixelar.scoring.analysis import sequential_log_prob, surprise_map
from pixelar.testing import assert_normalized

BINARY = [*zoo.every_model((1, 2, 2), levels=2, classes=(0, 2))]
COLOUR = [*zoo.every_model((3, 1, 2), levels=3, classes=(0, 2))]


@pytest.mark.exhaustive
@pytest.mark.parametrize(("net", "head", "scan", "classes"), BINARY)
def test_probabilities_of_binary_images_sum_to_one(
    net: str, head: str, scan: str, classes: int
) -> None:
    model = zoo.tiny(net, head, shape=(1, 2, 2), scan=scan, levels=2, classes=classes)
    assert_normalized(model, tolerance=1e-9)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("net", "head", "scan", "classes"), COLOUR)
def test_probabilities_of_colour_images_sum_to_one(
    net: str, head: str, scan: str, classes: int
) -> None:
    model = zoo.tiny(net, head, shape=(3, 1, 2), scan=scan, classes=classes)
    assert_normalized(model, tolerance=1e-9)


def test_enumerations_cover_every_net_and_head() -> None:
    for cases, heads in (
        (BINARY, zoo.HEAD_ARGS.keys()),
        (COLOUR, zoo.HEAD_ARGS.keys() - {"Bernoulli"}),
    ):
        assert {case[0] for case in cases} == NETS.keys()
        assert {case[1] for case in cases} == heads


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("net", "head", "scan", "classes"), [*zoo.every_model((3, 3, 4), levels=5, classes=(0, 2))]
)
def test_sequential_equals_parallel(net: str, head: str, scan: str, classes: int) -> None:
    model = zoo.tiny(net, head, shape=(3, 3, 4), scan=scan, levels=5, classes=classes)
    x = torch.randint(5, (3, 3, 3, 4))
    labels = torch.tensor([0, 1, 1]) if classes else None
    with torch.no_grad():
        torch.testing.assert_close(sequential_log_prob(model, x, labels), model(x, labels))


@pytest.mark.parametrize("scan", ["raster", "subpixel", "hilbert"])
def test_surprise_map_sums_to_the_likelihood(scan: str) -> None:
    model = zoo.tiny("ImageGPT", shape=(3, 4, 4), scan=scan, levels=2)
    images = (torch.rand(2, 3, 4, 4) > 0.5).to(torch.uint8) * 255
    bits = surprise_map(model, images)
    assert bits.shape == (2, 4, 4)
    with torch.no_grad():
        nats = -model(model.encode(images))
    torch.testing.assert_close(bits.sum((1, 2)) * torch.log(torch.tensor(2.0)).double(), nats)


def test_surprise_lies_where_the_pixel_is() -> None:
    """An uninformed net has the same bits everywhere, except where it was set differently."""
    model = zoo.tiny("ImageGPT", shape=(1, 3, 3), levels=2, scan="snake")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert torch.allclose(
        surprise_map(model, torch.zeros(1, 1, 3, 3, dtype=torch.uint8)),
        torch.ones(1, 3, 3, dtype=torch.float64),
    )


def test_description_builds_the_same_model() -> None:
    for net, head, scan, classes in zoo.every_model((3, 1, 2), levels=3, classes=(2,)):
        model = zoo.tiny(net, head, shape=(3, 1, 2), scan=scan, classes=classes)
        again = build_model(describe_model(model)).double()
        again.load_state_dict(model.state_dict())
        x, labels = torch.randint(3, (4, 3, 1, 2)), torch.tensor([0, 1, 0, 1])
        assert torch.equal(model(x, labels), again.eval()(x, labels))
        assert describe_model(again) == describe_model(model)


def test_options_that_came_later_are_described_where_they_are_used() -> None:
    """So that models from before have the description, and the fingerprint, that they had."""
    plain, biased = (describe_model(zoo.tiny("ImageGPT", bias=bias)) for bias in (False, True))
    assert "bias" not in plain["net"]["args"]
    assert biased["net"]["args"] == {**plain["net"]["args"], "bias": True}
    for description, bias in ((plain, False), (biased, True)):
        net = build_model(description).net
        assert isinstance(net, ImageGPT) and net.bias is bias


@pytest.mark.faults
def test_models_from_before_a_new_version_keep_the_old_one() -> None:
    """What they are described by does not name it, and neither does their fingerprint."""
    old, new = (zoo.tiny("LMConv", version=version) for version in (1, 2))
    described = describe_model(old)
    assert "version" not in described["net"]["args"]
    assert describe_model(new)["net"]["args"]["version"] == 2
    again = build_model(described)
    assert again.net.arguments()["version"] == 1 and describe_model(again) == described
    again.double().load_state_dict(old.state_dict())
    x = torch.randint(3, (2, 1, 5, 6))
    assert torch.equal(again.eval()(x), old(x)) and not torch.allclose(new(x), old(x))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(2, 1, 6, 5, dtype=torch.uint8), r"shape \(B, 1, 5, 6\).*got \(2, 1, 6, 5\)"),
        (torch.zeros(1, 5, 6, dtype=torch.uint8), r"got \(1, 5, 6\)"),
        (torch.zeros(2, 1, 5, 6), "uint8 images with values 0 … 255; got torch.float32"),
        (torch.full((2, 1, 5, 6), 7, dtype=torch.uint8), "value 7, which is not one of 3 evenly"),
    ],
)
def test_images_of_another_size_or_range_are_refused(images: torch.Tensor, message: str) -> None:
    with pytest.raises(PixelarError, match=message):
        zoo.tiny("PixelCNN").encode(images)


def test_labels_are_checked() -> None:
    x = torch.zeros(2, 1, 5, 6, dtype=torch.long)
    plain, conditional = zoo.tiny("PixelCNN"), zoo.tiny("PixelCNN", classes=3)
    with pytest.raises(PixelarError, match="not conditioned on classes"):
        plain(x, torch.tensor([0, 1]))
    with pytest.raises(PixelarError, match="conditioned on 3 classes: pass labels from 0 to 2"):
        conditional(x)
    with pytest.raises(PixelarError, match="labels must be from 0 to 2; got 0 to 3"):
        conditional(x, torch.tensor([0, 3]))
    with pytest.raises(PixelarError, match=r"labels of shape \(2,\); got \(3,\)"):
        conditional(x, torch.tensor([0, 1, 2]))


def test_parts_that_do_not_fit_are_explained() -> None:
    description = describe_model(zoo.tiny("PixelCNN"))
    bernoulli = {**description, "head": {"name": "Bernoulli", "args": {}}}
    with pytest.raises(PixelarError, match="codes 2 levels but the quantizer has 3"):
        build_model(bernoulli)
    with pytest.raises(PixelarError, match="scan: unknown 'rastr'; did you mean 'raster'"):
        build_model({**description, "scan": "rastr"})
    net = {"name": "PixlCNN", "args": {}}
    with pytest.raises(PixelarError, match="net: unknown 'PixlCNN'; did you mean 'PixelCNN'"):
        build_model({**description, "net": net})
    net = {"name": "PixelCNN", "args": {"dept": 3}}
    with pytest.raises(PixelarError, match="net PixelCNN: unknown 'dept'; did you mean 'depth'"):
        build_model({**description, "net": net})
    palette = {"name": "Palette", "args": {"levels": 3}}
    with pytest.raises(PixelarError, match="made for RGB images; these have 1 channel"):
        build_model({**description, "quantizer": palette})
