"""Caches, which make sampling fast: what a pass over a canvas keeps of earlier sites.

`forward` of a net computes all sites in one parallel pass; a cache computes the same vectors one
after another, each from what the earlier steps left. `RecomputeCache` runs `forward` for every
site: correct for every net, and the reference that all others are tested against.
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
        filled: The axis of positions, if only the first `filled` of them (an attribute of the
            object) are written and have to be copied; None if all are.
    """

    axis: int
    filled: int | None = None


class Batched:
    """A base class of objects whose fields have a row for each canvas of a batch.

    Attributes:
        batch_axis: The names of these fields, each with the axis of the batch. A field may hold a
            tensor, something `Batched`, None, or a list, tuple or dictionary of these.
        lazy_views: Dictionaries of views of other fields, which are filled on demand.
        filled: How many positions are written; see `Rows`.
    """

    batch_axis: ClassVar[Mapping[str, int | Rows]] = {}
    lazy_views: ClassVar[tuple[str, ...]] = ()
    filled: int = 0

    def select(self, rows: Tensor) -> None:
        """Replaces the fields by those of a batch whose row k is row `rows[k]` of the present one.

        Tensors are replaced one by one, so that two copies of a large cache never exist at once.

        Arguments:
            rows: Indices of rows of the batch with shape (B',), which may be repeated or left out.
        """
        for name, axis in self.batch_axis.items():
            axis = axis if isinstance(axis, Rows) else Rows(axis)
            setattr(self, name, self._selected(getattr(self, name), rows, axis))
        for name in self.lazy_views:
            getattr(self, name).clear()
        self.make_views()

    def make_views(self) -> None:
        """Creates what is derived from the fields: views, and scratch buffers of their size."""

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
    """What a pass over a canvas keeps, for nets of one class.

    The contract, which `pixelar.testing` checks:
        1. `step` is called with t = 0, 1, 2 … (from `stop` after a `prefill`), once for each t,
           on the same canvas; sites before t are final, the rest is arbitrary. It returns the same
           as `net(x, labels)[:, t]`.
        2. All state is in the cache and none in the net, so that two passes can be interleaved.
        3. `select`, called between two steps, turns it into the cache of other rows of the batch:
           every field with a row for each canvas is in `batch_axis`.

    Arguments:
        net: The net; its weights may be copied in another form, so they must not change during the
            pass.
        x: A canvas with shape (B, C, H, W), or another tensor of this shape.
        labels: Classes with shape (B,), if the net is conditioned on them.
    """

    def __init__(self, net: N, x: Tensor, labels: Tensor | None = None) -> None:
        self.net, self.labels = net, labels

    def step(self, x: Tensor, t: int) -> Tensor:
        """Returns the parameters of site t of the canvas x, with shape (B, P)."""
        raise NotImplementedError

    def prefill(self, x: Tensor, stop: int) -> None:
        """Brings a fresh cache, in one parallel pass, to the state that the steps before `stop`
        leave.
        """

    def select(self, rows: Tensor) -> None:
        if self.labels is not None:
            self.labels = self.labels[rows]
        super().select(rows)


class StepsCache(Cache[N]):
    """A cache that computes several successive sites at little more than the cost of one, as
    attention can.
    """

    def step(self, x: Tensor, t: int) -> Tensor:
        return self.steps(x, t, t + 1)[:, 0]

    def steps(self, x: Tensor, first: int, stop: int) -> Tensor:
        """Returns the parameters of the sites from `first` to `stop` - 1, with shape (B, n, P).

        The result is that of calling `step` for each of these sites in turn, with the canvas x
        taken as final. The next call may begin at any site from `first` + 1 to `stop`; the steps of
        the sites from there on are then discarded.
        """
        raise NotImplementedError


class WaveCache(Generic[N]):
    """What is kept of a canvas whose pixels are computed in waves; see `Net.reach`.

    Arguments:
        net: The net.
        x: A canvas with shape (B, C, H, W), or another tensor of this shape.
        labels: Classes with shape (B,), if the net is conditioned on them.
    """

    def __init__(self, net: N, x: Tensor, labels: Tensor | None = None) -> None:
        self.net, self.labels = net, labels

    def wave(self, x: Tensor, sites: Tensor) -> Tensor:
        """Returns the parameters of the sites (n,) of a wave of the canvas x: (B, n, P).

        It is called once for each wave, in order; the sites of earlier waves are final.
        """
        raise NotImplementedError


class RecomputeCache(Cache[Net]):
    """Runs `forward` for every site: slow, and correct for every net."""

    def step(self, x: Tensor, t: int) -> Tensor:
        return self.net(x, self.labels)[:, t]


class RecomputeWaves(WaveCache[Net]):
    """Runs `forward` for every wave."""

    def wave(self, x: Tensor, sites: Tensor) -> Tensor:
        return self.net(x, self.labels)[:, sites]
