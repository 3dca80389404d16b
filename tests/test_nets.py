"""What every net must be: causal, using its legal context, and the same step by step."""

from itertools import product
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
import zoo
from torch import Tensor, nn

import pixelar
from pixelar.caches import new_cache
from pixelar.caches.base import Cache, RecomputeCache
from pixelar.caches.wavenet import WaveNetCache
from pixelar.errors import PixelarError
from pixelar.layers.activations import elu
from pixelar.model import PixelModel
from pixelar.nets import NETS, Net
from pixelar.nets.diagonal_bilstm import by_diagonal
from pixelar.nets.pixelsnail import attend_before
from pixelar.nets.presets import PRESETS
from pixelar.scan import SCANS
from pixelar.scoring.analysis import dependencies, gradient_dependencies
from pixelar.testing import (
    assert_autoregressive,
    assert_cache_equals_forward,
    assert_cache_selects,
    assert_normalized,
    randomize,
)

EVERY_NET = [pytest.param(*case, id="-".join(map(str, case))) for case in zoo.every_net()]


def test_zoo_lists_every_net() -> None:
    assert PRESETS.keys() == NETS.keys()


@pytest.mark.exhaustive
@pytest.mark.parametrize(("net", "scan", "shape", "classes"), EVERY_NET)
def test_no_site_depends_on_itself_or_later_ones(
    net: str, scan: str, shape: tuple[int, int, int], classes: int
) -> None:
    assert_autoregressive(zoo.tiny(net, shape=shape, scan=scan, classes=classes), trials=2)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("net", "scan", "shape", "classes"), EVERY_NET)
@pytest.mark.parametrize("batch", [1, 3])
def test_step_equals_forward(
    net: str, scan: str, shape: tuple[int, int, int], classes: int, batch: int
) -> None:
    model = zoo.tiny(net, shape=shape, scan=scan, classes=classes)
    assert_cache_equals_forward(model, batch=batch)


# arguments whose walks keep or read what kernels and blocks reach; and with biases
SHAPES: dict[str, list[dict[str, Any]]] = {
    "PixelCNN": [{}, {"kernel_size": 1}, {"kernel_size": 5}, {"first_kernel_size": 9}],
    "GatedPixelCNN": [{}, {"kernel_size": 1}, {"kernel_size": 5}, {"first_kernel_size": 9}],
    "ImageGPT": [{}, {"bias": True}],
    "WaveNet": [{}, {"dilations": [1]}, {"dilations": [3, 5, 100]}, {"position": False}],
    "LMConv": [{}, {"kernel_size": 5}, {"dilation": 3}, {"version": 1}],
    "ImageTransformer": [{}, {"block": 7}, {"pattern": "local_2d", "block": 6, "rows": 3}],
    "SparseTransformer": [{}, {"stride": 100}, {"pattern": "fixed", "summaries": 2}],
    "RowLSTM": [{}, {"kernel_size": 5}, {"first_kernel_size": 9}],
    "DiagonalBiLSTM": [{}, {"first_kernel_size": 9}],
}


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("height", zoo.quick((14, 20), 14))
def test_a_long_known_beginning_is_skipped(net: str, height: int) -> None:
    """Images are taller than what a site looks up, so that most rows matter no more."""
    for args in SHAPES.get(net, [{}]):
        assert_cache_equals_forward(zoo.tiny(net, shape=(1, height, 4), classes=2, **args))


@pytest.mark.exhaustive
@pytest.mark.parametrize(("net", "scan", "shape", "classes"), EVERY_NET)
def test_walks_can_be_copied_dropped_and_reordered(
    net: str, scan: str, shape: tuple[int, int, int], classes: int
) -> None:
    assert_cache_selects(zoo.tiny(net, shape=shape, scan=scan, classes=classes))


