"""From 8-bit images to symbols and back.

A likelihood is of symbols. Where `lossless` holds, symbols and images are in one-to-one
correspondence and a figure in bits per dimension is that of the images; elsewhere it is that of the
reduced images, which is another thing.
"""

import abc
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pixelar.arguments import Recorded
from pixelar.errors import ConfigError, DataError
from pixelar.palettes import fit_colours, nearest_colours
from pixelar.precision import Convert, keeping_dtype

__all__ = [
    "QUANTIZERS",
    "BitDepth",
    "Identity",
    "Palette",
    "Quantizer",
    "StochasticBinarisation",
    "Threshold",
]

Shape = tuple[int, int, int]


class Quantizer(Recorded, nn.Module, abc.ABC):
    """A map between 8-bit images and symbols. Its arguments are recorded, and saved with a model.

    `levels` is V, the number of values of a symbol, and `unit` what a symbol is called in reports:
    "dim" where it is a colour value, "token" where it stands for a whole colour.
    """

    levels: int
    lossless: bool = False
    unit: Literal["dim", "token"] = "dim"

    @abc.abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """Returns symbols (B, C', H, W), int64, of uint8 images (B, C, H, W)."""

    @abc.abstractmethod
    def decode(self, x: Tensor) -> Tensor:
        """Returns uint8 images (B, C, H, W) of symbols (B, C', H, W)."""

    def symbol_shape(self, shape: Shape) -> Shape:
        """Returns the shape of an image of symbols, given that of an image."""
        return shape

    def nearest(self, images: Tensor) -> Tensor:
        """Returns the nearest images that `encode` takes, with shape (B, C, H, W): for most
        quantizers, which take all, the images themselves.
        """
        return images

    def fit(self, images: Tensor) -> None:
        """Adapts to training images, uint8 (N, C, H, W), before training; most quantizers have
        nothing to learn.
        """

    def _apply(self, fn: Convert, *args: Any, **kwargs: Any) -> nn.Module:  # noqa: ANN401
        """Moves tensors with the model, and keeps their data type when a model is cast to another,
        so that symbols do not depend on it.
        """
        return super()._apply(keeping_dtype(fn), *args, **kwargs)


class Identity(Quantizer):
    """Evenly spaced grey levels as they are: lossless; images with other values are refused.

    Arguments:
        levels: V, the number of values that occur: 256, or fewer where images have fewer, as 17 for
            `digits`.

    Example:
        >>> Identity(levels=17).encode(torch.tensor([0, 16, 255], dtype=torch.uint8))
        tensor([ 0,  1, 16])
    """

    lossless = True

    def __init__(self, *, levels: int = 256) -> None:
        super().__init__()
        if not 2 <= levels <= 256:
            raise ConfigError(f"quantizer Identity: levels must be from 2 to 256; got {levels}")
        self.levels = levels

    def encode(self, images: Tensor) -> Tensor:
        if self.levels == 256:
            return images.long()
        x = (images.float() * ((self.levels - 1) / 255)).round().long()
        odd = self.decode(x) != images
        if odd.any():
            raise DataError(
                f"quantizer Identity(levels={self.levels}): "
                f"the images hold the value {int(images[odd][0])}, "
                f"which is none of {self.levels} evenly spaced levels; "
                "use images of that kind, or a model with more levels"
            )
        return x

    def decode(self, x: Tensor) -> Tensor:
        return x.to(torch.uint8) if self.levels == 256 else _spread(x, self.levels)

    def nearest(self, images: Tensor) -> Tensor:
        """Returns images in the levels that are not refused, each value moved to the nearest."""
        return self.decode((images.float() * ((self.levels - 1) / 255)).round().long())


class BitDepth(Quantizer):
    """The highest bits of every colour value.

    Arguments:
        bits: How many bits are kept, from 1 to 8.
    """

    def __init__(self, *, bits: int = 5) -> None:
        super().__init__()
        if not 1 <= bits <= 8:
            raise ConfigError(f"quantizer BitDepth: bits must be from 1 to 8; got {bits}")
        self.bits, self.levels, self.lossless = bits, 2**bits, bits == 8

    def encode(self, images: Tensor) -> Tensor:
        return images.long() >> (8 - self.bits)

    def decode(self, x: Tensor) -> Tensor:
        return _spread(x, self.levels)


class Threshold(Quantizer):
    """Black below a threshold, white from it on.

    Arguments:
        threshold: The lowest value that is white.
    """

    levels = 2

    def __init__(self, *, threshold: int = 128) -> None:
        super().__init__()
        if not 1 <= threshold <= 255:
            raise ConfigError(
                f"quantizer Threshold: threshold must be from 1 to 255; got {threshold}"
            )
        self.threshold = threshold

    def encode(self, images: Tensor) -> Tensor:
        return (images >= self.threshold).long()

    def decode(self, x: Tensor) -> Tensor:
        return _spread(x, 2)


