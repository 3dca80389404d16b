"""Fits a set of colours to many images, and finds the nearest of them for each pixel.

Images are read a few at a time, so that memory does not grow with their number.
"""

import torch
from torch import Tensor
from tqdm import tqdm

from pixelar.errors import DataError

__all__ = ["fit_colours", "nearest_colours"]

FITTED = 1_000_000  # pixels that k-means is fitted to
SHUFFLED = 1 << 24  # up to this many pixels, those are chosen by a permutation of all
READ = 1 << 20  # pixels whose colours are counted at a time
# distances between pixels and colours computed at a time: as many as stay in a processor's cache,
# or keep a GPU busy
DISTANCES = {"cpu": 1 << 16, "cuda": 1 << 23}


def fit_colours(images: Tensor, levels: int, seed: int, *, progress: bool | None = None) -> Tensor:
    """Finds colours by k-means of at most a million pixels.

    Arguments:
        images: RGB images, uint8 with shape (N, 3, H, W).
        levels: V, the number of colours.
        seed: The seed of the choice of pixels and of k-means.
        progress: Whether to show a progress bar; None shows it on a terminal only.

    Returns:
        Colours on the scale 0 … 255, float32 with shape (V, 3).

    Raises:
        PixelarError: If the images have fewer than V colours.
    """
    from sklearn.cluster import MiniBatchKMeans

    hidden = None if progress is None else not progress
    with tqdm(total=3, desc="palette", unit="step", disable=hidden) as bar:
        distinct = _count_colours(images, levels)
        if distinct < levels:
            raise DataError(
                f"quantizer Palette: {levels} colours requested, but the training images "
                f"have only {distinct} different ones; set levels to {distinct} or fewer"
            )
        bar.update()
        pixels = _some_pixels(images, seed).numpy().astype("float32")
        bar.update()
        means = MiniBatchKMeans(levels, random_state=seed, batch_size=8192, n_init=3)
        centres: Tensor = torch.from_numpy(means.fit(pixels).cluster_centers_)
        bar.update()
    return centres


def nearest_colours(images: Tensor, colours: Tensor) -> Tensor:
    """Returns which colour is nearest to each pixel, the first of those that are equally near.

    Arguments:
        images: RGB images, uint8 with shape (B, 3, H, W).
        colours: Colours with shape (V, 3); distances are computed in float64.

    Returns:
        Numbers of colours, int64 with shape (B, H, W).
    """
    by_channel = colours.double().T.contiguous()  # (3, V)
    pixels = images.movedim(1, -1)  # (B, H, W, 3)
    at_once = DISTANCES["cpu" if colours.device.type == "cpu" else "cuda"] // len(colours)
    parts = pixels.reshape(-1, 3).split(max(1, at_once))
    return torch.cat([_nearest(part, by_channel) for part in parts]).view(pixels.shape[:-1])


def _nearest(pixels: Tensor, colours: Tensor) -> Tensor:
    """Returns the numbers (n,) of the colours (3, V) that are nearest to pixels (n, 3)."""
    values = pixels.to(colours.dtype)
    # not |p|² - 2pc + |c|², whose rounding makes equal distances differ
    red, green, blue = (
        (values[:, channel, None] - colours[channel]).square_() for channel in range(3)
    )
    return red.add_(green).add_(blue).argmin(1)


def _count_colours(images: Tensor, enough: int) -> int:
    """Returns how many colours images have, or some number ≥ `enough` if they have that many."""
    seen = torch.zeros(1 << 24, dtype=torch.bool)
    distinct = 0
    for part in images.split(max(1, READ // max(1, images.shape[2] * images.shape[3]))):
        red, green, blue = part.cpu().int().unbind(1)
        seen[((red << 16) | (green << 8) | blue).flatten()] = True
        distinct = int(seen.sum())
        if distinct >= enough:
            break
    return distinct


def _some_pixels(images: Tensor, seed: int) -> Tensor:
    """Returns at most `FITTED` pixels of images, none of them twice, uint8 with shape (n, 3)."""
    generator = torch.Generator().manual_seed(seed)
    count, _, height, width = images.shape
    total = count * height * width
    if total <= SHUFFLED:
        chosen = torch.randperm(total, generator=generator)[:FITTED]
    else:  # with replacement: twice as many leave enough after removing duplicates
        drawn = torch.randint(total, (2 * FITTED,), generator=generator).unique()
        chosen = drawn[torch.randperm(len(drawn), generator=generator)[:FITTED]]
    image, place = chosen // (height * width), chosen % (height * width)
    return images[image, :, place // width, place % width].cpu()