@pytest.mark.parametrize("classes", [0, 3])
def test_the_default_select_keeps_the_labels(classes: int) -> None:
    model = zoo.tiny("ImageGPT", classes=classes)
    labels = torch.tensor([0, 2]) if classes else None
    cache = RecomputeCache(model.net, torch.zeros(2, 1, 5, 6, dtype=torch.long), labels)
    cache.select(torch.tensor([1, 1, 0]))
    if labels is None:
        assert cache.labels is None
    else:
        assert cache.labels is not None and cache.labels.tolist() == [2, 2, 0]


@pytest.mark.exhaustive
@pytest.mark.parametrize(("net", "scan", "shape", "classes"), EVERY_NET)
def test_the_default_step_is_the_forward(
    net: str, scan: str, shape: tuple[int, int, int], classes: int
) -> None:
    model = zoo.tiny(net, shape=shape, scan=scan, classes=classes)
    x = torch.randint(3, (2, *shape))
    labels = torch.tensor([0, classes - 1]) if classes else None
    cache = RecomputeCache(model.net, x, labels)
    cache.prefill(x, 2)
    with torch.no_grad():
        assert torch.equal(cache.step(x, 3), model.net(x, labels)[:, 3])


@pytest.mark.parametrize("net", [net for net in NETS if net not in zoo.LIMITED])
def test_all_of_the_past_is_used(net: str) -> None:
    model = zoo.tiny(net, shape=(1, 4, 4), **zoo.deep(net, 6))
    past = torch.ones(16, 16, dtype=torch.bool).tril(-1)
    assert torch.equal(dependencies(model), past)
    assert torch.equal(gradient_dependencies(model), zoo.gradient_past(net, 16))


@pytest.mark.parametrize("net", zoo.BY_COLOUR)
def test_colours_see_the_colours_before_them(net: str) -> None:
    """Within a pixel, G sees R, and B sees R and G."""
    wide: dict[str, Any]
    wide = {"readout": [30]} if "readout" in PRESETS[net].tiny else {}  # lest a colour's ReLUs die
    model = zoo.tiny(net, shape=(3, 2, 2), scan="subpixel", levels=16, **wide)
    found = dependencies(model, trials=6)
    for pixel in range(4):
        r, g, b = range(3 * pixel, 3 * pixel + 3)
        assert found[g, r] and found[b, r] and found[b, g]


def test_blind_spot_is_the_expected_cone() -> None:
    """With 3×3 kernels, PixelCNN reads j columns to the right at least j rows up, no further."""
    side = 6
    model = zoo.tiny("PixelCNN", shape=(1, side, side), first_kernel_size=3, depth=2 * side)
    cell = torch.arange(side * side)
    row, column = cell // side, cell % side
    up, right = row[:, None] - row[None], column[None] - column[:, None]
    seen = ((up > 0) & (right <= up)) | ((up == 0) & (right < 0))
    assert torch.equal(dependencies(model), seen)
    assert ((up > 0) & ~seen).any()  # there is a blind spot


def test_elu_is_pytorchs() -> None:
    x = torch.cat((torch.randn(99, dtype=torch.float64), torch.tensor([0.0, -1e-9, -800, 800])))
    slow, quick = (x.clone().requires_grad_() for _ in range(2))
    for make, leaf in ((F.elu, slow), (elu, quick)):
        (make(leaf) * x).sum().backward()
    torch.testing.assert_close(elu(x), F.elu(x), rtol=0, atol=1e-15)
    torch.testing.assert_close(quick.grad, slow.grad, rtol=0, atol=1e-12)


