"""The model: quantizer × net × head, whose one job is log p(x)."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pixelar.errors import PixelarError, did_you_mean
from pixelar.heads import HEADS, Head
from pixelar.likelihood import Score, by_parts
from pixelar.nets import NETS, Net
from pixelar.quantizers import QUANTIZERS, Quantizer
from pixelar.scan import Scan, Shape, build_scan

__all__ = ["PixelModel", "build_model", "describe_model", "evaluating"]


class PixelModel(nn.Module):
    """A distribution over images: log p(x) = Σ_t Σ_s log p(x[t,s] | x[<t], x[t,<s]).

    Arguments:
        net: Turns symbols into parameters of every site.
        head: Turns the parameters of a site into a distribution over its symbols.
        quantizer: Turns 8-bit images into symbols.
        image_shape: The shape (C, H, W) of an 8-bit image.

    Example:
        >>> from pixelar.heads import Categorical
        >>> from pixelar.nets import ImageGPT
        >>> from pixelar.quantizers import BitDepth
        >>> scan = build_scan("raster", (1, 4, 4))
        >>> net = ImageGPT(scan, 4, 4, width=8, depth=1, heads=1)
        >>> model = PixelModel(net, Categorical(4, 1), BitDepth(bits=2), (1, 4, 4))
        >>> model(torch.zeros(3, 1, 4, 4, dtype=torch.long)).shape
        torch.Size([3])
    """

    def __init__(self, net: Net, head: Head, quantizer: Quantizer, image_shape: Shape) -> None:
        super().__init__()
        scan = net.scan
        if head.symbols != scan.symbols:
            raise PixelarError(
                f"head {type(head).__name__} codes {head.symbols} symbols per site "
                f"but scan {scan.name!r} has {scan.symbols}"
            )
        if net.out_features != head.num_params:
            raise PixelarError(
                f"net {type(net).__name__} gives {net.out_features} parameters per site "
                f"but head {type(head).__name__} takes {head.num_params}"
            )
        if not net.levels == head.levels == quantizer.levels:
            raise PixelarError(
                f"levels differ: quantizer {quantizer.levels}, net {net.levels}, head {head.levels}"
            )
        if quantizer.symbol_shape(image_shape) != scan.shape:
            raise PixelarError(
                f"images of shape {image_shape} have symbols of shape "
                f"{quantizer.symbol_shape(image_shape)}, but the scan is for {scan.shape}"
            )
        self.net, self.head, self.quantizer = net, head, quantizer
        self.image_shape: Shape = (image_shape[0], image_shape[1], image_shape[2])
        self._compiled: tuple[Callable[..., Tensor], Score] | None = None

    @property
    def scan(self) -> Scan:
        return self.net.scan

    @property
    def classes(self) -> int:
        """The number of classes the model is conditioned on; 0 for none."""
        return self.net.classes

    @property
    def device(self) -> torch.device:
        return self.scan.index.device

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Returns log p(x) in nats with shape (B,), for symbols with shape (B, C, H, W)."""
        return self.log_prob_sites(x, labels).sum(1)

    def log_prob_sites(
        self, x: Tensor, labels: Tensor | None = None, *, seen: Tensor | None = None
    ) -> Tensor:
        """Returns the log-probability of each site given those before it, with shape (B, T).

        Arguments:
            x: Symbols with shape (B, C, H, W).
            labels: Classes with shape (B,), for a model that is conditioned on them.
            seen: What the net sees in place of x, such as x with noise.
        """
        labels = self.check_labels(labels, len(x))
        features, score = self._compiled or (self.net.features, self.score)
        size = 4 * self.scan.sites * self.head.num_params
        h = features(x if seen is None else seen, labels)
        return by_parts(score, h, self.scan.gather(x), size)

    def score(self, features: Tensor, symbols: Tensor) -> Tensor:
        """Returns the log-probability of each site, with shape (B, T).

        Arguments:
            features: What the net's `features` returns.
            symbols: The symbols of the sites, with shape (B, T, S).
        """
        return self.head.log_prob(self.net.read(features), symbols)

    def compile(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        """Compiles likelihoods and their gradients; arguments are those of `torch.compile`.

        Parameters keep their names, and copies of the model are not compiled.
        """
        features = torch.compile(self.net.features, *args, **kwargs)
        self._compiled = features, torch.compile(self.score, *args, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_compiled": None}

    def encode(self, images: Tensor) -> Tensor:
        """Returns the symbols (B, C, H, W) of uint8 images, on the model's device.

        Raises:
            PixelarError: If the images have another size, type or range than the model's.
        """
        if images.ndim != 4 or tuple(images.shape[1:]) != self.image_shape:
            raise PixelarError(
                f"the model takes images of shape (B, {', '.join(map(str, self.image_shape))}) "
                f"(channels, height, width); got {tuple(images.shape)}"
            )
        if images.dtype != torch.uint8:
            raise PixelarError(
                f"the model takes uint8 images with values 0 … 255; got {images.dtype}"
            )
        return self.quantizer.encode(images.to(self.device))

    def check_labels(self, labels: Tensor | None, batch: int) -> Tensor | None:
        """Returns labels on the model's device; raises PixelarError if the model takes others."""
        if self.classes == 0:
            if labels is not None:
                raise PixelarError(
                    "labels given, but the model is not conditioned on classes (classes: 0)"
                )
            return None
        if labels is None:
            raise PixelarError(
                f"the model is conditioned on {self.classes} classes: "
                f"pass labels from 0 to {self.classes - 1}"
            )
        if labels.shape != (batch,):
            raise PixelarError(
                f"{batch} images need labels of shape ({batch},); got {tuple(labels.shape)}"
            )
        labels = labels.to(self.device)
        if labels.numel() and not (0 <= int(labels.min()) and int(labels.max()) < self.classes):
            raise PixelarError(
                f"labels must be from 0 to {self.classes - 1}; "
                f"got {int(labels.min())} to {int(labels.max())}"
            )
        return labels


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Switches dropout off while the body runs."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


# options that came later, each with the value that says that all is as before: described only where
# they have another, so that models made before are described, and their weights summed, as ever
LATER: dict[str, dict[str, Any]] = {"ImageGPT": {"bias": False}}


def hyperparameters(module: nn.Module) -> dict[str, Any]:
    """Returns the keyword arguments of a net, head or quantizer as plain values."""
    parameters = inspect.signature(type(module)).parameters.values()
    names = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    values = {name: getattr(module, name) for name in names}
    for name, before in LATER.get(type(module).__name__, {}).items():
        if values.get(name) == before:
            del values[name]
    return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}


def describe_model(model: PixelModel) -> dict[str, Any]:
    """Returns a model as names from our tables and keyword arguments, for `build_model`."""
    parts = {"quantizer": model.quantizer, "head": model.head, "net": model.net}
    return {
        "image_shape": list(model.image_shape),
        "scan": model.net.built_in,
        **{k: {"name": type(m).__name__, "args": hyperparameters(m)} for k, m in parts.items()},
    }


def build_model(description: dict[str, Any]) -> PixelModel:
    """Returns the untrained model that was described; names are looked up in our tables only."""

    def lookup(part: str, table: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        name, args = description[part]["name"], description[part]["args"]
        if name not in table:
            raise PixelarError(f"{part}: {did_you_mean(str(name), table)}")
        known = inspect.signature(table[name]).parameters
        for key in args:
            if key not in known:
                raise PixelarError(f"{part} {name}: {did_you_mean(str(key), known)}")
        return table[name], args

    c, h, w = description["image_shape"]
    make_quantizer, quantizer_args = lookup("quantizer", QUANTIZERS)
    make_head, head_args = lookup("head", HEADS)
    make_net, net_args = lookup("net", NETS)
    quantizer = make_quantizer(**quantizer_args)
    scan = build_scan(description["scan"], quantizer.symbol_shape((c, h, w)))
    head = make_head(quantizer.levels, scan.symbols, **head_args)
    net = make_net(scan, quantizer.levels, head.num_params, **net_args)
    return PixelModel(net, head, quantizer, (c, h, w))
