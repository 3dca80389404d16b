"""What makes sampling fast: what a pass over a canvas remembers of the sites before.

`forward` of a net computes all sites in one parallel pass; a cache computes the same vectors one
after another, each from what the earlier ones left. `RecomputeCache` runs `forward` for every site:
right for every net, and what all others are tested against.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from torch import Tensor

from pixelar.nets.base import Net

__all__ = ["Batched", "Cache", "RecomputeCache", "RecomputeWaves", "Rows", "StepsCache"]
__all__ += ["WaveCache"]

N = TypeVar("N", bound=Net)


class Rows(NamedTuple):
    """Which axis of a tensor has a row for each canvas.

    Attributes:
        axis: The axis of the batch.
        filled: The axis of positions, of which only the first `filled` of the object are written
            and worth copying; None where all are.
    """

    axis: int
    filled: int | None = None


class Batched:
    """Something with fields that have a row for each canvas of a batch.

    Attributes:
        batch_axis: These fields by name, each with its axis of the batch. A field may hold a
            tensor, something `Batched`, None, or a list, tuple or dictionary of these.
        lazy_views: Dictionaries of views of other fields, which are filled when they are needed.
        filled: How many positions are written; see `Rows`.
    """

    batch_axis: ClassVar[Mapping[str, int | Rows]] = {}
    lazy_views: ClassVar[tuple[str, ...]] = ()
    filled: int = 0

    def select(self, rows: Tensor) -> None:
        """Becomes that of a canvas whose row k is row `rows[k]` of the one so far.

        One tensor after another, so that a large cache and its successor never exist at once.

        Arguments:
            rows: Numbers of rows of the batch with shape (B',); any may occur often, or never.
        """
        for name, axis in self.batch_axis.items():
            axis = axis if isinstance(axis, Rows) else Rows(axis)
            setattr(self, name, self._selected(getattr(self, name), rows, axis))
        for name in self.lazy_views:
            getattr(self, name).clear()
        self.make_views()

    def make_views(self) -> None:
        """Makes what is derived from the fields: views, and scratch buffers of their size."""

    def _selected(self, value: Any, rows: Tensor, axis: Rows) -> Any:  # noqa: ANN401
        if isinstance(value, Batched):
            value.select(rows)
        elif isinstance(value, dict):
            for key in value:
                value[key] = self._selected(value[key], rows, axis)
        elif isinstance(value, list):
            for k in range(len(value)):
                value[k] = self._selected(value[k], rows, axis)
        elif isinstance(value, tuple):
            return tuple(self._selected(each, rows, axis) for each in value)
        elif isinstance(value, Tensor) and axis.filled is not None:
            shape = [*value.shape]
            shape[axis.axis] = len(rows)
            kept, written = value.new_empty(shape), value.narrow(axis.filled, 0, self.filled)
            kept.narrow(axis.filled, 0, self.filled).copy_(written.index_select(axis.axis, rows))
            return kept
        elif isinstance(value, Tensor):
            return value.index_select(axis.axis, rows)
        return value


class Cache(Batched, Generic[N]):
    """What a pass over a canvas remembers, for nets of one kind.

    The contract, which `pixelar.testing` checks:
        1. `step` is called with t = 0, 1, 2 … (from `stop` after a `prefill`), once each, on the
           same canvas; sites before t are final, the rest is arbitrary. It returns what
           `net(x, labels)[:, t]` does.
        2. All state is here and none in the net, so that two passes can take turns.
        3. `select` makes it the cache of other rows of the batch, between two steps: every field
           with a row for each canvas is in `batch_axis`.

    Arguments:
        net: The net; its weights may be copied in another form, so they must stay as they are.
        x: A canvas with shape (B, C, H, W), or one of its size.
        labels: Classes with shape (B,), if the net is conditioned on them.
    """

    def __init__(self, net: N, x: Tensor, labels: Tensor | None = None) -> None:
        self.net, self.labels = net, labels

    def step(self, x: Tensor, t: int) -> Tensor:
        """Returns the parameters of site t of the canvas x, with shape (B, P)."""
        raise NotImplementedError

    def prefill(self, x: Tensor, stop: int) -> None:
        """Brings a fresh cache, in one pass, to where the steps before `stop` would have."""

    def select(self, rows: Tensor) -> None:
        if self.labels is not None:
            self.labels = self.labels[rows]
        super().select(rows)


class StepsCache(Cache[N]):
    """A cache that computes some successive sites for little more than one, as attention does."""

    def step(self, x: Tensor, t: int) -> Tensor:
        return self.steps(x, t, t + 1)[:, 0]

    def steps(self, x: Tensor, first: int, stop: int) -> Tensor:
        """Returns the parameters of the sites from `first` to `stop` - 1, with shape (B, n, P).

        As `step` would be called for them in turn, if the canvas x were final there; afterwards
        the next call may be for any site from `first` + 1 to `stop`, as if the steps before it had
        been the last.
        """
        raise NotImplementedError


class WaveCache(Batched, Generic[N]):
    """What is remembered of a canvas whose pixels are computed in waves; see `Net.reach`.

    Arguments:
        net: The net.
        x: A canvas with shape (B, C, H, W), or one of its size.
        labels: Classes with shape (B,), if the net is conditioned on them.
    """

    def __init__(self, net: N, x: Tensor, labels: Tensor | None = None) -> None:
        self.net, self.labels = net, labels

    def wave(self, x: Tensor, sites: Tensor) -> Tensor:
        """Returns the parameters of the sites (n,) of a wave of the canvas x: (B, n, P).

        It is called with all waves in turn, once each; the sites of earlier waves are final.
        """
        raise NotImplementedError


class RecomputeCache(Cache[Net]):
    """Runs `forward` for every site: slow, and right for every net."""

    def step(self, x: Tensor, t: int) -> Tensor:
        return self.net(x, self.labels)[:, t]


class RecomputeWaves(WaveCache[Net]):
    """Runs `forward` for every wave."""

    def wave(self, x: Tensor, sites: Tensor) -> Tensor:
        return self.net(x, self.labels)[:, sites]
