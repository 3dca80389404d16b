"""Users' pictures as a model's input."""

from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
import zoo
from fixtures import noise
from PIL import Image

from pixelar.cli.inputs import read_images
from pixelar.demo.inputs.pictures import open_picture, painted, read_picture
from pixelar.errors import PixelarError
from pixelar.model import PixelModel

SIZES = [(8, 8), (64, 64), (50, 90), (91, 50), (3, 5), (1, 1), (8, 200), (17, 16)]  # W, H


def model_of(*shape: int, levels: int = 17) -> PixelModel:
    sides = cast("tuple[int, int, int]", shape)
    return zoo.tiny("PixelCNN", shape=sides, levels=levels).float()


@pytest.fixture(scope="module")
def grey() -> PixelModel:
    return model_of(1, 8, 8)


def image(size: tuple[int, int], channels: int = 4) -> Image.Image:
    return Image.fromarray(noise(size[1], size[0], channels))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8), (1, 4, 8)])
def test_a_picture_is_what_the_command_line_makes_of_it(
    tmp_path: Path, shape: tuple[int, ...], size: tuple[int, int]
) -> None:
    model, file = model_of(*shape), tmp_path / "picture.png"
    image(size).save(file)
    seen = read_picture(file, model)
    assert seen.shape == (1, *shape) and seen.dtype == torch.uint8
    assert torch.equal(model.quantizer.decode(model.encode(seen)), seen)
    assert torch.equal(seen, read_picture(image(size), model))
    assert torch.equal(seen, read_images([str(file)], model, fit=True))


def touched(where: np.ndarray, height: int, width: int) -> np.ndarray:
    """Returns which parts of a cropped picture hold a painted pixel, pixel by pixel."""
    rows, columns = where.shape
    scale = min(columns / width, rows / height)
    top, left = (rows - scale * height) / 2, (columns - scale * width) / 2
    found = np.zeros((height, width), bool)
    for y, x in zip(*where.nonzero(), strict=True):
        for i in range(height):
            for j in range(width):
                down = min(y + 1, top + (i + 1) * scale) - max(y, top + i * scale)
                across = min(x + 1, left + (j + 1) * scale) - max(x, left + j * scale)
                found[i, j] |= down > 1e-6 and across > 1e-6
    return found


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 4, 8)])
def test_a_stroke_never_gets_lost(size: tuple[int, int], shape: tuple[int, ...]) -> None:
    model = model_of(*shape)
    for seed in range(5):
        chance = np.random.default_rng(seed)
        where = chance.random((2, size[1], size[0])) < 2 / (size[0] * size[1])
        layers = []
        for layer in where:
            pixels = np.zeros((*layer.shape, 4), np.uint8)
            pixels[layer, 3] = chance.integers(1, 256)  # however faint
            layers.append(Image.fromarray(pixels))
        region = painted({"background": image(size), "layers": layers}, model)
        assert region.shape == (1, *shape[1:])
        expected = touched(np.asarray(where.any(0)), *shape[1:])
        assert np.array_equal(region[0].numpy(), expected)


def test_nothing_is_painted_where_there_is_no_paint(grey: PixelModel) -> None:
    clear = Image.new("RGBA", (20, 20))
    empty = [None, {}, {"background": clear, "layers": []}, {"background": None, "layers": None}]
    for value in [*empty, {"background": clear, "layers": [clear, None]}]:
        assert not painted(value, grey).any()


def test_paint_of_another_shape_is_refused(grey: PixelModel) -> None:
    value = {"background": image((40, 20)), "layers": [image((40, 40))]}
    with pytest.raises(PixelarError, match=r"40×40 pixels and the picture 40×20"):
        painted(value, grey)


def test_what_is_transparent_is_white(grey: PixelModel) -> None:
    assert (read_picture(Image.new("RGBA", (20, 20)), grey) == 255).all()


def test_pictures_are_turned_upright(tmp_path: Path, grey: PixelModel) -> None:
    upright = Image.new("L", (20, 20))
    upright.paste(255, (0, 0, 20, 10))
    exif = Image.Exif()
    exif[0x0112] = 6  # what a camera writes that was held upright: turn right by 90°
    upright.rotate(90).save(tmp_path / "turned.jpg", exif=exif, quality=100)
    seen = read_picture(tmp_path / "turned.jpg", grey)[0, 0]
    assert (seen[:3] > 200).all() and (seen[5:] < 50).all()


def test_refusals_do_not_name_the_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    for content in (b"", b"text", b"\x89PNG\r\n\x1a\n"):
        secret.write_bytes(content)
        with pytest.raises(PixelarError, match="the picture cannot be read") as refused:
            open_picture(secret)
        assert "secret" not in str(refused.value) and "\n" not in str(refused.value)
    with pytest.raises(PixelarError, match="the picture cannot be read"):
        open_picture(tmp_path / "missing.png")


def test_sizes_are_limited(grey: PixelModel) -> None:
    for size in ((4001, 4000), (0, 5)):
        with pytest.raises(PixelarError, match="16,000,000"):
            read_picture(Image.new("L", size), grey)
    assert read_picture(Image.new("L", (4000, 4000)), grey).shape == (1, 1, 8, 8)
