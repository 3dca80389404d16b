"""Nets that take any order are as right in every order as in the first; the others refuse."""

import math
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import zoo
from torch import Tensor

import pixelar
from pixelar.caches import new_cache
from pixelar.errors import PixelarError
from pixelar.layers.locally_masked import LocallyMaskedConv2d, order_masks
from pixelar.model import PixelModel
from pixelar.model.orders import in_order
from pixelar.nets import NETS
from pixelar.sampling.completion import complete, stream
from pixelar.sampling.methods import choose_method
from pixelar.scan import Scan, build_scan, hilbert, known_first, raster, shuffled, symmetries
from pixelar.scoring.analysis import dependencies, sequential_log_prob
from pixelar.scoring.orders import order_averaged_log_prob
from pixelar.testing import (
    assert_autoregressive,
    assert_cache_equals_forward,
    assert_cache_selects,
    assert_normalized,
)


def some_orders(scan: Scan) -> list[Scan]:
    """Returns a random one, one turned round, one with a part in front."""
    known = torch.arange(scan.dims).view(scan.shape) % 3 == 1
    return [
        shuffled(scan, seed=1),
        symmetries(scan.name, scan.shape)[7],
        known_first(scan, known.all(0, keepdim=True) if scan.symbols > 1 else known),
    ]


ORDERS = [
    pytest.param(net, scan, k, id=f"{net}-{scan}-{k}")
    for net in zoo.ANY_ORDER
    for scan, k in product(zoo.scans_of(net), range(3))
]


@pytest.mark.parametrize(("net", "scan", "k"), ORDERS)
def test_nets_are_right_in_other_orders(net: str, scan: str, k: int) -> None:
    model = zoo.tiny(net, shape=(2, 3, 4), scan=scan, classes=2)
    other = in_order(model, some_orders(model.scan)[k])
    assert not torch.equal(other.scan.index, model.scan.index)
    assert_autoregressive(other, trials=1)
    assert_cache_equals_forward(other)
    assert_cache_selects(other)


@pytest.mark.parametrize("net", zoo.ANY_ORDER)
@pytest.mark.parametrize("seed", range(3))
def test_probabilities_sum_to_one_in_every_order(net: str, seed: int) -> None:
    model = zoo.tiny(net, shape=(1, 2, 3), levels=2)
    model.net.reorder(shuffled(model.scan, seed))
    assert_normalized(model)
    colour = zoo.tiny(net, "LogisticMixture", shape=(3, 1, 2), levels=3)
    assert_normalized(in_order(colour, shuffled(colour.scan, seed)))


def test_what_is_seen_follows_the_order() -> None:
    """Attention reads all earlier sites; a convolution at least the neighbours among them."""
    gpt, conv = (zoo.tiny(net, shape=(1, 4, 4)) for net in ("AnyOrderGPT", "LMConv"))
    past = torch.ones(16, 16, dtype=torch.bool).tril(-1)
    assert torch.equal(dependencies(in_order(gpt, shuffled(gpt.scan, seed=2))), past)
    scan = shuffled(conv.scan, seed=2)
    row, column = scan.index[:, 0] // 4, scan.index[:, 0] % 4
    near = (row[:, None] - row).abs().maximum((column[:, None] - column).abs()) <= 1
    found = dependencies(in_order(conv, scan))
    assert (found | ~(near & past)).all() and not (found & ~past).any()


@pytest.mark.parametrize("net", zoo.ANY_ORDER)
def test_there_and_back_again(net: str) -> None:
    model = zoo.tiny(net)
    x, own = torch.randint(3, (2, 1, 5, 6)), model.scan
    before = model(x)
    model.net.reorder(shuffled(own, seed=0))
    assert not torch.allclose(model(x), before)
    model.net.reorder(own)
    assert torch.equal(model(x), before)


@pytest.mark.parametrize("net", zoo.ANY_ORDER)
def test_a_twin_shares_the_weights_and_leaves_the_model_alone(net: str) -> None:
    model = zoo.tiny(net)
    twin = in_order(model, shuffled(model.scan, seed=0))
    pairs = zip(model.parameters(), twin.parameters(), strict=True)
    assert all(a is b for a, b in pairs)
    assert twin.state_dict().keys() == model.state_dict().keys()
    x = torch.randint(3, (2, 1, 5, 6))
    first = [next(walk) for walk in (walk_of(model, x), walk_of(twin, x))]
    own, other = walk_of(model, x), walk_of(twin, x)
    taking_turns = [pair for pair in zip(own, other, strict=True)]
    for k, found in enumerate((model, twin)):
        alone = list(walk_of(found, x))
        assert torch.equal(alone[0], first[k])
        assert all(torch.equal(a, pair[k]) for a, pair in zip(alone, taking_turns, strict=True))


@torch.no_grad()  # needed for interleaved passes, for which a `with` inside would not do
def walk_of(model: PixelModel, x: Tensor) -> Any:  # noqa: ANN401
    cache = new_cache(model.net, x)
    for t in range(model.scan.sites):
        yield cache.step(x, t)