def test_attention_sees_all_places_before_and_the_first_sees_zero() -> None:
    """As a sum over all earlier positions, one by one; one block is enough to reach all of them."""
    q, k, v = (torch.randn(2, 7, width, dtype=torch.float64) for width in (4, 4, 3))
    seen = attend_before(q, k, v)
    assert not seen[:, 0].any()
    for t in range(1, 7):
        weights = (k[:, :t] @ q[:, t, :, None] / 2).softmax(1)  # (B, t, 1)
        torch.testing.assert_close(seen[:, t], (weights * v[:, :t]).sum(1))
    model = zoo.tiny("PixelSNAIL", shape=(1, 4, 4), depth=1, layers=1)
    assert torch.equal(dependencies(model), torch.ones(16, 16, dtype=torch.bool).tril(-1))


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("position", [False, True])
def test_both_cells_of_a_recurrent_net(cell: str, position: bool) -> None:
    args: dict[str, Any] = {"cell": cell, "position": position}
    model = zoo.tiny("RasterRNN", shape=(3, 2, 3), classes=2, depth=3, **args)
    assert_autoregressive(model)
    assert_cache_equals_forward(model)
    assert_cache_selects(model)
    assert_normalized(zoo.tiny("RasterRNN", "Bernoulli", shape=(1, 2, 3), levels=2, **args))
    seen = dependencies(zoo.tiny("RasterRNN", shape=(1, 3, 4), scan="hilbert", **args))
    assert torch.equal(seen, torch.ones_like(seen).tril(-1))
    model(torch.randint(3, (4, 3, 2, 3)), torch.tensor([0, 1, 0, 1])).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


@pytest.mark.parametrize(
    ("dilations", "back"),
    [
        ([1, 2, 4], {*range(1, 10)}),
        ([3], {1, 2, 4, 5, 7, 8, 10, 11}),
        ([1, 100], {1, 2, 3, 4}),  # beyond the image there are zeros
    ],
)
def test_a_wavenet_sees_as_far_back_as_its_dilations(dilations: list[int], back: set[int]) -> None:
    model = zoo.tiny("WaveNet", shape=(1, 4, 4), scan="snake", depth=3, dilations=dilations)
    distance = torch.arange(16)[:, None] - torch.arange(16)
    assert torch.equal(dependencies(model), torch.isin(distance, torch.tensor([*back])))


def test_rings_are_no_longer_than_the_image() -> None:
    model = zoo.tiny("WaveNet", shape=(1, 4, 4), depth=3, dilations=[2, 16, 100])
    cache = new_cache(model.net, torch.zeros(5, 1, 4, 4, dtype=torch.long))
    assert isinstance(cache, WaveNetCache)
    assert [len(ring.buffer) for ring in cache.rings] == [2, 16, 16]


@pytest.mark.parametrize(("first", "kernel"), [(3, 3), (7, 3), (3, 5)])
def test_row_lstm_sees_the_expected_triangle(first: int, kernel: int) -> None:
    """A row up, the state widens by a side of its kernel; in a row, each layer reads one left.

    On both sides come the columns of the first kernel; on the right, only from one row up.
    """
    height, width, depth = 4, 24, 2
    model = zoo.tiny(
        "RowLSTM",
        shape=(1, height, width),
        depth=depth,
        first_kernel_size=first,
        kernel_size=kernel,
    )
    cell, side, stem = torch.arange(height * width), kernel // 2, first // 2
    row, column = cell // width, cell % width
    up, right = row[:, None] - row[None], column[None] - column[:, None]
    leftmost = -(up + depth) * side - stem
    rightmost = torch.where(up == 0, -1, (stem + (up - 1) * side).maximum(up * side - 1))
    seen = (up >= 0) & (leftmost <= right) & (right <= rightmost)
    assert torch.equal(dependencies(model), seen)
    assert torch.equal(gradient_dependencies(model), seen)
    assert ((up > 0) & ~seen).any()  # far pixels are out of sight


@pytest.mark.parametrize(("height", "width"), [(1, 2), (3, 2), (2, 5), (4, 4)])
def test_diagonals_are_of_one_sum_each(height: int, width: int) -> None:
    order, lengths = by_diagonal(height, width, torch.device("cpu"))
    assert torch.equal(order.sort().values, torch.arange(height * width))
    for k, pixels in enumerate(order.split(lengths)):
        rows, columns = pixels // width, pixels % width
        assert (rows + columns == k).all() and (rows.diff() == 1).all()


