"""The base class of nets: one parameter vector per site of an image, from the sites before it.

`forward` computes all sites in one parallel pass, for likelihoods and their gradients.
`pixelar.caches` computes the same vectors one after another, to draw images. Every net reads its
symbols through one sub-module, `embed`, so that tests can trace them.
"""

import abc
from collections.abc import Callable, Collection
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pixelar.common.arguments import Recorded
from pixelar.errors import ConfigError
from pixelar.scan import Scan

__all__ = [
    "Net",
    "require_odd",
    "require_positive",
    "require_scan",
    "same_sites",
    "takes_any_order",
]

T = TypeVar("T")


class Net(Recorded, nn.Module, abc.ABC):
    """A causal network over the sites of a scan.

    The contract, which `pixelar.testing` checks:
        1. `forward(x)[:, t]` depends on the sites before t only.
        2. Nothing in the module changes while it computes.
        3. Parameters come out in scan order.
        4. Every parameter gets a gradient.

    A subclass may name a `cache_class`, which computes one site after another faster than by
    running `forward` for each; see `pixelar.caches.base.Cache`.

    The further arguments of a subclass are recorded, and saved with a model: numbers, strings, or
    lists and dictionaries of these.

    Attributes:
        grad_checkpointing: Whether training drops the activations inside the blocks that `forward`
            runs through `run`, and computes them a second time for the gradients.

    Arguments:
        scan: The order of the sites of an image with shape (C, H, W).
        levels: V, the number of values of a symbol.
        out_features: P, the number of parameters per site that the head requires.
        classes: The number of class labels the net is conditioned on; 0 for none.
    """

    supplied = ("scan", "levels", "out_features")

    embed: nn.Module
    grad_checkpointing = False

    def __init__(self, scan: Scan, levels: int, out_features: int, classes: int = 0) -> None:
        super().__init__()
        if classes < 0:
            raise ConfigError(f"{type(self).__name__}: classes must not be negative; got {classes}")
        self.scan, self.levels, self.out_features = scan, levels, out_features
        self.classes = classes
        self.built_in = scan.name  # the scan a saved model is rebuilt in, whatever `reorder` did

    @abc.abstractmethod
    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Returns the parameters of every site with shape (B, T, P), in scan order.

        Arguments:
            x: Symbols with shape (B, C, H, W).
            labels: Classes with shape (B,), if the net is conditioned on them.
        """

    def forward_features(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Returns the features that `forward_head` maps to parameters, with shape (B, …).

        Where `forward` is `forward_head(forward_features(x))`, a likelihood never needs the
        parameters of all images at once, which take most of the memory if V is large.
        """
        return self.forward(x, labels)

    def forward_head(self, features: Tensor) -> Tensor:
        """Returns the parameters (B, T, P) of all sites from the features of some images."""
        return features

    def run(self, block: Callable[..., T], *inputs: Tensor | None) -> T:
        """Returns block(*inputs). With `grad_checkpointing`, only the inputs are kept for the
        gradients; dropout is the same both times.
        """
        if self.grad_checkpointing and torch.is_grad_enabled():
            return checkpoint(block, *inputs, use_reentrant=False)
        return block(*inputs)

    def initialize(self, x: Tensor, labels: Tensor | None = None) -> None:
        """Fits initial weights to the first batch of a new run, for nets that begin with data.

        Arguments:
            x: Symbols with shape (B, C, H, W).
            labels: Classes with shape (B,), if the net is conditioned on them.
        """

    def reorder(self, scan: Scan) -> None:
        """Visits the same sites in the order of another scan from now on.

        Call it between passes only, since it changes the module; `pixelar.in_order` returns a twin
        of a model in another order instead.

        Raises:
            PixelarError: If the order of the net is fixed, or the scan has other sites.
        """
        raise ConfigError(
            f"net {type(self).__name__} has a fixed order ({self.scan.name}); "
            "nets that take any order are LMConv and AnyOrderGPT"
        )

    def reach(self) -> int | None:
        """Returns the bound r on how many columns further right a site reads for each row up: of
        row i - d, a site at (i, j) reads nothing right of column j + r·d. None where there is no
        bound.

        With a bound, pixels with the same j + (r + 1)·i do not depend on each other, and can be
        computed at once as a wave, by a `wave_class` if the net has one.
        """
        return None


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
    # a copy, since the averaging of weights swaps the values of buffers
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


def require_odd(net: Net, reason: str, **sizes: int) -> None:
    """Raises PixelarError unless the kernels of a net, given by name, are odd and at least 3.

    It may be called before the net's layers exist, which refuse an even size without naming it.
    """
    for name, size in sizes.items():
        if size < 3 or size % 2 == 0:
            raise ConfigError(
                f"net {type(net).__name__}: {name} must be odd and at least 3, {reason}; got {size}"
            )
