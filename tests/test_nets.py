"""What every net must be: causal, using its legal context, and the same step by step."""

import pytest
import torch
import zoo
from torch import Tensor, nn

from pixelar.analysis import dependencies, gradient_dependencies
from pixelar.errors import PixelarError
from pixelar.model import PixelModel
from pixelar.nets import NETS, Net
from pixelar.testing import (
    assert_autoregressive,
    assert_cache_equals_forward,
    assert_cache_selects,
    assert_normalised,
    randomise,
)

EVERY_NET = [pytest.param(*case, id="-".join(map(str, case))) for case in zoo.every_net()]


def test_zoo_lists_every_net() -> None:
    assert zoo.NET_ARGS.keys() == NETS.keys()


@pytest.mark.parametrize(("net", "scan", "shape", "classes"), EVERY_NET)
def test_no_site_depends_on_itself_or_later_ones(
    net: str, scan: str, shape: tuple[int, int, int], classes: int
) -> None:
    assert_autoregressive(zoo.tiny(net, shape=shape, scan=scan, classes=classes), trials=2)


@pytest.mark.parametrize(("net", "scan", "shape", "classes"), EVERY_NET)
@pytest.mark.parametrize("batch", [1, 3])
def test_step_equals_forward(
    net: str, scan: str, shape: tuple[int, int, int], classes: int, batch: int
) -> None:
    model = zoo.tiny(net, shape=shape, scan=scan, classes=classes)
    assert_cache_equals_forward(model, batch=batch)


SHAPES = {  # of convolutions, whose walks keep what their kernels reach
    "PixelCNN": [{}, {"kernel_size": 1}, {"kernel_size": 5}, {"first_kernel_size": 9}],
    "GatedPixelCNN": [{}, {"kernel_size": 1}, {"kernel_size": 5}, {"first_kernel_size": 9}],
}


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("height", [14, 20])
def test_a_long_known_beginning_is_skipped(net: str, height: int) -> None:
    """Images are taller than what a site looks up, so that most rows matter no more."""
    for args in SHAPES.get(net, [{}]):
        assert_cache_equals_forward(zoo.tiny(net, shape=(1, height, 4), classes=2, **args))


@pytest.mark.parametrize(("net", "scan", "shape", "classes"), EVERY_NET)
def test_walks_can_be_copied_dropped_and_reordered(
    net: str, scan: str, shape: tuple[int, int, int], classes: int
) -> None:
    assert_cache_selects(zoo.tiny(net, shape=shape, scan=scan, classes=classes))


@pytest.mark.parametrize("classes", [0, 3])
def test_the_default_select_keeps_the_labels(classes: int) -> None:
    model = zoo.tiny("ImageGPT", classes=classes)
    labels = torch.tensor([0, 2]) if classes else None
    cache = Net.init_cache(model.net, torch.zeros(2, 1, 5, 6, dtype=torch.long), labels)
    selected = Net.select(model.net, cache, torch.tensor([1, 1, 0]))
    assert selected.tolist() == [2, 2, 0] if classes else selected is None


@pytest.mark.parametrize(("net", "scan", "shape", "classes"), EVERY_NET)
def test_the_default_step_is_the_forward(
    net: str, scan: str, shape: tuple[int, int, int], classes: int
) -> None:
    model = zoo.tiny(net, shape=shape, scan=scan, classes=classes)
    x = torch.randint(3, (2, *shape))
    labels = torch.tensor([0, classes - 1]) if classes else None
    cache = Net.init_cache(model.net, x, labels)
    Net.prefill(model.net, x, 2, cache)
    with torch.no_grad():
        assert torch.equal(Net.step(model.net, x, 3, cache), model.net(x, labels)[:, 3])


@pytest.mark.parametrize("net", sorted(NETS.keys() - {"PixelCNN"}))  # it has a blind spot
def test_all_of_the_past_is_used(net: str) -> None:
    model = zoo.tiny(net, shape=(1, 4, 4), depth=6)
    past = torch.ones(16, 16, dtype=torch.bool).tril(-1)
    assert torch.equal(dependencies(model), past)
    assert torch.equal(gradient_dependencies(model), zoo.gradient_past(net, 16))


@pytest.mark.parametrize("net", NETS)
def test_colours_see_the_colours_before_them(net: str) -> None:
    """Within a pixel, G sees R, and B sees R and G."""
    wide = {"readout": [30]} if "readout" in zoo.NET_ARGS[net] else {}  # lest a colour's ReLUs die
    model = zoo.tiny(net, shape=(3, 2, 2), scan="subpixel", levels=16, **wide)
    found = dependencies(model, trials=6)
    for pixel in range(4):
        r, g, b = range(3 * pixel, 3 * pixel + 3)
        assert found[g, r] and found[b, r] and found[b, g]


