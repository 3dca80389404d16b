"""Tests of the tests: nets and heads with one fault each, and the check that detects it."""

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from pixelar.caches import CACHES as TABLE
from pixelar.caches import WAVES, cache_class, wave_class
from pixelar.caches.base import Cache, RecomputeCache, RecomputeWaves
from pixelar.heads import Bernoulli
from pixelar.layers.embedding import TokenEmbedding
from pixelar.model import PixelModel
from pixelar.nets import Net
from pixelar.nets.diagonal_bilstm import DiagonalBiLSTM
from pixelar.nets.pixelcnn import PixelCNN
from pixelar.nets.residual_stack import ResidualStack
from pixelar.nets.row_lstm import RowLSTM
from pixelar.quantizers import Threshold
from pixelar.scan import Scan, build_scan
from pixelar.testing import (
    assert_autoregressive,
    assert_cache_equals_forward,
    assert_cache_selects,
    assert_net,
    assert_normalized,
    assert_uses_labels,
    randomize,
)

pytestmark = pytest.mark.faults

SHAPE = (1, 2, 3)


class Right(Net):
    """A correct net: every site reads the decayed sum over earlier sites, and the label."""

    cache_class: ClassVar[Any]

    def __init__(self, scan: Scan, levels: int, out_features: int, *, classes: int = 2) -> None:
        super().__init__(scan, levels, out_features, classes)
        self.embed = TokenEmbedding(scan, levels, 4)
        self.label = nn.Embedding(classes, 4)
        self.other = nn.Embedding(classes, 4)  # for a mutant
        self.out = nn.Sequential(nn.Tanh(), nn.Linear(4, out_features))

    def before(self, seen: Tensor) -> Tensor:
        """Returns the state before each site, given vectors (B, T, D)."""
        total, states = torch.zeros_like(seen[:, 0]), []
        for vector in seen.unbind(1):
            states.append(total)
            total = 0.7 * total + vector
        return torch.stack(states, 1)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.out(self.before(self.embed(x)) + self.label(labels)[:, None])


class RightCache(Cache[Right]):
    """What the right net remembers: the sum over the sites so far, and the labels' vectors."""

    batch_axis: ClassVar = {"total": 0, "label": 0}

    def __init__(self, net: Right, x: Tensor, labels: Tensor | None = None) -> None:
        super().__init__(net, x, labels)
        self.label = net.label(labels)
        self.total = torch.zeros_like(self.label)

    def step(self, x: Tensor, t: int) -> Tensor:
        if t:
            self.total = 0.7 * self.total + self.net.embed(x)[:, t - 1]
        return self.net.out(self.total + self.label)

    def prefill(self, x: Tensor, stop: int) -> None:
        if stop:  # the last of these sites is new to the next step
            self.total = self.net.before(self.net.embed(x))[:, stop - 1].clone()


Right.cache_class = RightCache


# nets whose forward is wrong


class SeesItself(Right):
    def before(self, seen: Tensor) -> Tensor:
        return super().before(seen) + 1e-9 * seen


class SeesTheNext(Right):
    def before(self, seen: Tensor) -> Tensor:
        return super().before(seen) + 1e-9 * seen.roll(-1, 1)


class SeesTheMean(Right):
    """As a norm over all sites does."""

    def before(self, seen: Tensor) -> Tensor:
        states = super().before(seen)
        return states - states.mean(1, keepdim=True)


class InAnotherOrder(Right):
    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return super().forward(x, labels).flip(1)


class IgnoresLabels(Right):
    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.out(self.before(self.embed(x)))


class IgnoresLabelsAtFirst(Right):
    """The label reaches a site by the sites before it only, so that the first is without."""

    def vectors(self, x: Tensor, labels: Tensor | None) -> Tensor:
        return self.embed(x) + self.label(labels)[:, None]

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.out(self.before(self.vectors(x, labels)))


# caches that are wrong, of the right net


class ReadsAhead(RightCache):
    def step(self, x: Tensor, t: int) -> Tensor:
        return super().step(x, t) + 1e-6 * self.net.embed(x)[:, t, :1]


class KeepsStateInTheModule(RightCache):
    def step(self, x: Tensor, t: int) -> Tensor:
        self.total = getattr(self.net, "kept", self.total)
        params = super().step(x, t)
        self.net.kept = self.total
        return params


class PrefillsOneTooMany(RightCache):
    def prefill(self, x: Tensor, stop: int) -> None:
        super().prefill(x, min(stop + 1, self.net.scan.sites))


class PrefillsNothing(RightCache):
    def prefill(self, x: Tensor, stop: int) -> None:
        pass


class ForgetsInStep(RightCache):
    def step(self, x: Tensor, t: int) -> Tensor:
        if t == 4:
            self.total = torch.zeros_like(self.total)
        return super().step(x, t)


