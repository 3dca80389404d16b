"""Where a site is: the row, column and channel of its first symbol, in any scan."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pixelar.common.modules import module_list
from pixelar.scan import Scan

__all__ = ["PlaceEmbedding", "places", "sinusoids"]


def places(scan: Scan) -> Tensor:
    """Returns the row, column and channel of each site's first symbol, with shape (T, 3)."""
    _, height, width = scan.shape
    first = scan.index[:, 0]
    pixel = first % (height * width)
    return torch.stack((pixel // width, pixel % width, first // (height * width)), -1)


def sinusoids(coordinates: Tensor, width: int) -> Tensor:
    """Returns sines and cosines of coordinates (T, n), with shape (T, D).

    The D dimensions are divided among the coordinates; within each part, wavelengths grow from 2π
    to 10,000 times as much.
    """
    waves = []
    for k, values in enumerate(coordinates.T):
        size = (k + 1) * width // coordinates.shape[1] - k * width // coordinates.shape[1]
        half = -(-size // 2)
        rates = 10_000.0 ** -(torch.arange(half, device=values.device) / max(half - 1, 1))
        phases = values[:, None] * rates
        waves.append(torch.cat((phases.sin(), phases.cos()), -1)[:, :size])
    return torch.cat(waves, -1)


class PlaceEmbedding(nn.Module):
    """One learned vector per row, per column and per channel; a site's vector is the sum of three.

    Arguments:
        scan: The scan whose sites are embedded.
        width: D, the length of the vectors.
    """

    def __init__(self, scan: Scan, width: int) -> None:
        super().__init__()
        channels, height, columns = scan.shape
        kinds = channels if scan.symbols == 1 else 1  # channels that a site can begin with
        self.tables: Sequence[nn.Embedding] = module_list(
            nn.Embedding(n, width) for n in (height, columns, kinds)
        )
        self.register_buffer("places", places(scan), persistent=False)
        self.places: Tensor

    def forward(self) -> Tensor:
        """Returns the vectors of all sites, with shape (T, D)."""
        tables = zip(self.tables, self.places.T, strict=True)
        return torch.stack([table(place) for table, place in tables]).sum(0)
