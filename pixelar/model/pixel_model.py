"""The model: quantizer × net × head, whose one job is log p(x)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pixelar.common.arrays import DTYPES, Array, as_images, as_labels, as_symbols, holds
from pixelar.common.graphs import writes_program
from pixelar.errors import ConfigError, DataError
from pixelar.heads import Head
from pixelar.model.likelihood import Score, add_sites, by_parts
from pixelar.names import Shape
from pixelar.names.classes import check_names
from pixelar.nets import Net
from pixelar.quantizers import Quantizer
from pixelar.scan import Scan

__all__ = ["PixelModel", "evaluating"]


class PixelModel(nn.Module):
    """A distribution over images: log p(x) = Σ_t Σ_s log p(x[t,s] | x[<t], x[t,<s]).

    Arguments:
        net: Turns symbols into parameters of every site.
        head: Turns the parameters of a site into a distribution over its symbols.
        quantizer: Turns images into symbols.
        image_shape: The shape (C, H, W) of an image.
        image_dtype: The type of the images that the model draws, which is that of its training
            data: uint8, uint16, int32 or int64; None for the quantizer's own.

    Example:
        >>> from pixelar.heads import Categorical
        >>> from pixelar.nets import ImageGPT
        >>> from pixelar.quantizers import BitDepth
        >>> from pixelar.scan import build_scan
        >>> scan = build_scan("raster", (1, 4, 4))
        >>> net = ImageGPT(scan, 4, 4, width=8, depth=1, heads=1)
        >>> model = PixelModel(net, Categorical(4, 1), BitDepth(bits=2), (1, 4, 4))
        >>> model(torch.zeros(3, 1, 4, 4, dtype=torch.long)).shape
        torch.Size([3])
    """

    def __init__(
        self,
        net: Net,
        head: Head,
        quantizer: Quantizer,
        image_shape: Shape,
        image_dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        scan = net.scan
        if head.symbols != scan.symbols:
            raise ConfigError(
                f"head {type(head).__name__} codes {head.symbols} symbols per site "
                f"but scan {scan.name!r} has {scan.symbols}"
            )
        if net.out_features != head.num_params:
            raise ConfigError(
                f"net {type(net).__name__} gives {net.out_features} parameters per site "
                f"but head {type(head).__name__} takes {head.num_params}"
            )
        if not net.levels == head.levels == quantizer.levels:
            raise ConfigError(
                f"levels differ: quantizer {quantizer.levels}, net {net.levels}, head {head.levels}"
            )
        if quantizer.symbol_shape(image_shape) != scan.shape:
            raise ConfigError(
                f"images of shape {image_shape} have symbols of shape "
                f"{quantizer.symbol_shape(image_shape)}, but the scan is for {scan.shape}"
            )
        self.net, self.head, self.quantizer = net, head, quantizer
        self.image_shape: Shape = (image_shape[0], image_shape[1], image_shape[2])
        self.image_dtype = check_dtype(image_dtype or quantizer.dtype, quantizer)
        self._class_names: tuple[str, ...] | None = None
        self._compiled: tuple[Callable[..., Tensor], Score] | None = None

    @property
    def scan(self) -> Scan:
        return self.net.scan

    @property
    def classes(self) -> int:
        """The number of classes the model is conditioned on; 0 for none."""
        return self.net.classes

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """The names of the classes by number, or None where they are not known."""
        return self._class_names

    @class_names.setter
    def class_names(self, names: object) -> None:
        self._class_names = None if names is None else check_names(names, self.classes)

    @property
    def device(self) -> torch.device:
        return self.scan.index.device

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Returns log p(x) in nats with shape (B,), for symbols with shape (B, C, H, W).

        Raises:
            PixelarError: As `log_prob_sites`.
        """
        return add_sites(self.log_prob_sites(x, labels))

    def log_prob_sites(
        self, x: Tensor, labels: Tensor | None = None, *, seen: Tensor | None = None
    ) -> Tensor:
        """Returns the log-probability of each site given those before it, with shape (B, T).

        Arguments:
            x: Symbols with shape (B, C, H, W).
            labels: Classes with shape (B,), for a model that is conditioned on them.
            seen: What the net reads in place of x, such as x with noise.

        Raises:
            PixelarError: If symbols or labels do not fit the model; while a program is compiled
                or exported, nothing is checked.
        """
        if not writes_program():
            x, labels = self.check_symbols(x), self.check_labels(labels, len(x))
            seen = None if seen is None else self.check_symbols(seen)
        return self.trusting_log_prob_sites(x, labels, seen=seen)

    def trusting_log_prob_sites(
        self, x: Tensor, labels: Tensor | None = None, *, seen: Tensor | None = None
    ) -> Tensor:
        """Returns the same as `log_prob_sites`, without checks, so that nothing waits for a GPU:
        for symbols that come from `encode` and checked labels, all of them on the model's device.
        """
        if not (writes_program() or len(x)):  # so that no net has to take a batch of no images
            return torch.zeros(0, self.scan.sites, device=self.device)
        features, score = self._compiled or (self.net.forward_features, self.score)
        size = 4 * self.scan.sites * self.head.num_params
        h = features(x if seen is None else seen, labels)
        return by_parts(score, h, self.scan.gather(x), size)

    def score(self, features: Tensor, symbols: Tensor) -> Tensor:
        """Returns the log-probability of each site, with shape (B, T).

        Arguments:
            features: What the net's `forward_features` returns.
            symbols: The symbols of the sites, with shape (B, T, S).
        """
        return self.head.log_prob(self.net.forward_head(features), symbols)

    def compile(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        """Compiles likelihoods and their gradients; arguments are those of `torch.compile`.

        Parameters keep their names, and copies of the model are not compiled.
        """
        features = torch.compile(self.net.forward_features, *args, **kwargs)
        self._compiled = features, torch.compile(self.score, *args, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_compiled": None}

    def check_images(self, images: Array) -> Tensor:
        """Returns images as a tensor of integers; raises PixelarError if their values are outside
        of the model's range.
        """
        return as_images(images, *self.quantizer.values, self.quantizer.dtype)

    def blank(self, n: int) -> Tensor:
        """Returns n images of the smallest value that the model takes, with shape (n, C, H, W)."""
        least, dtype = self.quantizer.values[0], self.quantizer.dtype
        return torch.full((n, *self.image_shape), least, dtype=dtype)

    def decode(self, x: Tensor) -> Tensor:
        """Returns the images (B, C, H, W) of symbols, of type `image_dtype` and on their device."""
        return self.quantizer.decode(x).to(self.image_dtype)

    def encode(self, images: Array) -> Tensor:
        """Returns the symbols (B, C, H, W) of images, on the model's device.

        Raises:
            PixelarError: If the images have another size, type or range than the model's.
        """
        images = self.check_images(images)
        if images.ndim != 4 or tuple(images.shape[1:]) != self.image_shape:
            raise DataError(
                f"the model takes images of shape (B, {', '.join(map(str, self.image_shape))}) "
                f"(channels, height, width); got {tuple(images.shape)}"
            )
        images = images.to(self.device)
        self.quantizer.check(images)
        return self.quantizer.encode(images)

    def check_symbols(self, x: Array) -> Tensor:
        """Returns symbols on the model's device; raises PixelarError if they do not fit."""
        if isinstance(x, Tensor) and x.is_meta:
            return x  # there are no values to check
        x = as_symbols(x, self.net.levels)
        if x.ndim != 4 or tuple(x.shape[1:]) != self.scan.shape:
            raise DataError(
                f"the model takes symbols of shape (B, {', '.join(map(str, self.scan.shape))}) "
                f"(channels, height, width); got {tuple(x.shape)}"
            )
        return x.to(self.device)

    def check_labels(self, labels: Array | None, batch: int) -> Tensor | None:
        """Returns labels on the model's device; raises PixelarError if they do not fit."""
        if self.classes == 0:
            if labels is not None:
                raise DataError(
                    "labels given, but the model is not conditioned on classes (classes: 0)"
                )
            return None
        if labels is None:
            raise DataError(
                f"the model is conditioned on {self.classes} classes: "
                f"pass labels from 0 to {self.classes - 1}"
            )
        labels = as_labels(labels)
        if labels.shape != (batch,):
            raise DataError(
                f"{batch} images need labels of shape ({batch},); got {tuple(labels.shape)}"
            )
        labels = labels.to(self.device)
        if writes_program():  # a recorded program has no label values
            return labels
        if labels.numel() and not (0 <= int(labels.min()) and int(labels.max()) < self.classes):
            raise DataError(
                f"labels must be from 0 to {self.classes - 1}; "
                f"got {int(labels.min())} to {int(labels.max())}"
            )
        return labels


def check_dtype(dtype: torch.dtype, quantizer: Quantizer) -> torch.dtype:
    """Returns a type of images; raises PixelarError if it cannot hold those of a quantizer."""
    if dtype not in DTYPES.values():
        raise ConfigError(f"images are of type {', '.join(DTYPES)}; got {dtype}")
    least, most = quantizer.values
    if not holds(dtype, least, most):
        raise ConfigError(
            f"images of {dtype} cannot hold the values {least} … {most} of quantizer "
            f"{type(quantizer).__name__}"
        )
    return dtype


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Switches dropout off while the body runs."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
