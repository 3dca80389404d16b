"""The last layers of a convolutional net: from maps to the parameters of every site."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from pixelar.common.modules import module_list
from pixelar.layers.masked import MaskedConv2d
from pixelar.scan import Scan

__all__ = ["PixelReadout", "Readout", "colours_of"]


def colours_of(scan: Scan) -> int:
    """Returns how many colours a net separates: C where each colour value is a site, else 1."""
    return scan.shape[0] if scan.name == "subpixel" else 1


class Readout(nn.Module):
    """ReLU and 1×1 convolutions, with type B masks between colours.

    Arguments:
        scan: The scan of the image.
        width: D, the channels of the input.
        hidden: The channels of the hidden layers.
        out_features: P, the number of parameters per site.
    """

    def __init__(self, scan: Scan, width: int, hidden: Sequence[int], out_features: int) -> None:
        super().__init__()
        self.sites = scan.sites
        self.colours = colours_of(scan)
        widths = [width, *hidden, self.colours * out_features]
        self.layers: Sequence[MaskedConv2d] = module_list(
            MaskedConv2d(i, o, (1, 1), "B", colours=self.colours) for i, o in pairwise(widths)
        )

    def forward(self, h: Tensor) -> Tensor:
        """Returns parameters (B, T, P) in scan order, from maps (B, D, H, W)."""
        for layer in self.layers:
            h = layer(h.relu())
        by_site = h.unflatten(1, (self.colours, -1)).permute(0, 3, 4, 1, 2)  # (B, H, W, C, P)
        return by_site.reshape(h.shape[0], self.sites, -1)

    def by_pixel(self) -> "PixelReadout":
        """Returns the same readout for the features of one pixel."""
        *hidden, (matrix, bias) = [(layer.left_matrix(), layer.bias) for layer in self.layers]
        by_colour = zip(matrix.chunk(self.colours, 1), bias.chunk(self.colours), strict=True)
        return PixelReadout(hidden, list(by_colour))


@dataclass(frozen=True)
class PixelReadout:
    """A readout as matrices with their biases: the hidden layers, and the last for each colour."""

    hidden: list[tuple[Tensor, Tensor]]
    last: list[tuple[Tensor, Tensor]]

    def __call__(self, h: Tensor, colour: int = 0) -> Tensor:
        """Returns the parameters (B, P) of a pixel's colour from its features (B, D)."""
        for matrix, bias in (*self.hidden, self.last[colour]):
            h = torch.addmm(bias, h.relu(), matrix)
        return h
