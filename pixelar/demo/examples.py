"""Pictures to begin with, which come with the package or are drawn here: nothing is fetched."""

from PIL import Image, ImageDraw, ImageFilter, ImageOps

from pixelar.demo.seen import CANVAS
from pixelar.demo.show import to_picture
from pixelar.model import PixelModel

__all__ = ["blank", "examples"]

DIGITS = (2, 3, 5, 7, 4, 8)  # one example of each


def examples(model: PixelModel) -> list[tuple[Image.Image, str]]:
    """Returns pictures of the kind that a model knows, with what each is called."""
    if model.image_shape[0] == 3:
        return [(_face(), "face"), (_heart(), "heart"), (_sun(), "sun")]
    return [(_digit(model, image, name), name) for image, name in _digits()]


def blank(model: PixelModel) -> Image.Image:
    """Returns an empty page in the colour that a model's pictures have there."""
    return Image.new("RGB", (CANVAS, CANVAS), "white" if model.image_shape[0] == 3 else "black")


def _digits() -> list[tuple[Image.Image, str]]:
    """Returns digits of scikit-learn's held-out images, 8×8."""
    from pixelar.data import Digits

    test = Digits().split("test")
    assert test.labels is not None
    firsts = [int((test.labels == digit).nonzero()[0]) for digit in DIGITS]
    return [
        (to_picture(test.images[i]), str(digit)) for i, digit in zip(firsts, DIGITS, strict=True)
    ]


def _digit(model: PixelModel, image: Image.Image, name: str) -> Image.Image:
    """Returns a digit enlarged to blocks; for models of larger images, as MNIST has them.

    There a digit fills 20 of 28 pixels, and its strokes are smooth.
    """
    _, height, width = model.image_shape
    if (height, width) != image.size[::-1]:
        inner = max(1, min(height, width) * 20 // 28)
        smooth = image.resize((8 * inner, 8 * inner), Image.Resampling.BICUBIC)
        smooth = smooth.filter(ImageFilter.GaussianBlur(inner / 4))
        smooth = ImageOps.autocontrast(smooth.point(lambda v: max(0, min(255, (v - 60) * 2))))
        small = smooth.resize((inner, inner), Image.Resampling.BOX)
        image = Image.new("L", (width, height))
        image.paste(small, ((width - inner) // 2, (height - inner) // 2))
    return image.convert("RGB").resize(
        (CANVAS // width * width, CANVAS // height * height), Image.Resampling.NEAREST
    )


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
