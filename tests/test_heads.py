"""What every head must be: normalized, consistent with its sampling, and sound at the extremes."""

from importlib.util import find_spec

import pytest
import torch
import zoo

from pixelar.errors import PixelarError
from pixelar.heads import HEADS, Head, LogisticMixture
from pixelar.heads.logistic_mixture import pmf_by_kernel, pmf_by_torch
from pixelar.heads.mixture_log_prob import by_hand
from pixelar.nets import NETS
from pixelar.nets.presets import PRESETS
from pixelar.scan import build_scan

# levels and symbols per site that a head is tried at
SIZES = {
    "Bernoulli": [(2, 1), (2, 3)],
    "Categorical": [(2, 1), (5, 3), (256, 1), (1024, 2)],
    # the last row is full, or nearly empty
    "FactoredCategorical": [(2, 1), (5, 3), (256, 1), (1025, 2), (8192, 1)],
    "LogisticMixture": [(2, 1), (5, 3), (5, 10), (256, 1), (256, 3), (4096, 2), (65536, 1)],
}
CASES = [
    pytest.param(name, *size, marks=[pytest.mark.full] if size[0] > 5000 else [])
    for name, sizes in SIZES.items()
    for size in sizes
]
SHARPNESS = [0.0, 1.0, 20.0, 1e4, 1e8]


def make(name: str, levels: int, symbols: int) -> Head:
    return HEADS[name](levels, symbols, **zoo.HEAD_ARGS[name])


def sites(
    head: Head, sharpness: float, dtype: torch.dtype = torch.float32
) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    params = torch.randn(40, head.num_params, generator=generator).to(dtype) * sharpness
    x = torch.randint(head.levels, (40, head.symbols), generator=generator)
    x[:2], x[2:4] = 0, head.levels - 1
    return params, x


def test_every_head_is_tried() -> None:
    assert SIZES.keys() == HEADS.keys() == zoo.HEAD_ARGS.keys()


@pytest.mark.parametrize("sharpness", SHARPNESS)
@pytest.mark.parametrize(("name", "levels", "symbols"), CASES)
def test_normalised(name: str, levels: int, symbols: int, sharpness: float) -> None:
    head = make(name, levels, symbols)
    params, x = sites(head, sharpness)
    for s in range(symbols):
        pmf = head.log_pmf(params, x[:, :s]).exp()
        assert pmf.shape == (40, levels)
        torch.testing.assert_close(pmf.sum(-1), torch.ones(40), rtol=0, atol=2e-5)


