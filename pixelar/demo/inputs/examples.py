"""Example pictures, packaged or drawn here: nothing is downloaded."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps

from pixelar.demo.inputs.canvas import CANVAS
from pixelar.demo.render.pictures import to_picture
from pixelar.hub.index import packaged
from pixelar.model import PixelModel

__all__ = ["MOST_EXAMPLES", "blank", "counterpart", "examples", "tiles"]

MOST_EXAMPLES = 6
DIGITS = (2, 3, 5, 7, 4, 8)  # one example of each
ROUNDING = 1  # of 255, by which a browser's canvas may change the colours of a picture
GAP = 4  # pixels around each image of samples.png


def examples(name: str, model: PixelModel) -> list[tuple[Image.Image, str]]:
    """Returns pictures that suit a model, each with its title.

    For models of 8×8 pixels these are scikit-learn's digits; for other packaged models, the samples
    next to their cards; for the rest, simple drawings.

    Arguments:
        name: The model's name.
        model: The model.
    """
    shape = model.image_shape
    if shape == (1, 8, 8):
        return [(_enlarged(image, shape[1:]), text) for image, text in _digits()]
    folder = packaged().get(name)
    drawn = tiles(folder / "samples.png", shape[1:]) if folder else []
    if drawn:
        chosen = [drawn[i] for i in range(0, len(drawn), max(1, len(drawn) // MOST_EXAMPLES))]
        return [(_enlarged(image, shape[1:]), "sample") for image in chosen[:MOST_EXAMPLES]]
    if shape[0] == 3:
        return [(_face(), "face"), (_heart(), "heart"), (_sun(), "sun")]
    return [(_enlarged(_smooth(image, shape[1:]), shape[1:]), text) for image, text in _digits()]


def blank(model: PixelModel) -> Image.Image:
    """Returns an empty page in the background colour of a model's pictures."""
    return Image.new("RGB", (CANVAS, CANVAS), "white" if model.image_shape[0] == 3 else "black")


def counterpart(
    picture: Image.Image, shelves: Mapping[str, Sequence[tuple[Image.Image, str]]], name: str
) -> Image.Image | None:
    """Returns the example of a model that replaces an example of any model.

    Arguments:
        picture: What is shown now.
        shelves: The examples of each model by its name; a blank page comes last, if there is one.
        name: The model that was chosen.

    Returns:
        The example; None if the picture is not an example, but a user's own.
    """
    shelf = shelves[name]
    for others in shelves.values():
        for number, (example, title) in enumerate(others):
            if _same(picture, example):
                same = [each for each, its in shelf if its == title == "blank"]
                return same[0] if same else shelf[min(number, len(shelf) - 1)][0]
    return None


def _same(picture: Image.Image, example: Image.Image) -> bool:
    if picture.size != example.size:
        return False
    difference = ImageChops.difference(picture.convert("RGB"), example.convert("RGB"))
    return int(np.asarray(difference).max()) <= ROUNDING


def tiles(file: Path, size: tuple[int, int]) -> list[Image.Image]:
    """Returns the first row of images of a grid as `pixelar.plotting.grid` draws them.

    Arguments:
        file: The picture of the grid.
        size: Height and width of an image, each pixel of which is a block in the grid.

    Returns:
        The images at their own size; no images if there is no such file or it is not such a grid.
    """
    try:
        with Image.open(file) as opened:
            sheet = np.asarray(opened.convert("RGB"))
    except OSError:
        return []
    for k in range(max(sheet.shape) // max(size), 0, -1):
        found = _cut(sheet, k, size)
        if found:
            return found
    return []


def _cut(sheet: np.ndarray, k: int, size: tuple[int, int]) -> list[Image.Image]:
    """Returns the first row of a grid whose images have blocks of k pixels, or no images."""
    height, width = size
    step_y, step_x = k * height + GAP, k * width + GAP
    if (sheet.shape[0] - GAP) % step_y or (sheet.shape[1] - GAP) % step_x:
        return []
    images = []
    for x in range(GAP, sheet.shape[1] - GAP, step_x):
        tile = sheet[GAP:step_y, x : x + k * width]
        small = tile[::k, ::k]
        if not np.array_equal(small.repeat(k, 0).repeat(k, 1), tile):
            return []
        images.append(Image.fromarray(small))
    return images


def _digits() -> list[tuple[Image.Image, str]]:
    """Returns digits of scikit-learn's held-out images, 8×8."""
    from pixelar.data import Digits

    test = Digits().split("test")
    assert test.labels is not None
    firsts = [int((test.labels == digit).nonzero()[0]) for digit in DIGITS]
    return [
        (to_picture(test.images[i]), str(digit)) for i, digit in zip(firsts, DIGITS, strict=True)
    ]


def _smooth(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Returns a digit at a larger size, as MNIST has them: in 20 of 28 pixels, with soft edges."""
    height, width = size
    inner = max(1, min(size) * 20 // 28)
    soft = image.resize((8 * inner, 8 * inner), Image.Resampling.BICUBIC)
    soft = soft.filter(ImageFilter.GaussianBlur(inner / 4))
    soft = ImageOps.autocontrast(soft.point(lambda v: max(0, min(255, (v - 60) * 2))))
    page = Image.new("L", (width, height))
    small = soft.resize((inner, inner), Image.Resampling.BOX)
    page.paste(small, ((width - inner) // 2, (height - inner) // 2))
    return page


def _enlarged(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Returns an image of a size (H, W) in blocks, one for each pixel, about as large as CANVAS."""
    k = max(1, CANVAS // max(size))
    return image.convert("RGB").resize((k * size[1], k * size[0]), Image.Resampling.NEAREST)


def _page() -> tuple[Image.Image, ImageDraw.ImageDraw]:
    page = Image.new("RGB", (CANVAS, CANVAS), "white")
    return page, ImageDraw.Draw(page)


def _face() -> Image.Image:
    page, pen = _page()
    pen.ellipse((24, 24, 424, 424), fill="#fcc21b")
    for x in (150, 298):
        pen.ellipse((x - 28, 140, x + 28, 216), fill="#4e342e")
    pen.chord((120, 200, 328, 368), 10, 170, fill="#4e342e")
    return page


def _heart() -> Image.Image:
    page, pen = _page()
    for x in (44, 224):
        pen.ellipse((x, 64, x + 180, 264), fill="#e53935")
    pen.polygon(((52, 204), (396, 204), (224, 410)), fill="#e53935")
    return page


def _sun() -> Image.Image:
    page, pen = _page()
    for turn in range(12):
        pen.pieslice((14, 14, 434, 434), turn * 30 - 6, turn * 30 + 6, fill="#ffa000")
    pen.ellipse((94, 94, 354, 354), fill="#ffca28")
    return page
