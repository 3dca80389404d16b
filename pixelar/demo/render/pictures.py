"""Images as pictures for the page: enlarged to whole blocks, with unknown pixels hatched."""

import torch
from PIL import Image, ImageDraw
from torch import Tensor

__all__ = ["GAP", "block", "faint", "heat", "ring", "show", "to_picture"]

HATCHING = ((122, 132, 232), (150, 160, 246))
RING = (255, 46, 147)
STRIPE = 6  # pixels of the page
GAP = 8


def block(height: int, width: int, side: int) -> int:
    """Returns how many pixels of the page a pixel becomes, so that an image is about `side`."""
    return max(1, round(side / max(height, width)))


def show(
    images: Tensor, hidden: Tensor | None = None, *, side: int, columns: int = 1
) -> Image.Image:
    """Arranges images in a grid, enlarged so that single pixels can be seen.

    Arguments:
        images: uint8 images with shape (N, C, H, W).
        hidden: Which pixels are not known (yet), with a shape that broadcasts to (N, 1, H, W).
        side: The approximate length of the longer side of an enlarged image.
        columns: The number of columns.

    Returns:
        An RGBA picture, transparent between the images.
    """
    n, _, height, width = images.shape
    k = block(height, width, side)
    tiles = _enlarge(images.expand(-1, 3, -1, -1), k)
    if hidden is not None:
        gone = _enlarge(hidden.expand(n, 1, height, width), k)
        tiles = torch.where(gone, _hatching(k * height, k * width), tiles)
    columns = min(columns, n)
    rows, step_y, step_x = -(-n // columns), k * height + GAP, k * width + GAP
    sheet = torch.zeros(4, rows * step_y - GAP, columns * step_x - GAP, dtype=torch.uint8)
    for number, tile in enumerate(tiles):
        y, x = number // columns * step_y, number % columns * step_x
        sheet[:3, y : y + k * height, x : x + k * width] = tile
        sheet[3, y : y + k * height, x : x + k * width] = 255
    return to_picture(sheet)


def heat(values: Tensor, top: float, *, side: int) -> Image.Image:
    """Returns values with shape (H, W) from 0 to `top` as a picture, dark to bright."""
    from matplotlib import colormaps

    colours = colormaps["inferno"]((values / max(top, 1e-12)).clamp(0, 1).numpy(), bytes=True)
    return show(torch.from_numpy(colours[..., :3]).movedim(-1, 0)[None], side=side)


def ring(picture: Image.Image, row: int, column: int, k: int) -> Image.Image:
    """Returns a picture of blocks of k pixels with a ring around one of them."""
    marked, thick = picture.copy(), max(3, k // 6)
    box = (column * k - thick, row * k - thick, (column + 1) * k + thick, (row + 1) * k + thick)
    ImageDraw.Draw(marked).rectangle(box, outline=RING, width=thick)
    return marked


def faint(picture: Image.Image) -> Image.Image:
    """Returns a faded picture, a placeholder where there is no result yet."""
    faded = picture.convert("RGBA")
    faded.putalpha(faded.getchannel("A").point(lambda alpha: alpha // 4))
    return faded


def to_picture(image: Tensor) -> Image.Image:
    """Returns a uint8 image with shape (C, H, W), grey, RGB or RGBA, as a picture."""
    pixels = image.movedim(0, -1).contiguous().numpy()
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def _enlarge(images: Tensor, k: int) -> Tensor:
    return images.repeat_interleave(k, 2).repeat_interleave(k, 3)


def _hatching(height: int, width: int) -> Tensor:
    """Returns diagonal stripes, uint8 with shape (3, H, W)."""
    dark, light = (torch.tensor(c, dtype=torch.uint8)[:, None, None] for c in HATCHING)
    diagonal = torch.arange(height)[:, None] + torch.arange(width)
    return torch.where(diagonal // STRIPE % 2 == 0, dark, light)
