"""The last layers of a convolutional net: from maps to the parameters of every site."""

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from pixelar.layers.masked import MaskedConv2d
from pixelar.scan import Scan

__all__ = ["Readout", "colours_of"]


def colours_of(scan: Scan) -> int:
    """Returns how many colours a net tells apart: C where each colour value is a site, else 1."""
    return scan.shape[0] if scan.name == "subpixel" else 1


class Readout(nn.Module):
    """ReLU and 1×1 convolutions, with type B masks between colours.

    Arguments:
        scan: The scan of the image.
        width: D, the channels of the input.
        hidden: The channels of the layers between.
        out_features: P, the number of parameters per site.
    """

    def __init__(self, scan: Scan, width: int, hidden: Sequence[int], out_features: int) -> None:
        super().__init__()
        self.sites = scan.sites
        self.colours = colours_of(scan)
        widths = [width, *hidden, self.colours * out_features]
        self.layers: Sequence[MaskedConv2d] = nn.ModuleList(  # type: ignore[assignment]
            MaskedConv2d(i, o, (1, 1), "B", colours=self.colours) for i, o in pairwise(widths)
        )

    def forward(self, h: Tensor) -> Tensor:
        """Returns parameters (B, T, P) in scan order, from maps (B, D, H, W)."""
        for layer in self.layers:
            h = layer(h.relu())
        by_site = h.unflatten(1, (self.colours, -1)).permute(0, 3, 4, 1, 2)  # (B, H, W, C, P)
        return by_site.reshape(len(h), self.sites, -1)

    def matrices(self) -> list[tuple[Tensor, Tensor]]:
        """Returns the layers as (weight, bias) for one pixel's features."""
        return [(layer.patch_matrix(), layer.bias) for layer in self.layers]


def read_pixel(
    h: Tensor, matrices: list[tuple[Tensor, Tensor]], colour: int, colours: int
) -> Tensor:
    """Returns the parameters of one site, with shape (B, P), from its pixel's features (B, D)."""
    for weight, bias in matrices:
        h = F.linear(h.relu(), weight.T, bias)
    return h.unflatten(1, (colours, -1))[:, colour]
