"""The order in which an image is generated.

A scan lists the sites of an image of symbols in the order in which a model visits them, and the
symbols that each site holds. Every scan is a table of positions, so that the same sampling pass
serves all scans:

    raster    snake     hilbert        subpixel, RGB, 1×2
    0 1 2     0 1 2      0  3  4  5    R0 G1 B2  R3 G4 B5
    3 4 5     5 4 3      1  2  7  6    planes, RGB, 1×2
                        14 13  8  9    R0 G2 B4  R1 G3 B5
                        15 12 11 10
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from pixelar.errors import ConfigError, did_you_mean
from pixelar.names import Shape

__all__ = [
    "SCANS",
    "Scan",
    "build_scan",
    "hilbert",
    "known_first",
    "planes",
    "raster",
    "shuffled",
    "snake",
    "subpixel",
    "symmetries",
]


class Scan(nn.Module):
    """An order of the sites of an image with shape (C, H, W).

    It is a module only so that `index` follows `.to(device)`.

    Arguments:
        name: Its name in `SCANS`.
        shape: The shape (C, H, W) of an image of symbols.
        index: Positions in the flattened image with shape (T, S): row t holds the symbols of site
            t.

    Example:
        >>> scan = raster((3, 2, 2))
        >>> scan.sites, scan.symbols
        (4, 3)
        >>> scan.gather(torch.arange(12).view(1, 3, 2, 2))[0, 1]
        tensor([1, 5, 9])
    """

    index: Tensor

    def __init__(self, name: str, shape: Shape, index: Tensor) -> None:
        super().__init__()
        if min(shape) < 1:
            raise ConfigError(f"an image needs at least one pixel; got (C, H, W) = {tuple(shape)}")
        self.name = name
        self.shape: Shape = (shape[0], shape[1], shape[2])
        self.sites, self.symbols = index.shape
        self.register_buffer("index", index.long(), persistent=False)

    @property
    def dims(self) -> int:
        """The number of symbols in an image, C·H·W: the divisor in bits/dim."""
        return self.sites * self.symbols

    def gather(self, x: Tensor) -> Tensor:
        """Returns the values of images (B, C, H, W) in scan order, with shape (B, T, S)."""
        return x.flatten(1)[:, self.index]

    def scatter(self, values: Tensor) -> Tensor:
        """Returns values in scan order (B, T, S) as images with shape (B, C, H, W)."""
        flat = torch.empty_like(values.flatten(1))
        flat[:, self.index.flatten()] = values.flatten(1)
        return flat.view(values.shape[0], *self.shape)

    def prefix(self, known: Tensor) -> int:
        """Returns how many sites at the start of the scan are known in full.

        Arguments:
            known: Which symbols are known, with shape (B, C, H, W); a gap in one image ends the
                prefix of all images.
        """
        complete = self.gather(known).all(-1).all(0)
        return int(complete.long().cumprod(0).sum())

    def extra_repr(self) -> str:
        return f"{self.name}, shape={self.shape}, sites={self.sites}, symbols={self.symbols}"


def _by_pixel(name: str, shape: Shape, pixels: Tensor) -> Scan:
    """Returns a scan whose sites are whole pixels, in the order `pixels` with shape (HW,)."""
    c, h, w = shape
    return Scan(name, shape, pixels[:, None] + torch.arange(c) * h * w)


def raster(shape: Shape) -> Scan:
    """Rows from the top, each from the left; a site is a pixel: T = H·W, S = C."""
    return _by_pixel("raster", shape, torch.arange(shape[1] * shape[2]))


def subpixel(shape: Shape) -> Scan:
    """As raster, but a site is one colour value, R then G then B: T = H·W·C, S = 1."""
    return Scan("subpixel", shape, raster(shape).index.reshape(-1, 1))


def planes(shape: Shape) -> Scan:
    """All of R, then all of G, then all of B, each as raster: T = H·W·C, S = 1."""
    c, h, w = shape
    return Scan("planes", shape, torch.arange(c * h * w)[:, None])


def snake(shape: Shape) -> Scan:
    """Rows from the top, alternately from the left and from the right: T = H·W, S = C."""
    rows = torch.arange(shape[1] * shape[2]).view(shape[1], shape[2])
    rows[1::2] = rows[1::2].flip(1)
    return _by_pixel("snake", shape, rows.flatten())


def hilbert(shape: Shape) -> Scan:
    """The Hilbert curve: T = H·W, S = C.

    If the image is not a square whose side is a power of two, the scan follows the curve of the
    smallest such square around it, and skips the positions outside the image.
    """
    _, h, w = shape
    side = 1 << (max(h, w) - 1).bit_length()
    distance = torch.arange(side * side)
    row, column = torch.zeros_like(distance), torch.zeros_like(distance)
    s = 1
    while s < side:  # each level turns and places the curves of its four quadrants
        right, lower = (distance // 2) & 1, (distance ^ (distance // 2)) & 1
        turn, flip = lower == 0, (lower == 0) & (right == 1)
        row, column = torch.where(flip, s - 1 - row, row), torch.where(flip, s - 1 - column, column)
        row, column = torch.where(turn, column, row), torch.where(turn, row, column)
        row, column = row + s * right, column + s * lower
        distance, s = distance // 4, 2 * s
    outside = (row >= h) | (column >= w)
    # sorted rather than selected, so that the length is known on the meta device too
    kept = outside.long().argsort(stable=True)[: h * w]
    return _by_pixel("hilbert", shape, (row * w + column)[kept])


SCANS: dict[str, Callable[[Shape], Scan]] = {
    "raster": raster,
    "subpixel": subpixel,
    "planes": planes,
    "snake": snake,
    "hilbert": hilbert,
}


def build_scan(name: str, shape: Shape) -> Scan:
    """Returns the scan of that name for images of symbols with shape (C, H, W)."""
    if name not in SCANS:
        raise ConfigError(f"scan: {did_you_mean(name, SCANS)}")
    return SCANS[name](shape)


def known_first(scan: Scan, known: Tensor) -> Scan:
    """Returns a scan that visits the sites known in full first, then all others.

    Drawn in this order, every unknown site depends on all known ones.

    Arguments:
        scan: The order within each of the two groups.
        known: Which symbols are known, with a shape that broadcasts to (C, H, W).
    """
    try:
        mask = known.to(scan.index.device, torch.bool).expand(scan.shape)
    except RuntimeError:
        raise ConfigError(
            f"known has shape {tuple(known.shape)}, which does not broadcast to {scan.shape} "
            "(channels, height, width): an order is made from a single mask"
        ) from None
    unknown = ~mask.flatten()[scan.index].all(-1)  # (T,)
    order = unknown.long().argsort(stable=True)
    return Scan(f"{scan.name}, known first", scan.shape, scan.index[order])


def shuffled(scan: Scan, seed: int) -> Scan:
    """Returns the sites of a scan in a random order, which the seed determines."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(scan.sites, generator=generator).to(scan.index.device)
    return Scan(f"{scan.name}, shuffled", scan.shape, scan.index[order])


def symmetries(name: str, shape: Shape) -> list[Scan]:
    """Returns the eight mirror images of the scan of that name, itself first.

    They begin in each of the four corners, along the rows or along the columns; for snake:

        0 1    1 0    3 2    2 3    0 3    3 0    1 2    2 1
        3 2    2 3    0 1    1 0    1 2    2 1    0 3    3 0
    """
    c, h, w = shape
    scans = []
    for along, size in (("", shape), (", by columns", (c, w, h))):
        index = build_scan(name, size).index
        channel, pixel = index // (h * w), index % (h * w)
        row, column = pixel // size[2], pixel % size[2]
        if along:
            row, column = column, row
        for up, i in (("", row), (", from below", h - 1 - row)):
            for left, j in (("", column), (", from the right", w - 1 - column)):
                places = (channel * h + i) * w + j
                scans.append(Scan(f"{name}{along}{up}{left}", shape, places))
    return scans
