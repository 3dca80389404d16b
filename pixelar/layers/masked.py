"""Convolutions that read only what comes before: masked by colour and column, cropped by row.

A k×k kernel of a causal convolution has dead rows below its centre. They are kept in the parameter,
so that parameter counts and checkpoints are the published ones, but they are cropped before the
convolution runs:

    1 1 1        rows above: all taps
    1 1 1        row of the centre: taps on the left, and the centre itself by the colour rule
    · · ·        dead: cropped

The channels of every map are divided into one block per colour, in the order R, G, B. At the
centre, an output of colour o reads inputs of colour i < o (type A, for the first layer, whose
inputs are pixels) or i ≤ o (type B).

References:
    Pixel Recurrent Neural Networks (van den Oord et al., 2016), https://arxiv.org/abs/1601.06759
    Conditional Image Generation with PixelCNN Decoders (van den Oord et al., 2016),
    https://arxiv.org/abs/1606.05328
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixelar.errors import ConfigError

__all__ = ["MaskedConv2d", "RowsAboveConv2d", "colour_of"]


def colour_of(channels: int, colours: int, halves: int = 1) -> Tensor:
    """Returns the colour that each channel of a map belongs to, with shape (channels,).

    Arguments:
        channels: The number of channels.
        colours: The number of colours; 1 where a pixel is coded as a whole.
        halves: How many parts of the map are each divided by colour: 2 for those of a gate.
    """
    return (torch.arange(channels // halves) * colours // (channels // halves)).repeat(halves)


def check_kernel(size: int) -> None:
    if size < 1 or size % 2 == 0:
        raise ConfigError(f"kernel_size must be odd, so that a kernel has a centre; got {size}")


class MaskedConv2d(nn.Conv2d):
    """A convolution over the pixels above and to the left, with type A or B masks at the centre.

    Arguments:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Height and width of the kernel, both odd; height 1 reads along the row only.
        mask: "A" where the input contains the pixel itself, "B" in later layers.
        colours: The number of colours the channels are divided into.
        halves: How many parts of the output are masked alike: 2 where it feeds a gate.
        dilation: The distance between taps.
    """

    mask: Tensor
    bias: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: tuple[int, int],
        mask: Literal["A", "B"],
        *,
        colours: int = 1,
        halves: int = 1,
        dilation: int = 1,
    ) -> None:
        for size in kernel_size:
            check_kernel(size)
        super().__init__(in_channels, out_channels, kernel_size, dilation=dilation)
        height, width = kernel_size
        # taps that can be alive: rows down to the centre; in a kernel of one row, columns up to the
        # centre
        self.taps = (height // 2 + 1, width if height > 1 else width // 2 + 1)
        source = colour_of(in_channels, colours)[None, :]
        target = colour_of(out_channels, colours, halves)[:, None]
        alive = torch.ones(out_channels, in_channels, *self.taps)
        alive[:, :, -1, width // 2] = (source < target if mask == "A" else source <= target).float()
        alive[:, :, -1, width // 2 + 1 :] = 0
        self.register_buffer("mask", alive, persistent=False)
        self.margin = (
            dilation * (width // 2),
            dilation * (self.taps[1] - 1 - width // 2),
            dilation * (height // 2),
            0,
        )

    def masked_weight(self) -> Tensor:
        """Returns the kernel without its dead taps, with shape (out, in, *taps)."""
        return self.weight[:, :, : self.taps[0], : self.taps[1]] * self.mask

    def above(self) -> Tensor:
        """Returns the kernel's rows above the centre, with shape (out, in, rows, taps)."""
        return self.masked_weight()[:, :, :-1].contiguous(memory_format=torch.channels_last)

    def left_matrix(self) -> Tensor:
        """Returns the kernel's centre row, up to the centre, as a matrix (taps·in, out)."""
        row = self.masked_weight()[:, :, -1, : self.kernel_size[1] // 2 + 1]
        return row.permute(2, 1, 0).flatten(0, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Returns maps with shape (B, out, H, W)."""
        return F.conv2d(
            F.pad(x, self.margin), self.masked_weight(), self.bias, dilation=self.dilation
        )


class RowsAboveConv2d(nn.Conv2d):
    """A convolution over whole rows: the input's own row and those above, none below.

    Arguments:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Height and width of the kernel, odd.
        own_row: Whether the kernel's centre row is used. Without it, row i of the output reads the
            k // 2 input rows that end at row i, as in the first layer of a stack, whose input has
            been shifted down by one row.
        dilation: The distance between taps.
    """

    bias: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        own_row: bool = True,
        dilation: int = 1,
    ) -> None:
        check_kernel(kernel_size)
        super().__init__(in_channels, out_channels, kernel_size, dilation=dilation)
        self.rows = kernel_size // 2 + own_row
        side = dilation * (kernel_size // 2)
        self.margin = (side, side, dilation * (self.rows - 1), 0)

    def above(self) -> Tensor:
        """Returns the rows of the kernel that are used, with shape (out, in, rows, taps)."""
        return self.weight[:, :, : self.rows].contiguous(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        """Returns maps with shape (B, out, H, W)."""
        return F.conv2d(
            F.pad(x, self.margin),
            self.weight[:, :, : self.rows],
            self.bias,
            dilation=self.dilation,
        )
