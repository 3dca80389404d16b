"""What the three nets of Pixel Recurrent Neural Networks have in common: all but their layers.

    x ── k×k mask A ── layer × depth ── (ReLU ── 1×1) × … ── parameters
         └ stem        └ of the net     └ readout

The stem reads pixels, and its mask leaves out the pixel itself. From there to the readout, layers
with a residual connection keep 2D channels, divided by colour if each colour value is a site.

References:
    Pixel Recurrent Neural Networks (van den Oord et al., 2016), https://arxiv.org/abs/1601.06759,
    table 1
"""

import abc
from collections.abc import Sequence

from torch import Tensor

from pixelar.layers.embedding import PixelValues
from pixelar.layers.masked import MaskedConv2d
from pixelar.layers.readout import Readout, colours_of
from pixelar.nets.base import Net, require_positive, require_scan
from pixelar.scan import Scan

__all__ = ["ResidualStack"]


class ResidualStack(Net):
    """A base class of nets that differ in their layers; takes the scans `raster` and `subpixel`.

    A subclass builds its layers and then `out`, in the order in which weights are drawn.

    Attributes:
        colours: How many colours the channels of a map are divided into.
        stem: The first convolution, from pixels to 2D channels.
        out: The readout.

    Arguments:
        scan: The order of the sites of an image with shape (C, H, W).
        levels: V, the number of values of a symbol.
        out_features: P, the number of parameters per site that the head requires.
        width: D, the channels inside a layer; the residual stream has 2D.
        depth: The number of layers.
        first_kernel_size: The kernel of the stem.
        readout: The channels of the 1×1 layers before the last.
        dropout: The rate of dropout in each layer.
        classes: The number of class labels; 0 for none.
    """

    embed: PixelValues
    out: Readout

    def __init__(
        self,
        scan: Scan,
        levels: int,
        out_features: int,
        width: int,
        depth: int,
        first_kernel_size: int,
        readout: Sequence[int],
        dropout: float,
        classes: int,
    ) -> None:
        super().__init__(scan, levels, out_features, classes)
        require_scan(self, ("raster", "subpixel"))
        require_positive(self, width=width, depth=depth)
        self.width, self.depth, self.dropout = width, depth, dropout
        self.first_kernel_size, self.readout = first_kernel_size, tuple(readout)
        self.colours = colours_of(scan)
        self.embed = PixelValues(levels)
        self.stem = MaskedConv2d(
            scan.shape[0], 2 * width, (first_kernel_size,) * 2, "A", colours=self.colours
        )

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.forward_head(self.forward_features(x, labels))

    @abc.abstractmethod
    def forward_features(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Returns the output of the last layer, with shape (B, 2D, H, W)."""

    def forward_head(self, features: Tensor) -> Tensor:
        return self.out(features)  # (B, T, P)