@pytest.mark.parametrize("net", NETS)
def test_first_site_sees_nothing_and_labels_reach_every_site(net: str) -> None:
    model = zoo.tiny(net, classes=2)
    x = torch.randint(3, (8, 1, 5, 6), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        zero, one = (model.net(x, torch.full((8,), label)) for label in (0, 1))
    # in some of the images, since all ReLUs of a site may be silent in one
    assert (zero != one).any(-1).any(0).all()


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("classes", [0, 2])
def test_every_parameter_gets_a_gradient(net: str, classes: int) -> None:
    for scan in zoo.scans_of(net):
        model = zoo.tiny(net, classes=classes, shape=(3, 4, 4), scan=scan)
        x = torch.randint(3, (4, 3, 4, 4))
        model(x, torch.tensor([0, 1, 0, 1]) if classes else None).sum().backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, (scan, name)


@pytest.mark.parametrize("net", zoo.BY_COLOUR)
def test_outputs_of_a_gate_have_one_colour_rule(net: str) -> None:
    """With colours, no parameter of R may depend on G or B of the same pixel, in either half."""
    model = zoo.tiny(net, shape=(3, 2, 3), scan="subpixel", levels=5)
    x = torch.randint(5, (1, 3, 2, 3))
    changed = x.clone()
    changed[:, 1:, 0, 0] = (changed[:, 1:, 0, 0] + 1) % 5
    with torch.no_grad():
        assert torch.equal(model.net(x)[:, 0], model.net(changed)[:, 0])


class Leaky(Net):
    """A net with a chosen fault, to test that the checks detect it."""

    cache_class: ClassVar[Any]
    calls: int

    def __init__(self, good: PixelModel, fault: str) -> None:
        net = good.net
        super().__init__(net.scan, net.levels, net.out_features)
        self.inner, self.fault = net, fault
        self.embed = net.embed

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        params = self.inner(x)
        if self.fault == "sees itself":
            return params.roll(-1, 1)
        if self.fault == "global mean":
            return params + 1e-9 * self.embed(x).mean()
        return params


class LeakyCache(Cache[Leaky]):
    def step(self, x: Tensor, t: int) -> Tensor:
        net = self.net
        if net.fault == "reads ahead":
            return net(x)[:, t] + x.flatten(1)[:, t:].sum(1, keepdim=True)
        if net.fault == "counts in the module":
            net.calls = getattr(net, "calls", -1) + 1
            return net(x)[:, net.calls % net.scan.sites]
        return net(x)[:, t]


Leaky.cache_class = LeakyCache


@pytest.mark.parametrize(
    ("fault", "check", "message"),
    [
        ("sees itself", assert_autoregressive, r"leaks: site \d+ \(row \d, column \d\) changes"),
        ("global mean", assert_autoregressive, "which does not come before it"),
        ("reads ahead", assert_cache_equals_forward, "step differs from forward by .* at site 0"),
        ("counts in the module", assert_cache_equals_forward, "step differs from forward"),
        ("sees itself", assert_normalized, "probabilities of all 16 images sum to"),
    ],
)
@pytest.mark.parametrize("net", NETS)
def test_checks_find_faults(net: str, fault: str, check: object, message: str) -> None:
    good = zoo.tiny(net, shape=(1, 2, 2), levels=2)
    model = PixelModel(Leaky(good, fault).double(), good.head, good.quantizer, (1, 2, 2))
    with pytest.raises(AssertionError, match=message):
        check(model)  # type: ignore[operator]


@pytest.mark.parametrize("net", NETS)
def test_bad_arguments_are_explained(net: str) -> None:
    with pytest.raises(PixelarError, match="classes must not be negative"):
        zoo.tiny(net, classes=-1)
    options: dict[str, Any]
    for name in ("width", *zoo.deep(net, 0)):
        options = {name: 0}
        with pytest.raises(PixelarError, match=f"net {net}: {name} must be at least 1; got 0"):
            zoo.tiny(net, **options)


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("ImageTransformer", {"heads": 3}, r"heads \(3\) must divide width \(8\)"),
    ("ImageTransformer", {"heads": 0}, "heads must be at least 1; got 0"),
    ("ImageTransformer", {"block": 0}, "block must be at least 1; got 0"),
    ("ImageTransformer", {"rows": 0}, "rows must be at least 1; got 0"),
    ("ImageTransformer", {"expansion": 0}, "expansion must be at least 1; got 0"),
    ("ImageTransformer", {"pattern": "2d"}, "pattern must be local_1d or local_2d; got '2d'"),
    (
        "ImageTransformer",
        {"pattern": "local_2d", "rows": 3},
        r"rows \(3\) must divide block \(4\)",
    ),
    (
        "ImageTransformer",
        {"pattern": "local_2d", "rows": 2, "scan": "snake"},
        "not scan 'snake'; use scan: raster or subpixel",
    ),
    ("SparseTransformer", {"heads": 3}, r"heads \(3\) must divide width \(8\)"),
    ("SparseTransformer", {"key_width": 3}, r"heads \(2\) must divide key_width \(3\)"),
    ("SparseTransformer", {"key_width": 0}, "key_width must be at least 1; got 0"),
    ("SparseTransformer", {"heads": 0}, "heads must be at least 1; got 0"),
    ("SparseTransformer", {"stride": 0}, "stride must be at least 1; got 0"),
    ("SparseTransformer", {"expansion": 0}, "expansion must be at least 1; got 0"),
    ("SparseTransformer", {"pattern": "random"}, "pattern must be strided or fixed; got 'random'"),
    *(
        (
            "SparseTransformer",
            {"pattern": "fixed", "summaries": summaries},
            rf"summaries must be from 1 to stride \(4\); got {summaries}",
        )
        for summaries in (0, 5)
    ),
]


