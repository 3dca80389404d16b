"""Tests of the tests: nets and heads that are wrong in one place, and the check that finds each."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn

from pixelar.heads import Bernoulli
from pixelar.layers.embedding import TokenEmbedding
from pixelar.model import PixelModel
from pixelar.nets import Net
from pixelar.quantizers import Threshold
from pixelar.scan import Scan, build_scan
from pixelar.testing import (
    assert_autoregressive,
    assert_cache_equals_forward,
    assert_cache_selects,
    assert_net,
    assert_normalised,
    assert_uses_labels,
    randomise,
)

pytestmark = pytest.mark.faults

SHAPE = (1, 2, 3)


@dataclass
class State:
    """What the right net remembers: the sum over the sites so far, and the labels' vectors."""

    total: Tensor  # (B, D)
    label: Tensor  # (B, D)


class Right(Net):
    """A right net: every site sees the decayed sum over those before it, and the label."""

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

    def init_cache(self, x: Tensor, labels: Tensor | None = None) -> State:
        return State(x.new_zeros(len(x), 4, dtype=self.label.weight.dtype), self.label(labels))

    def step(self, x: Tensor, t: int, cache: State) -> Tensor:
        if t:
            cache.total = 0.7 * cache.total + self.embed(x)[:, t - 1]
        return self.out(cache.total + cache.label)

    def prefill(self, x: Tensor, stop: int, cache: State) -> None:
        if stop:  # the last of these sites is new to the next step
            cache.total = self.before(self.embed(x))[:, stop - 1].clone()

    def select(self, cache: State, rows: Tensor) -> State:
        return State(cache.total[rows], cache.label[rows])


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


class ReadsAhead(Right):
    def step(self, x: Tensor, t: int, cache: State) -> Tensor:
        return super().step(x, t, cache) + 1e-6 * self.embed(x)[:, t, :1]


class KeepsStateInTheModule(Right):
    kept: State

    def init_cache(self, x: Tensor, labels: Tensor | None = None) -> State:
        self.kept = super().init_cache(x, labels)
        return self.kept

    def step(self, x: Tensor, t: int, cache: State) -> Tensor:
        return super().step(x, t, self.kept)

    def prefill(self, x: Tensor, stop: int, cache: State) -> None:
        super().prefill(x, stop, self.kept)


class PrefillsOneTooMany(Right):
    def prefill(self, x: Tensor, stop: int, cache: State) -> None:
        super().prefill(x, min(stop + 1, self.scan.sites), cache)


class PrefillsNothing(Right):
    def prefill(self, x: Tensor, stop: int, cache: State) -> None:
        pass


class ForgetsInStep(Right):
    def step(self, x: Tensor, t: int, cache: State) -> Tensor:
        if t == 4:
            cache.total = torch.zeros_like(cache.total)
        return super().step(x, t, cache)


class OtherLabelsInStep(Right):
    def init_cache(self, x: Tensor, labels: Tensor | None = None) -> State:
        return replace(super().init_cache(x, labels), label=self.other(labels))


class SelectsNothing(Right):
    def select(self, cache: State, rows: Tensor) -> State:
        return super().select(cache, torch.arange(len(rows)) % len(cache.total))


class SelectsWhereTheNumberChanges(Right):
    def select(self, cache: State, rows: Tensor) -> State:
        return cache if len(rows) == len(cache.total) else super().select(cache, rows)


class SelectsWithoutLabels(Right):
    def select(self, cache: State, rows: Tensor) -> State:
        first = torch.arange(len(rows)) % len(cache.label)
        return State(cache.total[rows], cache.label[first])


class SelectsInSortedOrder(Right):
    def select(self, cache: State, rows: Tensor) -> State:
        return super().select(cache, rows.sort().values)


class IgnoresLabels(Right):
    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.out(self.before(self.embed(x)))

    def init_cache(self, x: Tensor, labels: Tensor | None = None) -> State:
        state = super().init_cache(x, labels)
        return replace(state, label=torch.zeros_like(state.label))


class IgnoresLabelsAtFirst(Right):
    """The label reaches a site by the sites before it only, so that the first is without."""

    def vectors(self, x: Tensor, labels: Tensor | None) -> Tensor:
        return self.embed(x) + self.label(labels)[:, None]

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.out(self.before(self.vectors(x, labels)))


class NotNormalized(Bernoulli):
    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        return super().log_prob(params, x) + 1e-3


MUTANTS: dict[type[Net], Callable[[PixelModel], None]] = {
    SeesItself: assert_autoregressive,
    SeesTheNext: assert_autoregressive,
    SeesTheMean: assert_autoregressive,
    InAnotherOrder: assert_autoregressive,
    ReadsAhead: assert_cache_equals_forward,
    KeepsStateInTheModule: assert_cache_equals_forward,
    PrefillsOneTooMany: assert_cache_equals_forward,
    PrefillsNothing: assert_cache_equals_forward,
    ForgetsInStep: assert_cache_equals_forward,
    OtherLabelsInStep: assert_uses_labels,
    SelectsNothing: assert_cache_selects,
    SelectsWhereTheNumberChanges: assert_cache_selects,
    SelectsWithoutLabels: assert_cache_selects,
    SelectsInSortedOrder: assert_cache_selects,
    IgnoresLabels: assert_uses_labels,
    IgnoresLabelsAtFirst: assert_uses_labels,
}


def model_of(net: type[Net], head: type[Bernoulli] = Bernoulli) -> PixelModel:
    built = net(build_scan("raster", SHAPE), 2, 1)
    return randomise(PixelModel(built, head(2, 1), Threshold(), SHAPE)).eval()


def test_a_right_net_passes() -> None:
    assert_net(model_of(Right))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda net: net.__name__)
def test_wrong_nets_are_found(mutant: type[Net]) -> None:
    with pytest.raises(AssertionError, match=mutant.__name__):
        MUTANTS[mutant](model_of(mutant))
    with pytest.raises((AssertionError, RuntimeError)):
        assert_net(model_of(mutant))


def test_a_head_that_is_not_normalized_is_found() -> None:
    with pytest.raises(AssertionError, match="sum to"):
        assert_normalised(model_of(Right, NotNormalized))