class OtherLabelsInStep(RightCache):
    def __init__(self, net: Right, x: Tensor, labels: Tensor | None = None) -> None:
        super().__init__(net, x, labels)
        self.label = net.other(labels)


class SelectsNothing(RightCache):
    def select(self, rows: Tensor) -> None:
        super().select(torch.arange(len(rows)) % len(self.total))


class SelectsWhereTheNumberChanges(RightCache):
    def select(self, rows: Tensor) -> None:
        if len(rows) != len(self.total):
            super().select(rows)


class SelectsWithoutLabels(RightCache):
    def select(self, rows: Tensor) -> None:
        label = self.label[torch.arange(len(rows)) % len(self.label)]
        super().select(rows)
        self.label = label


class DoesNotDeclareItsSum(RightCache):
    batch_axis: ClassVar = {"label": 0}


class SelectsInSortedOrder(RightCache):
    def select(self, rows: Tensor) -> None:
        super().select(rows.sort().values)


class NotNormalized(Bernoulli):
    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        return super().log_prob(params, x) + 1e-3


NETS: dict[type[Right], Callable[[PixelModel], None]] = {
    SeesItself: assert_autoregressive,
    SeesTheNext: assert_autoregressive,
    SeesTheMean: assert_autoregressive,
    InAnotherOrder: assert_autoregressive,
    IgnoresLabels: assert_uses_labels,
    IgnoresLabelsAtFirst: assert_uses_labels,
}

CACHES: dict[type[RightCache], Callable[[PixelModel], None]] = {
    ReadsAhead: assert_cache_equals_forward,
    KeepsStateInTheModule: assert_cache_equals_forward,
    PrefillsOneTooMany: assert_cache_equals_forward,
    PrefillsNothing: assert_cache_equals_forward,
    ForgetsInStep: assert_cache_equals_forward,
    OtherLabelsInStep: assert_uses_labels,
    SelectsNothing: assert_cache_selects,
    SelectsWhereTheNumberChanges: assert_cache_selects,
    SelectsWithoutLabels: assert_cache_selects,
    DoesNotDeclareItsSum: assert_cache_selects,
    SelectsInSortedOrder: assert_cache_selects,
}


def model_of(net: type[Net], head: type[Bernoulli] = Bernoulli) -> PixelModel:
    built = net(build_scan("raster", SHAPE), 2, 1)
    return randomize(PixelModel(built, head(2, 1), Threshold(), SHAPE)).eval()


def test_a_right_net_passes() -> None:
    assert_net(model_of(Right))


@pytest.mark.parametrize("mutant", NETS, ids=lambda net: net.__name__)
def test_wrong_nets_are_found(mutant: type[Right]) -> None:
    with pytest.raises(AssertionError, match=mutant.__name__):
        NETS[mutant](model_of(mutant))
    with pytest.raises((AssertionError, RuntimeError)):
        assert_net(model_of(mutant))


@pytest.mark.parametrize("mutant", CACHES, ids=lambda cache: cache.__name__)
def test_wrong_caches_are_found(mutant: type[RightCache]) -> None:
    class Wrong(Right):
        cache_class = mutant

    with pytest.raises((AssertionError, RuntimeError, IndexError)):
        CACHES[mutant](model_of(Wrong))
    with pytest.raises((AssertionError, RuntimeError, IndexError)):
        assert_net(model_of(Wrong))


class Other(Right):
    """Computes something else than its base, without a cache of its own."""

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return 2 * super().forward(x, labels)


def test_a_net_that_computes_something_else_does_not_inherit_the_cache() -> None:
    assert cache_class(model_of(Right).net) is RightCache
    assert cache_class(model_of(SeesItself).net) is RightCache
    assert cache_class(model_of(Other).net) is RecomputeCache
    assert_net(model_of(Other))


@pytest.mark.parametrize("method", ["forward", "forward_features", "forward_head"])
@pytest.mark.parametrize("base", [PixelCNN, RowLSTM, DiagonalBiLSTM])
def test_nets_with_a_common_base_have_caches_of_their_own(
    base: type[ResidualStack], method: str
) -> None:
    """Also where the overridden method is that of the base, which is in no table."""
    built: list[Net] = []
    for own in ({}, {method: getattr(base, method)}):
        kind: Any = type("Own", (base,), own)
        built.append(kind(build_scan("raster", SHAPE), 2, 1, width=4, depth=1, readout=[]))
    same, other = built
    assert cache_class(same) is TABLE[base]
    assert wave_class(same) is WAVES.get(base, RecomputeWaves)
    assert cache_class(other) is RecomputeCache
    assert wave_class(other) is RecomputeWaves


def test_a_head_that_is_not_normalized_is_found() -> None:
    with pytest.raises(AssertionError, match="sum to"):
        assert_normalized(model_of(Right, NotNormalized))