@pytest.mark.parametrize(("net", "args", "message"), WRONG, ids=str)
def test_wrong_arguments_are_explained(net: str, args: dict[str, Any], message: str) -> None:
    with pytest.raises(PixelarError, match=f"net {net}: .*{message}"):
        zoo.tiny(net, **args)


def test_scans_that_do_not_fit_are_named() -> None:
    for net, preset in PRESETS.items():
        for scan in SCANS.keys() - set(zoo.scans_of(net)):
            *others, last = preset.scans
            use = f"not .*scan '{scan}'; use scan: {'.*'.join([*others[:1], last])}$"
            with pytest.raises(PixelarError, match=use):
                zoo.tiny(net, scan=scan, shape=(3, 2, 2))
    for size in (1, 4):
        with pytest.raises(PixelarError, match="odd and at least 3, to read neighbours; got"):
            zoo.tiny("LMConv", kernel_size=size)
    with pytest.raises(PixelarError, match="LMConv: dilation must be at least 1; got 0"):
        zoo.tiny("LMConv", dilation=0)
    with pytest.raises(PixelarError, match="width must be at least 2, to normalize over channels"):
        zoo.tiny("LMConv", width=1)
    for net in ("ImageGPT", "AnyOrderGPT", "AxialTransformer", "TransformerXL"):
        with pytest.raises(PixelarError, match=rf"net {net}: heads \(3\) must divide width \(8\)"):
            zoo.tiny(net, heads=3)
    with pytest.raises(PixelarError, match="kernel_size must be odd"):
        zoo.tiny("PixelCNN", kernel_size=4)
    for net, dilations in product(("GatedPixelCNN", "WaveNet"), ([], [0])):
        with pytest.raises(PixelarError, match=f"net {net}: dilations must be one or more"):
            zoo.tiny(net, dilations=dilations)
    with pytest.raises(PixelarError, match="net WaveNet: skip_width must be at least 1; got 0"):
        zoo.tiny("WaveNet", skip_width=0)
    with pytest.raises(
        PixelarError, match="net RasterRNN: cell: unknown 'ltsm'; did you mean 'lstm'"
    ):
        zoo.tiny("RasterRNN", cell="ltsm")
    with pytest.raises(PixelarError, match="at least 3, to read a row above"):
        zoo.tiny("GatedPixelCNN", first_kernel_size=1)
    with pytest.raises(PixelarError, match=r"width must be even, for values of half .* 7"):
        zoo.tiny("PixelSNAIL", width=7)
    options: dict[str, Any]
    for name in ("layers", "key_width"):
        options = {name: 0}
        with pytest.raises(PixelarError, match=f"net PixelSNAIL: {name} must be at least 1; got 0"):
            zoo.tiny("PixelSNAIL", **options)
    sides = "3 stages halve the image 2 times, so its sides must be multiples of 4, not 4×6; use"
    with pytest.raises(PixelarError, match=f"net PixelCNNPP: {sides}"):
        zoo.tiny("PixelCNNPP", shape=(1, 4, 6), stages=3)
    with pytest.raises(PixelarError, match="net PixelCNNPP: stages must be at least 1; got 0"):
        zoo.tiny("PixelCNNPP", stages=0)
    with pytest.raises(PixelarError, match="dropout must be at least 0 and below 1; got 1"):
        zoo.tiny("PixelCNNPP", dropout=1.0)
    for net, name in (
        ("RowLSTM", "first_kernel_size"),
        ("RowLSTM", "kernel_size"),
        ("DiagonalBiLSTM", "first_kernel_size"),
    ):
        for size in (1, 4):
            options = {name: size}
            with pytest.raises(PixelarError, match=f"net {net}: {name} must be odd and at least 3"):
                zoo.tiny(net, **options)
    for name in ("outer_depth", "encoder_depth", "expansion"):
        options = {name: 0}
        with pytest.raises(PixelarError, match=f"{name} must be at least 1; got 0"):
            zoo.tiny("AxialTransformer", **options)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"segment": 31}, "segment must be at most the number of sites of an image, 30; got 31"),
        ({"segment": 0}, "segment must be at least 1; got 0"),
        ({"memory": -1}, "memory and compressed must not be negative; got -1 and 2"),
        ({"compressed": -1}, "memory and compressed must not be negative; got 4 and -1"),
        ({"memory": 3}, r"compression \(2\) must divide segment \(4\) and memory \(3\)"),
        ({"compression": 0}, "compression must be at least 1; got 0"),
    ]
    for options, message in wrong:
        with pytest.raises(PixelarError, match=f"net TransformerXL: {message}"):
            zoo.tiny("TransformerXL", **options)


def test_dropout_is_active_in_training_only() -> None:
    for net in NETS:
        model = zoo.tiny(net, dropout=0.5)
        x = torch.randint(3, (2, 1, 5, 6))
        assert torch.equal(model(x), model(x))
        model.train()
        assert not torch.equal(model(x), model(x))


def test_randomise_leaves_no_parameter_as_it_was() -> None:
    model = zoo.tiny("ImageGPT", classes=2)
    assert all(p.std() > 0 for p in model.parameters() if p.numel() > 1)
    assert isinstance(randomize(model), nn.Module)


@pytest.mark.parametrize("net", NETS)
def test_no_images_are_a_batch_too(net: str) -> None:
    model, known = zoo.tiny(net), torch.arange(5)[:, None].expand(5, 6) < 2
    none = model.blank(0)
    assert model(model.encode(none)).shape == (0,)
    assert pixelar.bits_per_dim(model, none).shape == (0,)
    assert pixelar.surprise_map(model, none).shape == (0, 5, 6)
    assert pixelar.sample(model, 0).shape == none.shape
    assert pixelar.complete(model, none, known).shape == none.shape
    with pytest.raises(PixelarError, match="at least one image"):
        pixelar.posterior(model, none, known)