@pytest.mark.parametrize("sharpness", SHARPNESS)
@pytest.mark.parametrize(("name", "levels", "symbols"), CASES)
def test_joint_is_the_product_of_the_walk(
    name: str, levels: int, symbols: int, sharpness: float
) -> None:
    head = make(name, levels, symbols)
    params, x = sites(head, sharpness, torch.float64)
    walked = sum(
        head.log_pmf(params, x[:, :s]).gather(-1, x[:, s, None])[:, 0] for s in range(symbols)
    )
    torch.testing.assert_close(head.log_prob(params, x), walked, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("sharpness", SHARPNESS)
@pytest.mark.parametrize(("name", "levels", "symbols"), CASES)
def test_finite_in_value_and_gradient(
    name: str, levels: int, symbols: int, sharpness: float
) -> None:
    head = make(name, levels, symbols)
    params, x = sites(head, sharpness)
    params.requires_grad_()
    value = head.log_prob(params, x)
    (gradient,) = torch.autograd.grad(value.sum(), params)
    assert value.isfinite().all() and (value <= 1e-6).all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize(("name", "levels", "symbols"), CASES)
def test_half_precision_parameters_give_a_float32_likelihood(
    name: str, levels: int, symbols: int
) -> None:
    head = make(name, levels, symbols)
    params, x = sites(head, 1.0)
    half = params.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        value = head.log_prob(half, x)
        pmf = head.log_pmf(half, x[:, :0])
    assert value.dtype == pmf.dtype == torch.float32
    torch.testing.assert_close(value, head.log_prob(half.float(), x))


@pytest.mark.parametrize(("name", "levels", "symbols"), CASES)
def test_leading_dimensions_broadcast(name: str, levels: int, symbols: int) -> None:
    head = make(name, levels, symbols)
    params, x = sites(head, 1.0)
    folded = params.view(2, 4, 5, -1), x.view(2, 4, 5, -1)
    torch.testing.assert_close(head.log_prob(*folded).flatten(), head.log_prob(params, x))
    pmf = head.log_pmf(folded[0], folded[1][..., :0])
    assert pmf.shape == (2, 4, 5, levels)


def naive_mixture(head: LogisticMixture, params: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The definition, bin by bin, in float64: what the stable form is compared with."""
    k, s = head.components, head.symbols
    values = 2 * x.double() / (head.levels - 1) - 1
    total = torch.zeros(len(x), dtype=torch.float64)
    weights = params[:, :k].double().softmax(-1)
    means, scales = params[:, k:].double().split((k * s, params.shape[1] - k - k * s), -1)
    scales, couplings = scales.split((k * s, params.shape[1] - k - 2 * k * s), -1)
    for component in range(k):
        mass = weights[:, component]
        pairs = s * (s - 1) // 2
        pull = couplings[:, component * pairs : (component + 1) * pairs].tanh()
        for symbol in range(s):
            mean = means[:, component * s + symbol].clone()
            for earlier in range(symbol):
                mean += pull[:, symbol * (symbol - 1) // 2 + earlier] * values[:, earlier]
            scale = scales[:, component * s + symbol].clamp(*head.layout.log_scale_range).exp()
            half = 1 / (head.levels - 1)
            upper = torch.sigmoid((values[:, symbol] + half - mean) / scale)
            lower = torch.sigmoid((values[:, symbol] - half - mean) / scale)
            upper = torch.where(x[:, symbol] == head.levels - 1, 1.0, upper)
            lower = torch.where(x[:, symbol] == 0, 0.0, lower)
            mass = mass * (upper - lower)
        total += mass
    return total.log()


@pytest.mark.parametrize("at_once", [1, 30, 2**15])
@pytest.mark.parametrize(("levels", "symbols"), [(256, 1), (256, 3), (5, 3)])
def test_mixture_is_its_definition_in_value_and_gradient(
    levels: int, symbols: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pixelar.heads.mixture_log_prob.AT_ONCE", at_once)
    head = LogisticMixture(levels, symbols, components=3)
    params, x = sites(head, 0.7, torch.float64)
    params.requires_grad_()
    ours, slow = head.log_prob(params, x), naive_mixture(head, params, x)
    torch.testing.assert_close(ours, slow, rtol=1e-7, atol=1e-7)
    gradients = [torch.autograd.grad(value.sum(), params)[0] for value in (ours, slow)]
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-7)


def test_mixture_keeps_bins_that_plain_subtraction_loses() -> None:
    """Far from a sharp component, σ(p) - σ(q) is 0 in float32; its logarithm must not be."""
    head = LogisticMixture(256, 1, components=1)
    params = torch.tensor([[0.0, -1.0, -7.0]], requires_grad=True)
    value = head.log_prob(params, torch.tensor([[200]]))
    (gradient,) = torch.autograd.grad(value.sum(), params)
    assert -2000 < value.item() < -1500
    assert gradient[0, 1] > 1000  # the mean is pulled towards the value


def test_mixture_weights_follow_the_channels_seen() -> None:
    """Two sharp components at different colours: once R is known, G is no longer in doubt."""
    head = LogisticMixture(256, 2, components=2)
    means = [-0.5, -0.5, 0.5, 0.5]
    params = torch.tensor([0.0, 0.0, *means, *[-5.0] * 4, *[0.0] * 2])
    red = round(127.5 * 1.5)  # the second component's
    pmf = head.log_pmf(params, torch.tensor([red])).exp()
    assert pmf[150:].sum() > 0.999
    assert head.log_pmf(params, torch.empty(0, dtype=torch.long)).exp()[150:].sum() < 0.501


@pytest.mark.skipif(find_spec("numba") is None, reason="numba is not installed")
@pytest.mark.parametrize("sharpness", SHARPNESS)
@pytest.mark.parametrize("sites_at_once", [1, 40, 100])  # the machine code takes 64 at a time
@pytest.mark.parametrize(("levels", "symbols"), [(2, 1), (5, 3), (256, 1), (256, 3)])
def test_mixture_in_machine_code_is_the_one_in_torch(
    levels: int, symbols: int, sites_at_once: int, sharpness: float
) -> None:
    head = LogisticMixture(levels, symbols, components=3)
    params, x = (t.repeat(3, 1)[:sites_at_once] for t in sites(head, sharpness))
    params[0, 0] = -torch.inf  # a component that is never taken
    exact, params = params.double().requires_grad_(), params.requires_grad_()
    slow, fast = by_hand(exact, x, head.layout), by_hand(params, x, head.layout)
    torch.testing.assert_close(fast.double(), slow, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(
        torch.autograd.grad(fast.sum(), params)[0].double(),
        torch.autograd.grad(slow.sum(), exact)[0],
        rtol=1e-3,
        atol=1e-3,
    )
    for s in range(symbols):
        slow = pmf_by_torch(exact.detach(), x[:, :s], head.layout)
        fast = pmf_by_kernel(params.detach(), x[:, :s], head.layout)
        torch.testing.assert_close(fast.double(), slow, rtol=1e-4, atol=1e-4)


def test_a_parameter_that_is_no_number_makes_no_likelihood() -> None:
    """Training stops at a loss that is no number; it must not be hidden."""
    head = LogisticMixture(256, 3, components=2)
    params, x = sites(head, 1.0)
    for p in range(head.num_params):
        broken = params.clone()
        broken[7, p] = torch.nan
        found = head.log_prob(broken, x)
        assert found[7].isnan() and found[8:].isfinite().all()


def test_bad_arguments_are_explained() -> None:
    with pytest.raises(PixelarError, match=r"head Bernoulli: codes 2 levels but .* has 17"):
        HEADS["Bernoulli"](17, 1)
    with pytest.raises(PixelarError, match="components must be at least 1; got 0"):
        LogisticMixture(256, 3, components=0)
    with pytest.raises(PixelarError, match="at least 2 levels; got 1"):
        HEADS["Categorical"](1, 1)


@pytest.mark.parametrize("levels", [4096, 65536])
def test_mixture_of_many_levels_is_exact_at_the_narrowest_and_in_the_tails(levels: int) -> None:
    """In float32 as in float64, with gradients: a level on the scale [-1, 1], rounded to float32,
    would be off by a part of its bin.
    """
    head = LogisticMixture(levels, 1, components=2)
    lowest, highest = head.layout.log_scale_range
    ends = lowest + 0.01, highest - 0.01  # where a scale still has a gradient
    x = torch.tensor([[0], [1], [levels // 3], [levels - 2], [levels - 1]])
    values = (2 * x.double() / (levels - 1) - 1)[:, 0]
    shifts = torch.tensor([0.0, 0.4, 2.0, 30.0]).double() / (levels - 1)  # in bins' halves
    params = torch.zeros(len(shifts), 2, len(x), head.num_params)  # float32
    for k, scale in enumerate(ends):
        params[:, k, :, 2:4] = (values + shifts[:, None])[..., None].float()
        params[:, k, :, 4:6] = scale
    params[..., 5] += torch.tensor([0.5, -0.5])[:, None]  # so that the components differ
    params.requires_grad_()
    found = head.log_prob(params, x)
    assert found.dtype == torch.float32
    slow = naive_mixture(head, params.flatten(0, 2), x.expand(len(shifts), 2, -1, -1).flatten(0, 2))
    sure = slow.exp() > 1e-9  # where differences of sigmoids keep their digits
    torch.testing.assert_close(found.flatten().double()[sure], slow[sure], rtol=1e-6, atol=1e-5)
    ours, theirs = (
        torch.autograd.grad(value.double().flatten()[sure].sum(), params, retain_graph=True)[0]
        for value in (found, slow)
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["FactoredCategorical", "LogisticMixture"])
def test_sixteen_bits_add_up_to_one_and_are_the_joint_probability(name: str) -> None:
    head = make(name, 65536, 1)
    params = torch.cat([sites(head, sharpness)[0][:1] for sharpness in SHARPNESS])
    pmf = head.log_pmf(params, torch.empty(len(params), 0, dtype=torch.long))
    torch.testing.assert_close(pmf.double().exp().sum(-1), torch.ones(len(params)).double())
    x = torch.randint(65536, (len(params), 1))
    torch.testing.assert_close(head.log_prob(params, x), pmf.gather(-1, x)[:, 0])


@pytest.mark.parametrize("net", NETS)
def test_the_components_of_a_new_mixture_differ(net: str) -> None:
    """Those with equal parameters would have equal gradients, and stay equal for ever."""
    scan = build_scan("raster", (1, 4, 4))
    head = LogisticMixture(16, 1, components=2)
    built = NETS[net](scan, 16, head.num_params, **PRESETS[net].tiny_for(scan))
    params = built(torch.randint(16, (2, 1, 4, 4)))
    assert (params[..., 2] != params[..., 3]).any()  # the means