def test_blind_spot_is_the_expected_cone() -> None:
    """With 3×3 kernels, PixelCNN sees j columns to the right at least j rows up, and no further."""
    side = 6
    model = zoo.tiny("PixelCNN", shape=(1, side, side), first_kernel_size=3, depth=2 * side)
    cell = torch.arange(side * side)
    row, column = cell // side, cell % side
    up, right = row[:, None] - row[None], column[None] - column[:, None]
    seen = ((up > 0) & (right <= up)) | ((up == 0) & (right < 0))
    assert torch.equal(dependencies(model), seen)
    assert ((up > 0) & ~seen).any()  # there is a blind spot


@pytest.mark.parametrize("net", NETS)
def test_first_site_sees_nothing_and_labels_reach_every_site(net: str) -> None:
    model = zoo.tiny(net, classes=2)
    x = torch.randint(3, (1, 1, 5, 6))
    with torch.no_grad():
        zero, one = (model.net(x, torch.tensor([label])) for label in (0, 1))
    assert (zero != one).any(-1).all()


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("classes", [0, 2])
def test_every_parameter_gets_a_gradient(net: str, classes: int) -> None:
    for scan in zoo.scans_of(net):
        model = zoo.tiny(net, classes=classes, shape=(3, 4, 4), scan=scan)
        x = torch.randint(3, (4, 3, 4, 4))
        model(x, torch.tensor([0, 1, 0, 1]) if classes else None).sum().backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, (scan, name)


@pytest.mark.parametrize("net", NETS)
def test_outputs_of_a_gate_have_one_colour_rule(net: str) -> None:
    """With colours, no parameter of R may depend on G or B of the same pixel, in either half."""
    model = zoo.tiny(net, shape=(3, 2, 3), scan="subpixel", levels=5)
    x = torch.randint(5, (1, 3, 2, 3))
    changed = x.clone()
    changed[:, 1:, 0, 0] = (changed[:, 1:, 0, 0] + 1) % 5
    with torch.no_grad():
        assert torch.equal(model.net(x)[:, 0], model.net(changed)[:, 0])


class Leaky(Net):
    """A net with a fault of choice, to see that the checks find it."""

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

    def init_cache(self, x: Tensor, labels: Tensor | None = None) -> list[int]:
        return []

    def step(self, x: Tensor, t: int, cache: list[int]) -> Tensor:
        if self.fault == "reads ahead":
            return self(x)[:, t] + x.flatten(1)[:, t:].sum(1, keepdim=True)
        if self.fault == "counts in the module":
            self.calls = getattr(self, "calls", -1) + 1
            return self(x)[:, self.calls % self.scan.sites]
        return self(x)[:, t]


@pytest.mark.parametrize(
    ("fault", "check", "message"),
    [
        ("sees itself", assert_autoregressive, r"leaks: site \d+ \(row \d, column \d\) changes"),
        ("global mean", assert_autoregressive, "which does not come before it"),
        ("reads ahead", assert_cache_equals_forward, "step differs from forward by .* at site 0"),
        ("counts in the module", assert_cache_equals_forward, "step differs from forward"),
        ("sees itself", assert_normalised, "probabilities of all 16 images sum to"),
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
    for name in ("width", "depth"):
        with pytest.raises(PixelarError, match=f"net {net}: {name} must be at least 1; got 0"):
            zoo.tiny(net, **{name: 0})


def test_scans_that_do_not_fit_are_named() -> None:
    for net in zoo.NET_SCANS:
        with pytest.raises(PixelarError, match="not scan 'hilbert'; use scan: raster or subpixel"):
            zoo.tiny(net, scan="hilbert")
    for net in ("ImageGPT", "AxialTransformer", "TransformerXL"):
        with pytest.raises(PixelarError, match=rf"net {net}: heads \(3\) must divide width \(8\)"):
            zoo.tiny(net, heads=3)
    with pytest.raises(PixelarError, match="kernel_size must be odd"):
        zoo.tiny("PixelCNN", kernel_size=4)
    for dilations in ([], [0]):
        with pytest.raises(PixelarError, match="dilations must be one or more distances"):
            zoo.tiny("GatedPixelCNN", dilations=dilations)
    with pytest.raises(PixelarError, match="at least 3, to see a row above"):
        zoo.tiny("GatedPixelCNN", first_kernel_size=1)
    for name in ("outer_depth", "encoder_depth", "expansion"):
        with pytest.raises(PixelarError, match=f"{name} must be at least 1; got 0"):
            zoo.tiny("AxialTransformer", **{name: 0})
    for args, message in (
        ({"segment": 31}, "segment must be at most the number of sites of an image, 30; got 31"),
        ({"segment": 0}, "segment must be at least 1; got 0"),
        ({"memory": -1}, "memory and compressed must not be negative; got -1 and 2"),
        ({"compressed": -1}, "memory and compressed must not be negative; got 4 and -1"),
        ({"memory": 3}, r"compression \(2\) must divide segment \(4\) and memory \(3\)"),
        ({"compression": 0}, "compression must be at least 1; got 0"),
    ):
        with pytest.raises(PixelarError, match=f"net TransformerXL: {message}"):
            zoo.tiny("TransformerXL", **args)


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
    assert isinstance(randomise(model), nn.Module)
