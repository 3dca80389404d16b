"""Symbols come from images and go back to them."""

import pytest
import torch

from pixelar.errors import PixelarError
from pixelar.quantizers import (
    QUANTIZERS,
    BitDepth,
    Codes,
    Identity,
    Palette,
    Quantizer,
    StochasticBinarisation,
    Threshold,
)


def photos() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (5, 3, 6, 4), generator=generator, dtype=torch.uint8)


def images_for(quantizer: Quantizer) -> torch.Tensor:
    """Returns images with all kinds of values that a quantizer's range has, its ends included."""
    least, most = quantizer.values
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(least, most + 1, (5, 3, 6, 4), generator=generator)
    images[0, 0, 0, :2] = torch.tensor([least, most])
    return quantizer.nearest(images).to(quantizer.dtype)


def fitted_palette() -> Palette:
    palette = Palette(levels=8)
    palette.fit(photos())
    return palette


ZOO: dict[str, list[Quantizer]] = {
    "Identity": [
        Identity(),
        Identity(levels=17),
        Identity(levels=65536),
        Identity(levels=4096, high=4095),
        Identity(levels=1000),
        Identity(levels=2, low=-1, high=1),
        Identity(levels=301, low=-70000, high=-10000),
    ],
    "BitDepth": [
        *(BitDepth(bits=1), BitDepth(bits=5), BitDepth(bits=8)),
        *(BitDepth(bits=1, depth=16), BitDepth(bits=12, depth=16), BitDepth(bits=16, depth=16)),
        BitDepth(bits=10, depth=12),
    ],
    "Codes": [Codes(levels=2), Codes(levels=512), Codes(levels=65536)],
    "Threshold": [Threshold(), Threshold(threshold=1)],
    "StochasticBinarisation": [StochasticBinarisation(seed=3)],
    "Palette": [fitted_palette()],
}
EVERY = [quantizer for quantizers in ZOO.values() for quantizer in quantizers]


def test_every_quantizer_is_tried() -> None:
    assert ZOO.keys() == QUANTIZERS.keys()


@pytest.mark.parametrize("quantizer", EVERY)
def test_symbols_survive_the_way_to_the_image_and_back(quantizer: Quantizer) -> None:
    """What a model draws must be valid as its input: decoded symbols encode to themselves."""
    given = images_for(quantizer)
    quantizer.check(given)
    x = quantizer.encode(given)
    assert x.dtype == torch.int64 and x.min() >= 0 and x.max() < quantizer.levels
    assert x.shape[1:] == quantizer.symbol_shape((3, 6, 4))
    images = quantizer.decode(x)
    assert images.dtype == quantizer.dtype and images.shape == given.shape
    wide = images.long()
    assert quantizer.values[0] <= wide.min() and wide.max() <= quantizer.values[1]
    assert torch.equal(quantizer.encode(images), x)
    assert torch.equal(quantizer.encode(wide), x)  # of whatever type


@pytest.mark.parametrize("quantizer", EVERY)
def test_every_symbol_has_an_image(quantizer: Quantizer) -> None:
    x = torch.arange(quantizer.levels).view(-1, 1, 1, 1)
    images = quantizer.decode(x)
    quantizer.check(images)
    assert torch.equal(quantizer.encode(images), x)


@pytest.mark.parametrize("quantizer", EVERY)
def test_lossless_means_lossless(quantizer: Quantizer) -> None:
    images = images_for(quantizer)
    same = torch.equal(quantizer.decode(quantizer.encode(images)), images)
    assert same == quantizer.lossless


@pytest.mark.parametrize("quantizer", EVERY)
def test_an_image_alone_gives_the_same_symbols_as_in_a_batch(quantizer: Quantizer) -> None:
    images = images_for(quantizer)
    alone = torch.cat([quantizer.encode(image[None]) for image in images])
    assert torch.equal(alone, quantizer.encode(images))


