"""Convolutions without masks, whose kernels have no taps where they must not read.

A kernel of h×w lies above its pixel, or above and to the left of it; the image is padded there:

    down-shifted 2×3      1 1 1        down-right-shifted 2×2      1 1
                          1 x 1                                    1 x

Both read the pixel x itself, and a down-shifted kernel also reads the pixels to its right. A stream
of such layers therefore begins by moving its input down by a row, or right by a column
(`shift_down`, `shift_right`).

References:
    PixelCNN++ (Salimans et al., 2017), https://arxiv.org/abs/1701.05517
"""

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "DownRightShiftedConv2d",
    "DownRightShiftedDeconv2d",
    "DownShiftedConv2d",
    "DownShiftedDeconv2d",
    "shift_down",
    "shift_right",
]


def shift_down(maps: Tensor) -> Tensor:
    """Returns maps whose row i is row i - 1 of the input; the first row is zero."""
    return F.pad(maps, (0, 0, 1, 0))[:, :, :-1]


def shift_right(maps: Tensor) -> Tensor:
    """Returns maps whose column j is column j - 1 of the input; the first column is zero."""
    return F.pad(maps, (1, 0))[..., :-1]


class DownShiftedConv2d(nn.Conv2d):
    """A convolution over the rows above and its own row, on both sides.

    Arguments:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Height and width of the kernel; the width is odd.
        stride: The distance between outputs, in both directions.
    """

    bias: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: tuple[int, int] = (2, 3),
        stride: int = 1,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride)
        height, width = kernel_size
        self.margin = (width // 2, width // 2, height - 1, 0)

    def forward(self, x: Tensor) -> Tensor:
        """Returns maps with shape (B, out, H / stride, W / stride)."""
        return F.conv2d(F.pad(x, self.margin), self.weight, self.bias, self.stride)


class DownRightShiftedConv2d(nn.Conv2d):
    """A convolution over what is above and to the left, and the pixel itself.

    Arguments:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Height and width of the kernel.
        stride: The distance between outputs, in both directions.
    """

    bias: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: tuple[int, int] = (2, 2),
        stride: int = 1,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride)
        height, width = kernel_size
        self.margin = (width - 1, 0, height - 1, 0)

    def forward(self, x: Tensor) -> Tensor:
        """Returns maps with shape (B, out, H / stride, W / stride)."""
        return F.conv2d(F.pad(x, self.margin), self.weight, self.bias, self.stride)


class DownShiftedDeconv2d(nn.ConvTranspose2d):
    """The transpose of a down-shifted 2×3 convolution with stride 2: a cell fills two rows of three
    pixels, of which it shares the outer columns with its neighbours.

    Arguments:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
    """

    bias: Tensor

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, (2, 3), 2)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """Returns maps with shape (B, out, 2H, 2W)."""
        wide = F.conv_transpose2d(x, self.weight, self.bias, 2, output_padding=(0, 1))
        return wide[..., 1:-1]


class DownRightShiftedDeconv2d(nn.ConvTranspose2d):
    """The transpose of a down-right-shifted 2×2 convolution with stride 2: a cell fills 2×2 pixels.

    Arguments:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
    """

    bias: Tensor

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, (2, 2), 2)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """Returns maps with shape (B, out, 2H, 2W)."""
        return F.conv_transpose2d(x, self.weight, self.bias, 2)
