"""What a net is: one parameter vector per site of an image, from the sites before it.

`forward` computes all sites in one parallel pass; `init_cache`, `step` and `prefill` compute the
same vectors one after another, and `select` copies walks in between. The defaults here re-run
`forward`, so they are right for every net; overriding them only makes it fast. Every net enters its
symbols through the one sub-module `embed`, so that tests can follow them.
"""

import abc
from collections.abc import Callable, Collection
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pixelar.common.arguments import Recorded
from pixelar.errors import ConfigError
from pixelar.scan import Scan

__all__ = [
    "Cache",
    "Net",
    "keep_rows",
    "require_positive",
    "require_scan",
    "same_sites",
    "takes_any_order",
]

Cache: TypeAlias = Any  # opaque to everyone but the net that made it
T = TypeVar("T")


class Net(Recorded, nn.Module, abc.ABC):
    """A causal network over the sites of a scan.

    The contract, which `pixelar.testing` checks:
        1. `forward(x)[:, t]` depends on the sites before t only.
        2. `step` is called with t = 0, 1, 2 … (from `stop` after a `prefill`), once each, on the
           same canvas; sites before t are final, the rest is arbitrary. It returns
           `forward(x)[:, t]`.
        3. The cache belongs to the caller: nothing in the module changes, so that two walks can
           run at once.
        4. Parameters come out in scan order.
        5. Every parameter gets a gradient.
        6. `select` gives the cache of other rows of the batch, so that walks can be copied,
           dropped and put in another order between two steps.

    The further arguments of a subclass are recorded, and saved with a model: numbers, strings, or
    lists and dictionaries of these.

    Attributes:
        checkpointing: Whether training forgets what is inside the blocks that `forward` runs
            through `run`, and computes it a second time for the gradients.

    Arguments:
        scan: The order of the sites of an image with shape (C, H, W).
        levels: V, the number of values of a symbol.
        out_features: P, the number of parameters per site that the head asks for.
        classes: The number of class labels the net is conditioned on; 0 for none.
    """

    supplied = ("scan", "levels", "out_features")

    embed: nn.Module
    checkpointing = False

    def __init__(self, scan: Scan, levels: int, out_features: int, classes: int = 0) -> None:
        super().__init__()
        if classes < 0:
            raise ConfigError(f"{type(self).__name__}: classes must not be negative; got {classes}")
        self.scan, self.levels, self.out_features = scan, levels, out_features
        self.classes = classes
        self.built_in = scan.name  # what a saved model is built in again, whatever `reorder` did

    @abc.abstractmethod
    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Returns the parameters of every site with shape (B, T, P), in scan order.

        Arguments:
            x: Symbols with shape (B, C, H, W).
            labels: Classes with shape (B,), if the net is conditioned on them.
        """

    def features(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Returns what `read` makes the parameters of, with shape (B, …).

        A net whose `forward` is `read(features(x))` never needs the parameters of all images at
        once for a likelihood, which are most of the memory where V is large.
        """
        return self.forward(x, labels)

    def read(self, features: Tensor) -> Tensor:
        """Returns the parameters (B, T, P) of all sites from the features of some images."""
        return features

    def run(self, block: Callable[..., T], *inputs: Tensor | None) -> T:
        """Returns block(*inputs). With `checkpointing`, only the inputs are kept for the gradients;
        dropout is the same both times.
        """
        if self.checkpointing and torch.is_grad_enabled():
            return checkpoint(block, *inputs, use_reentrant=False)
        return block(*inputs)

    def initialise(self, x: Tensor, labels: Tensor | None = None) -> None:
        """Sets weights by the first batch that a new run trains on, for a net that begins so.

        Arguments:
            x: Symbols with shape (B, C, H, W).
            labels: Classes with shape (B,), if the net is conditioned on them.
        """

    def init_cache(self, x: Tensor, labels: Tensor | None = None) -> Cache:
        """Returns what `step` needs to remember of a walk over a canvas like x (B, C, H, W)."""
        return labels

    def step(self, x: Tensor, t: int, cache: Cache) -> Tensor:
        """Returns the parameters of site t of the canvas x, with shape (B, P)."""
        return self(x, cache)[:, t]

    def steps(self, x: Tensor, first: int, stop: int, cache: Cache) -> Tensor:
        """Returns the parameters of the sites from `first` to `stop` - 1, with shape (B, n, P).

        As `step` would be called for them in turn, if the canvas x were final there; afterwards
        the next call may be for any site from `first` + 1 to `stop`, as if the steps before it had
        been the last. Only for a net that can do it faster than `forward`.
        """
        raise NotImplementedError

    def prefill(self, x: Tensor, stop: int, cache: Cache) -> None:
        """Brings a fresh cache, in one pass, to where the steps before `stop` would have."""

    def select(self, cache: Cache, rows: Tensor) -> Cache:
        """Returns the cache of a canvas whose row k is row `rows[k]` of the one walked so far.

        Arguments:
            cache: The cache so far; it is not used any more.
            rows: Numbers of rows of the batch with shape (B',); any may occur often, or never.
        """
        return None if cache is None else cache[rows]

    def reorder(self, scan: Scan) -> None:
        """Visits the same sites in the order of another scan from now on. Between walks only, since
        it changes the module: `pixelar.in_order` gives a model a twin in another order.

        Raises:
            PixelarError: If the order of the net is fixed, or the scan has other sites.
        """
        raise ConfigError(
            f"net {type(self).__name__} has a fixed order ({self.scan.name}); "
            "nets that take any order are LMConv and AnyOrderGPT"
        )

    def reach(self) -> int | None:
        """Returns how many columns to the right a site looks, at most, for each row that it looks
        up: r where a site at (i, j) sees of row i - d nothing right of column j + r·d. None where
        there is no bound.

        With a bound, pixels with the same j + (r + 1)·i do not see each other, and waves of them
        can be computed at once; see `pixelar.sampling.schedules.parallel`.
        """
        return None

    def init_waves(self, x: Tensor, labels: Tensor | None = None) -> Cache:
        """Returns what `wave` needs to remember of a canvas like x (B, C, H, W)."""
        return labels

    def wave(self, x: Tensor, sites: Tensor, cache: Cache) -> Tensor:
        """Returns the parameters of the sites (n,) of a wave of the canvas x: (B, n, P).

        It is called with all waves in turn, once each; the sites of earlier waves are final.
        """
        return self(x, cache)[:, sites]