def test_levels_of_digits_are_kept_exactly() -> None:
    from sklearn.datasets import load_digits

    levels = torch.from_numpy(load_digits().images).long()[:, None]
    images = Identity(levels=17).decode(levels)
    assert torch.equal(Identity(levels=17).encode(images), levels)
    assert images.max() == 255 and images.min() == 0


def test_bit_depth_drops_low_bits() -> None:
    images = torch.tensor([0, 7, 8, 255], dtype=torch.uint8)
    assert BitDepth(bits=5).encode(images).tolist() == [0, 0, 1, 31]


def test_stochastic_binarisation_has_the_right_mean_and_is_fixed() -> None:
    grey = torch.full((200, 1, 8, 8), 64, dtype=torch.uint8)
    grey[:, 0, 0] = torch.arange(200)[:, None]  # so that the images differ
    quantizer = StochasticBinarisation(seed=0)
    x = quantizer.encode(grey)
    count = x[:, 0, 1:].numel()
    p = 64 / 255
    assert abs(x[:, 0, 1:].double().mean() - p) < 4 * (p * (1 - p) / count) ** 0.5
    assert torch.equal(quantizer.encode(grey), x)
    assert torch.equal(quantizer.encode(grey.flip(0)), x.flip(0))
    assert not torch.equal(StochasticBinarisation(seed=1).encode(grey), x)
    # images that differ in one pixel are drawn independently, and so are neighbours
    agree = (x[0, 0, 1:] == x[1, 0, 1:]).double().mean()
    assert 0.4 < agree < 0.85
    extremes = torch.tensor([0, 255], dtype=torch.uint8).view(1, 1, 1, 2)
    assert quantizer.encode(extremes).flatten().tolist() == [0, 1]


def test_palette_finds_the_nearest_of_its_colours() -> None:
    palette = fitted_palette()
    pixels = photos().movedim(1, -1).reshape(-1, 1, 3).double()
    nearest = (pixels - palette.colours.double()).square().sum(-1).argmin(-1)
    assert torch.equal(palette.encode(photos()).flatten(), nearest)


def test_palette_of_as_many_colours_as_there_are_is_lossless() -> None:
    colours = torch.tensor([[0, 0, 0], [255, 0, 0], [10, 200, 30], [255, 255, 255]])
    images = colours[torch.randint(4, (3, 5, 5))].movedim(-1, 1).to(torch.uint8)
    palette = Palette(levels=4)
    palette.fit(images)
    assert torch.equal(palette.decode(palette.encode(images)), images)


def test_palette_keeps_its_colours_when_fitted_again() -> None:
    palette = fitted_palette()
    before = palette.colours.clone()
    palette.fit(255 - photos())
    assert torch.equal(palette.colours, before)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Identity(levels=1), "levels must be from 2 to 65536; got 1"),
        (lambda: Identity(levels=65537), "levels must be from 2 to 65536; got 65537"),
        (lambda: Identity(levels=300, high=255), "from 0 to 255 there are 256 whole numbers"),
        (lambda: Identity(levels=2, low=3, high=1), "from 3 to 1 there are 0 whole numbers"),
        (lambda: Codes(levels=1), "levels must be from 2 to 65536; got 1"),
        (lambda: BitDepth(bits=9), "bits must be from 1 to 8; got 9"),
        (lambda: BitDepth(bits=5, depth=17), "depth must be from 1 to 16; got 17"),
        (lambda: Threshold(threshold=0), "threshold must be from 1 to 255; got 0"),
        (lambda: Palette(levels=1), "levels must be at least 2; got 1"),
        (lambda: Palette(levels=4).check(photos()), "has no colours yet; call fit"),
        (lambda: Palette(levels=512).fit(photos()), "512 colours requested.*have only 120"),
        (lambda: Palette().symbol_shape((1, 4, 4)), "made for RGB images; these have 1"),
        (
            lambda: Identity(levels=17).check(torch.tensor([3], dtype=torch.uint8)),
            "value 3, which is not one of 17 evenly spaced levels",
        ),
    ],
)
def test_bad_arguments_are_explained(build: object, message: str) -> None:
    with pytest.raises(PixelarError, match=message):
        build()  # type: ignore[operator]