@pytest.mark.parametrize("net", sorted(NETS.keys() - set(zoo.ANY_ORDER)))
def test_fixed_orders_are_kept(net: str) -> None:
    model = zoo.tiny(net)
    with pytest.raises(PixelarError, match=rf"net {net} has a fixed order \(raster\); nets that"):
        model.net.reorder(shuffled(model.scan, seed=0))
    with pytest.raises(PixelarError, match=f"any order, and the order of {net} is fixed; use"):
        choose_method(model, torch.ones(5, 6), torch.zeros(1, 1, 5, 6).byte(), "known_first")


@pytest.mark.parametrize("net", zoo.ANY_ORDER)
def test_scans_of_other_images_are_refused(net: str) -> None:
    model = zoo.tiny(net, shape=(2, 3, 4))
    for name, shape in (("subpixel", (2, 3, 4)), ("raster", (2, 4, 3)), ("raster", (1, 3, 4))):
        with pytest.raises(PixelarError, match=f"built for 12 sites of 2 .* scan '{name}' has"):
            model.net.reorder(build_scan(name, shape))
    assert model.scan.name == "raster"


@pytest.mark.parametrize("net", zoo.ANY_ORDER)
def test_a_saved_model_has_the_order_it_was_built_in(net: str, tmp_path: Path) -> None:
    model = zoo.tiny(net, scan="snake").float()
    x = torch.randint(3, (2, 1, 5, 6))
    before = model(x)
    model.net.reorder(shuffled(model.scan, seed=0))
    pixelar.save(model, tmp_path / "model")
    again = pixelar.load(tmp_path / "model")
    assert again.scan.name == "snake"
    torch.testing.assert_close(again(x), before)


# --- locally masked convolutions --------------------------------------------------------------


@pytest.mark.parametrize("centre", [False, True])
@pytest.mark.parametrize(("kernel_size", "dilation"), [(3, 1), (3, 2), (5, 1)])
def test_a_locally_masked_convolution_masks_its_kernel_at_every_place(
    kernel_size: int, dilation: int, centre: bool
) -> None:
    """The slow twin: an ordinary convolution for each position, with its own taps masked."""
    scan = shuffled(raster((1, 4, 5)), seed=0)
    conv = LocallyMaskedConv2d(2, 3, kernel_size, dilation=dilation).double()
    x, side = torch.randn(2, 4, 5, 2, dtype=torch.float64), kernel_size // 2
    turn = scan.index[:, 0].argsort().view(4, 5)
    found = conv(x, order_masks(scan, kernel_size, dilation, centre=centre).double())
    for i, j in product(range(4), range(5)):
        kernel = conv.weight.detach().clone()
        for a, b in product(range(kernel_size), repeat=2):
            y, z = i + dilation * (a - side), j + dilation * (b - side)
            inside = 0 <= y < 4 and 0 <= z < 5
            if inside and not (turn[y, z] < turn[i, j] or (centre and (y, z) == (i, j))):
                kernel[:, :, a, b] = 0
        maps = F.conv2d(
            x.movedim(-1, 1), kernel, conv.bias, padding=dilation * side, dilation=dilation
        )
        torch.testing.assert_close(found[:, i, j], maps[:, :, i, j])


# --- orders -----------------------------------------------------------------------------------


def test_known_sites_come_first_in_the_order_of_the_scan() -> None:
    scan = raster((1, 2, 3))
    known = torch.tensor([[False, True, False], [False, False, True]])
    assert known_first(scan, known).index.flatten().tolist() == [1, 5, 0, 2, 3, 4]
    colours = torch.ones(3, 1, 2)
    colours[1, 0, 0] = 0  # a pixel that is known in part is unknown
    assert known_first(raster((3, 1, 2)), colours).index.tolist() == [[1, 3, 5], [0, 2, 4]]
    with pytest.raises(PixelarError, match=r"broadcast to .*: an order is made from a single mask"):
        known_first(scan, torch.ones(2, 1, 2, 3))


def test_symmetries_of_the_snake_begin_in_every_corner_both_ways() -> None:
    orders = [scan.index.flatten().argsort().tolist() for scan in symmetries("snake", (1, 2, 2))]
    by_rows = [[0, 1, 3, 2], [1, 0, 2, 3], [3, 2, 0, 1], [2, 3, 1, 0]]
    by_columns = [[0, 3, 1, 2], [3, 0, 2, 1], [1, 2, 0, 3], [2, 1, 3, 0]]
    assert orders == by_rows + by_columns


@pytest.mark.parametrize("name", ["raster", "subpixel", "snake", "hilbert"])
def test_symmetries_are_orders_of_the_same_sites(name: str) -> None:
    own = build_scan(name, (2, 3, 4))
    found = symmetries(name, (2, 3, 4))
    assert torch.equal(found[0].index, own.index) and found[0].name == name
    assert len({tuple(scan.index.flatten().tolist()) for scan in found}) == 8
    for scan in found:
        assert scan.index[:, 0].sort().values.tolist() == own.index[:, 0].sort().values.tolist()
        assert {tuple(site) for site in scan.index.tolist()} == set(map(tuple, own.index.tolist()))