def keep_rows(tensors: list[Tensor], rows: Tensor, dim: int = 0) -> list[Tensor]:
    """Replaces tensors of a list by some of their rows, and returns the list.

    One after another, so that a large cache and its successor never exist at once.
    """
    for k, tensor in enumerate(tensors):
        tensors[k] = tensor.index_select(dim, rows)
    return tensors


def require_scan(net: Net, accepted: Collection[str]) -> None:
    """Raises PixelarError unless the scan of a net is one that its layers are made for."""
    if net.scan.name not in accepted:
        name = type(net).__name__
        raise ConfigError(
            f"net {name}: its masks follow the order of rows, not scan {net.scan.name!r}; "
            f"use scan: {' or '.join(accepted)}"
        )


def same_sites(net: Net, scan: Scan) -> Scan:
    """Returns a copy of another scan of the sites of a net, on its device.

    Raises:
        PixelarError: If the scan is of another shape, or divides the image into other sites.
    """
    own = net.scan
    # a copy, as the average of weights exchanges the values of buffers
    placed = Scan(scan.name, scan.shape, scan.index.to(own.index.device, copy=True))
    sites = [s.index[s.index[:, 0].argsort()] for s in (own, placed)]
    if own.shape != scan.shape or not torch.equal(*sites):
        raise ConfigError(
            f"net {type(net).__name__} was built for {own.sites} sites of {own.symbols} symbols "
            f"in images of shape {own.shape}; scan {scan.name!r} has {scan.sites} of "
            f"{scan.symbols} in {scan.shape}"
        )
    return placed


def takes_any_order(net: Net) -> bool:
    """Returns whether the order of a net can be changed by `reorder`."""
    return type(net).reorder is not Net.reorder


def require_positive(net: Net, **values: int) -> None:
    """Raises PixelarError unless the sizes of a net, given by name, are at least 1."""
    for name, value in values.items():
        if value < 1:
            raise ConfigError(f"net {type(net).__name__}: {name} must be at least 1; got {value}")
