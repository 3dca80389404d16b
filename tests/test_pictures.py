"""Pictures: their content is where it should be, pixel by pixel."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pixelar.errors import PixelarError
from pixelar.plotting import (
    grid,
    save_curves,
    save_picture,
    save_surprise,
    show_unknown,
    surprise_figure,
)


def noise(*shape: int) -> torch.Tensor:
    return torch.randint(256, shape, generator=torch.Generator().manual_seed(0)).to(torch.uint8)


@pytest.mark.parametrize(("channels", "height", "width"), [(1, 8, 8), (3, 5, 9), (3, 70, 64)])
def test_a_grid_holds_every_image_enlarged_by_a_whole_factor(
    channels: int, height: int, width: int
) -> None:
    images = noise(5, channels, height, width)
    picture = grid(images, columns=3)
    factor = -(-64 // min(height, width))
    tall, wide = factor * height + 4, factor * width + 4
    assert picture.shape == (3, 2 * tall + 4, 3 * wide + 4)
    for k, image in enumerate(images):
        top, left = 4 + k // 3 * tall, 4 + k % 3 * wide
        cell = picture[:, top : top + tall - 4, left : left + wide - 4]
        assert torch.equal(cell[:, ::factor, ::factor], image.expand(3, -1, -1))
        assert torch.equal(
            cell, image.expand(3, -1, -1).repeat_interleave(factor, 1).repeat_interleave(factor, 2)
        )
    assert (picture[:, tall:, 2 * wide + 4 :] == 255).all()  # the cell that is left over


def test_grids_of_nothing_or_of_other_channels_are_refused() -> None:
    with pytest.raises(PixelarError, match="at least one image with 1 or 3 channels; got 0"):
        grid(noise(0, 1, 4, 4))
    with pytest.raises(PixelarError, match="got 2 with 4"):
        grid(noise(2, 4, 4, 4))


def test_what_is_unknown_has_a_colour_of_its_own() -> None:
    images = noise(2, 1, 4, 4)
    known = torch.zeros(1, 4, 4, dtype=torch.bool)
    known[:, :2] = True
    shown = show_unknown(images, known)
    assert torch.equal(shown[:, :, :2], images.expand(-1, 3, -1, -1)[:, :, :2])
    assert (shown[:, :, 2:] == torch.tensor([214, 224, 240])[:, None, None]).all()


def test_a_picture_is_written_as_it_is(tmp_path: Path) -> None:
    image = noise(3, 6, 7)
    save_picture(image, tmp_path / "new" / "picture.png")
    again = np.asarray(Image.open(tmp_path / "new" / "picture.png"))
    assert torch.equal(torch.from_numpy(again.copy()).permute(2, 0, 1), image)


@pytest.mark.parametrize("channels", [1, 3])
def test_surprise_has_one_scale_in_bits(channels: int, tmp_path: Path) -> None:
    images, bits = noise(3, channels, 4, 5), torch.rand(3, 4, 5) * 9
    figure = surprise_figure(images, bits)
    bar = [axes for axes in figure.axes if axes.get_ylabel()]
    assert [axes.get_ylabel() for axes in bar] == ["bits per pixel"]
    drawn = [axes.images[0] for axes in figure.axes if axes.images]
    above, below = drawn[:3], drawn[3:6]
    assert {image.get_clim() for image in below} == {(0.0, float(bits.max()))}
    for k in range(3):
        shown = np.asarray(above[k].get_array())
        assert np.array_equal(shown, images[k].expand(3, -1, -1).permute(1, 2, 0).numpy())
        assert np.array_equal(np.asarray(below[k].get_array()), bits[k].numpy())
    save_surprise(images, bits, tmp_path / "surprise.png")
    assert Image.open(tmp_path / "surprise.png").format == "PNG"


@pytest.mark.parametrize("count", [0, 9])
def test_surprise_of_too_many_images_is_refused(count: int, tmp_path: Path) -> None:
    with pytest.raises(PixelarError, match=f"from 1 to 8 images; got {count}"):
        save_surprise(noise(count, 1, 4, 4), torch.rand(count, 4, 4), tmp_path / "s.png")


def test_curves_are_drawn_even_where_a_value_is_no_number(tmp_path: Path) -> None:
    steps = [float(step) for step in range(50)]
    values = [float("nan") if step == 30 else 3 - step / 50 for step in steps]
    save_curves([("run", steps, values), ("empty", [], [])], tmp_path / "c.png", "bits/dim")
    assert Image.open(tmp_path / "c.png").size[0] > 300


@pytest.mark.filterwarnings("error::UserWarning")
def test_curves_of_runs_without_a_value_are_an_empty_picture(tmp_path: Path) -> None:
    save_curves([], tmp_path / "c.png", "bits/dim")
    assert Image.open(tmp_path / "c.png").size[0] > 300