class StochasticBinarisation(Quantizer):
    """White with probability x / 255, drawn once and for all.

    The draw is a function of the seed and of the image alone: it is the same in every epoch, batch
        and process.
    Images that are black and white already stay as they are.

    Arguments:
        seed: Which of the fixed draws.
        version: How the draw follows from an image. 2: from all of its pixels. 1, that of models
            from before there were two: from all but the first, so that images which differ in
            their first pixel alone share the draw of all others.

    References:
        On the Quantitative Analysis of Deep Belief Networks (Salakhutdinov and Murray, 2008)
    """

    levels = 2

    def __init__(self, *, seed: int = 0, version: Literal[1, 2] = 2) -> None:
        super().__init__()
        if version not in (1, 2):
            raise ConfigError(
                f"quantizer StochasticBinarisation: version must be 1 or 2; got {version!r:.60}"
            )
        self.seed, self.version = seed, version

    def encode(self, images: Tensor) -> Tensor:
        values = images.flatten(1).long()  # (B, N)
        place = torch.arange(values.shape[1], device=images.device)
        # of all pixels only number 0 would have the factor 0
        factor = _scramble(place + 1 if self.version > 1 else place)
        # the image's own hash, so that the draw does not depend on its number
        key = _scramble(factor * (values + 1)).sum(1, keepdim=True) + self.seed
        noise = _scramble(_scramble(key) + place) & 0xFFFFFF  # 24 uniform bits a pixel
        return (noise < values * (1 << 24) // 255).long().view(images.shape)

    def decode(self, x: Tensor) -> Tensor:
        return _spread(x, 2)


class Palette(Quantizer):
    """The nearest of V colours, found by k-means: one token per pixel, a lossy image.

    Distances are computed in float64 whatever the model computes in; of colours that are equally
    near, the first is taken.

    Arguments:
        levels: V, the number of colours.
        seed: The seed of k-means.

    References:
        Generative Pretraining from Pixels (Chen et al., 2020),
        https://proceedings.mlr.press/v119/chen20s.html
    """

    unit = "token"

    def __init__(self, *, levels: int = 512, seed: int = 0) -> None:
        super().__init__()
        if levels < 2:
            raise ConfigError(f"quantizer Palette: levels must be at least 2; got {levels}")
        self.levels, self.seed = levels, seed
        unknown = torch.full((levels, 3), torch.nan, dtype=torch.float32)
        self.register_buffer("colours", unknown)
        self.colours: Tensor  # (V, 3), on the scale 0 … 255

    def symbol_shape(self, shape: Shape) -> Shape:
        if shape[0] != 3:
            raise ConfigError(
                f"quantizer Palette: made for RGB images; these have {shape[0]} channel(s)"
            )
        return 1, *shape[1:]

    def fit(self, images: Tensor, *, progress: bool | None = None) -> None:
        """Finds the colours by k-means of at most a million pixels, unless there are some already.

        The memory it takes does not depend on the number of images.

        Arguments:
            images: Training images, uint8 with shape (N, 3, H, W).
            progress: Whether to show a progress bar; None for on a terminal.

        Raises:
            PixelarError: If the images have fewer colours than the palette.
        """
        if self.colours.isnan().any():  # a resumed run keeps its colours
            self.colours.copy_(fit_colours(images, self.levels, self.seed, progress=progress))

    def encode(self, images: Tensor) -> Tensor:
        self._require_colours()
        return nearest_colours(images, self.colours)[:, None]

    def _require_colours(self) -> None:
        if not self.colours.isfinite().all():
            raise ConfigError(
                "quantizer Palette: has no colours yet; call fit(images) with training images"
            )

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: Any) -> None:  # noqa: ANN401
        """Takes colours as they are stored, in float64 where they are."""
        stored = state_dict.get(f"{prefix}colours")
        if stored is not None:
            wide = torch.promote_types(stored.dtype, torch.float32)
            self.colours = self.colours.to(wide)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def decode(self, x: Tensor) -> Tensor:
        self._require_colours()
        return self.colours[x[:, 0]].round().clamp(0, 255).to(torch.uint8).movedim(-1, 1)


def _spread(x: Tensor, levels: int) -> Tensor:
    """Returns symbols as evenly spaced values from 0 to 255."""
    return (x.float() * (255 / (levels - 1))).round().to(torch.uint8)


def _scramble(x: Tensor) -> Tensor:
    """Returns well-mixed 64-bit integers: the finaliser of splitmix64, on wrapping int64."""
    for shift, factor in ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15)):
        x = (x ^ ((x >> shift) & ((1 << (64 - shift)) - 1))) * factor
    return x ^ ((x >> 31) & ((1 << 33) - 1))


QUANTIZERS: dict[str, type[Quantizer]] = {
    "Identity": Identity,
    "BitDepth": BitDepth,
    "Threshold": Threshold,
    "StochasticBinarisation": StochasticBinarisation,
    "Palette": Palette,
}
