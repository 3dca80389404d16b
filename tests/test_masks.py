"""What the masks of image editors mean, and what is reported of invalid ones."""

from argparse import Namespace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from fixtures import noise
from PIL import Image

from pixelar.cli.inputs import region
from pixelar.data.images import fit, open_image, to_tensor
from pixelar.errors import PixelarError
from pixelar.sampling.masks import covered, read_mask

pytestmark = pytest.mark.faults

HOLE = np.zeros((12, 12), bool)
HOLE[3:7, 2:10] = True


def values(hole: float, known: float, dtype: str = "uint8") -> np.ndarray:
    return np.where(HOLE, hole, known).astype(dtype)


def erased(pixels: np.ndarray, opacity: int = 0) -> Image.Image:
    """Returns a picture (H, W, C) whose hole is erased."""
    alpha = values(opacity, 255)
    return Image.fromarray(np.dstack((pixels, alpha)))


def palette(hole: tuple[int, int, int], known: tuple[int, int, int]) -> Image.Image:
    """Returns a mask in which the colour that comes first is that of what is known."""
    image = Image.fromarray(values(1, 0), "L").convert("P")
    image.putdata(values(1, 0).flatten().tolist())
    image.putpalette([*known, *hole])
    return image


def keyed() -> Image.Image:
    """Returns a grey mask whose hole has the one colour that counts as transparent."""
    image = Image.fromarray(values(77, 200))
    image.info["transparency"] = 77
    return image


CLEAR = {
    "grey": lambda: Image.fromarray(values(0, 255)),
    "soft": lambda: Image.fromarray(values(40, 210)),
    "0 and 1": lambda: Image.fromarray(values(0, 1)),
    "bool": lambda: Image.fromarray(~HOLE),
    "16 bits": lambda: Image.fromarray(values(0, 65535, "uint16")),
    "16 bits of 8": lambda: Image.fromarray(values(0, 255, "uint16")),
    "RGB": lambda: Image.fromarray(values(0, 255)).convert("RGB"),
    "opaque": lambda: Image.fromarray(values(0, 255)).convert("RGBA"),
    "palette": lambda: palette((0, 0, 0), (255, 255, 255)),
    "palette of 0 and 1": lambda: palette((0, 0, 0), (1, 1, 1)),
    "erased white": lambda: erased(noise(12, 12, 3) * 0 + 255),
    "erased black": lambda: erased(noise(12, 12, 3) * 0),
    "erased picture": lambda: erased(noise(12, 12, 3)),
    "nearly erased": lambda: erased(noise(12, 12, 3), 100),
    "erased grey": lambda: erased(noise(12, 12, 1)[..., 0]),
    "transparent colour": keyed,
}


@pytest.mark.parametrize("kind", CLEAR)
def test_a_mask_means_what_it_shows(kind: str, tmp_path: Path) -> None:
    mask = CLEAR[kind]()
    mask.save(tmp_path / "mask.png", **cast("dict[str, Any]", mask.info))
    known = read_mask(open_image(tmp_path / "mask.png"), (12, 12), "mask.png")
    assert known.dtype == torch.bool
    assert np.array_equal(known[0].numpy(), ~HOLE)


def test_the_noise_of_jpeg_does_not_matter(tmp_path: Path) -> None:
    large = np.kron(values(0, 255), np.ones((16, 16), np.uint8))
    Image.fromarray(large).convert("RGB").save(tmp_path / "mask.jpg", quality=50)
    known = read_mask(open_image(tmp_path / "mask.jpg"), (192, 192), "mask.jpg")
    assert np.array_equal(known[0].numpy(), large > 0)


def strokes() -> Image.Image:
    pixels = np.repeat(noise(12, 12, 1), 3, -1)
    pixels[HOLE] = (255, 46, 147)
    return Image.fromarray(pixels)


REFUSED = {
    "coloured strokes": (strokes, "has colours: a mask is white"),
    "palette of colours": (lambda: palette((128, 0, 0), (0, 0, 0)), "has colours: a mask is white"),
    "photograph": (lambda: Image.fromarray(noise(12, 12)), "is grey, as in a photograph: a mask"),
    "dark": (lambda: Image.fromarray(values(0, 90)), "dark throughout, with values from 0 to 90"),
    "light": (lambda: Image.fromarray(values(254, 255)), "light throughout, with values from 254"),
    "white": (lambda: Image.new("L", (12, 12), 255), "leaves nothing to draw: every pixel"),
    "black": (lambda: Image.new("L", (12, 12)), "leaves nothing known: .* use pixelar sample"),
    "clear": (lambda: Image.new("RGBA", (12, 12)), "leaves nothing known: .* use pixelar sample"),
    "faint": (lambda: erased(noise(12, 12, 3), 200), "leaves nothing to draw: every pixel"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_mask_is_refused(kind: str, tmp_path: Path) -> None:
    mask, message = REFUSED[kind]
    mask().save(tmp_path / "mask.png")
    with pytest.raises(PixelarError, match=message):
        read_mask(open_image(tmp_path / "mask.png"), (12, 12), "the mask")


@pytest.mark.parametrize("size", [(28, 28), (20, 40), (7, 3)])
@pytest.mark.parametrize("shape", [(300, 400), (91, 50), (28, 28)])
def test_every_scratch_outlives_shrinking(shape: tuple[int, int], size: tuple[int, int]) -> None:
    """A scratch is drawn where the picture itself shows its trace, and next to that alone."""
    rng = np.random.default_rng(0)
    for _ in range(5):
        y, x = rng.integers(0, shape[0]), rng.integers(0, shape[1])
        marked = np.zeros(shape, bool)
        marked[y, x] = True
        found = covered(marked, size)
        assert found.shape == size
        box = fit(Image.fromarray(marked.astype(np.uint8) * 255), size)
        trace = to_tensor(box, 1)[0].numpy()
        if trace.max() > 64:  # the strongest trace is where the pixel is, or at a border of two
            assert found.flat[trace.argmax()]
        scale = min(shape[0] / size[0], shape[1] / size[1])
        assert found.sum() <= max(4, (1 + 1 / scale) ** 2 * 2)


def test_a_mask_has_the_shape_of_the_picture_as_shown(tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    upright = np.full((40, 30), 255, np.uint8)
    upright[:, :3] = 0  # a scratch at the left
    stored = Image.fromarray(np.rot90(upright).copy())
    picture, mask = tmp_path / "picture.jpg", tmp_path / "mask.png"
    Image.new("L", (40, 30)).save(picture, exif=turned)

    def known() -> torch.Tensor:
        options = Namespace(mask=str(mask), images=[str(picture)], fit=True)
        return region(options, (1, 10, 10))[0]

    Image.fromarray(upright).save(mask)
    assert not known()[:, 0].any() and known()[:, 1:].all()
    stored.save(mask, exif=turned)
    assert not known()[:, 0].any() and known()[:, 1:].all()
    stored.save(mask)
    with pytest.raises(PixelarError, match=r"mask.png has 40×30 pixels and .*picture.jpg 30×40"):
        known()


@pytest.mark.parametrize("word", ["top", "alternate", "dots"])
def test_regions_without_known_pixels_are_refused(word: str) -> None:
    options = Namespace(mask=None, keep=word)
    if word == "alternate":
        with pytest.raises(PixelarError, match="--keep alternate leaves nothing to draw"):
            region(options, (1, 1, 4))
    else:
        with pytest.raises(PixelarError, match=f"--keep {word} leaves nothing known"):
            region(options, (1, 1, 4))