def test_a_seed_makes_an_order() -> None:
    scan = hilbert((1, 4, 4))
    first, again, other = (shuffled(scan, seed).index for seed in (3, 3, 4))
    assert torch.equal(first, again) and not torch.equal(first, other)


# --- likelihood -------------------------------------------------------------------------------


@pytest.mark.parametrize("net", zoo.ANY_ORDER)
def test_the_average_is_of_probabilities(net: str) -> None:
    model = zoo.tiny(net, shape=(1, 3, 3), classes=2)
    orders = [shuffled(model.scan, seed) for seed in range(4)]
    images = model.quantizer.decode(torch.randint(3, (5, 1, 3, 3)))
    labels = torch.tensor([0, 1, 0, 1, 1])
    found = order_averaged_log_prob(model, images, orders, labels, batch_size=2)
    x = model.encode(images)
    slow = torch.stack([sequential_log_prob(in_order(model, order), x, labels) for order in orders])
    torch.testing.assert_close(found, slow.exp().mean(0).log(), rtol=1e-9, atol=0)
    assert (found > slow.mean(0)).all() and slow.std(0).min() > 0
    assert model.scan.name == "raster"
    one = order_averaged_log_prob(model, images, [model.scan], labels)
    torch.testing.assert_close(one, model(x, labels).detach())
    with pytest.raises(PixelarError, match="orders must be one scan or more"):
        order_averaged_log_prob(model, images, [], labels)


# --- completion -------------------------------------------------------------------------------

KNOWN = torch.tensor([[False, True, False], [False, False, True]])
EVERY = torch.tensor([*product((0, 1), repeat=6)]).view(64, 1, 2, 3)


@pytest.mark.parametrize("net", zoo.ANY_ORDER)
def test_with_known_pixels_first_the_conditional_is_exact(net: str) -> None:
    """The product over a pass is joint / marginal, and so are the frequencies of draws."""
    model = zoo.tiny(net, "Bernoulli", shape=(1, 2, 3), levels=2)
    given = torch.tensor([[[[0, 255, 0], [0, 0, 255]]]], dtype=torch.uint8)
    twin = in_order(model, known_first(model.scan, KNOWN))
    with torch.no_grad():
        agrees = ((EVERY == model.encode(given)) | ~KNOWN).flatten(1).all(1)
        joint = torch.where(agrees, twin(EVERY).exp(), 0)
        exact = joint / joint.sum()
        unknown_factors = twin.log_prob_sites(EVERY)[:, 2:].sum(1).exp()
    torch.testing.assert_close(unknown_factors[agrees], exact[agrees], rtol=1e-9, atol=0)
    many = given.expand(20_000, -1, -1, -1)
    drawn = complete(model, many, KNOWN, seed=1)
    assert torch.equal(drawn, complete(model, many, KNOWN, method="known_first", seed=1))
    codes = (drawn.flatten(1) > 0).long() @ (2 ** torch.arange(5, -1, -1))
    frequencies = torch.bincount(codes, minlength=64) / len(codes)
    assert (frequencies - exact).abs().sum() / 2 < 0.02
    assert model.scan.name == "raster"


@pytest.mark.parametrize("net", zoo.ANY_ORDER)
def test_auto_takes_the_first_method_that_applies(net: str) -> None:
    model, images = zoo.tiny(net, shape=(2, 2, 3)), torch.zeros(2, 2, 2, 3, dtype=torch.uint8)
    top = torch.tensor([[True], [False]]).expand(2, 3)
    assert choose_method(model, top, images) == "prefix"
    assert choose_method(model, KNOWN, images) == "known_first"
    apart = torch.stack((KNOWN, ~KNOWN))[:, None]
    red = torch.tensor([True, False])[:, None, None] & KNOWN
    for mask in (apart, red):
        assert choose_method(model, mask, images) == "particles"
        with pytest.raises(PixelarError, match="known_first needs one mask for all images, in wh"):
            choose_method(model, mask, images, "known_first")


@pytest.mark.parametrize("net", zoo.ANY_ORDER)
def test_streams_end_with_what_complete_draws(net: str) -> None:
    model = zoo.tiny(net, classes=2)
    images = model.quantizer.decode(torch.randint(3, (2, 1, 5, 6)))
    known, labels = torch.arange(30).view(5, 6) % 4 == 2, torch.tensor([0, 1])
    *_, last = stream(model, images, known, labels, every=5, seed=4, schedule="sequential")
    for walk in ("auto", "fixed_point"):
        drawn = complete(model, images, known, labels, seed=4, schedule=walk)
        assert torch.equal(drawn, last)
    assert torch.equal(last[..., known], images[..., known])
    assert not math.isclose(float((last - images).abs().sum()), 0)
