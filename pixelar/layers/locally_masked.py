"""Locally masked convolutions: every position of the image has a mask of its own.

The mask of a position follows from the order of generation: a tap is alive where the neighbour it
reads comes earlier. One set of weights therefore serves any order:

    order      masks of 3×3 kernels at the positions of 5 and 6
    0 1 2         · · 1      1 1 1
    7 6 3         · 1 1      · 1 1      · dead: it comes later, or is outside
    8 5 4         · · ·      · 1 1

The centre, the position itself, is alive, but not in a first layer, which reads the pixels.

References:
    Locally Masked Convolution for Autoregressive Models (Jain et al., 2020),
    https://arxiv.org/abs/2006.12486
"""

from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixelar.errors import ConfigError
from pixelar.scan import Scan

__all__ = ["LocallyMaskedConv2d", "order_masks", "windows"]


def order_masks(scan: Scan, kernel_size: int, dilation: int, *, centre: bool) -> Tensor:
    """Returns which taps are alive at every position, 1 or 0, with shape (H, W, k²).

    Arguments:
        scan: The order, of whole pixels.
        kernel_size: k, the kernel's height and width.
        dilation: The distance between taps.
        centre: Whether a position reads itself.
    """
    h, w = scan.shape[1:]
    rank = scan.index[:, 0].argsort().view(h, w)
    neighbours = windows(rank, kernel_size, dilation, outside=h * w)
    alive = neighbours <= rank[..., None] if centre else neighbours < rank[..., None]
    return alive.to(torch.get_default_dtype())


def windows(grid: Tensor, kernel_size: int, dilation: int, *, outside: int) -> Tensor:
    """Returns what a kernel reads at each position of a grid (H, W), with shape (H, W, k²)."""
    h, w = grid.shape
    padded = F.pad(grid, (dilation * (kernel_size // 2),) * 4, value=outside)
    steps = range(0, dilation * kernel_size, dilation)
    return torch.stack([padded[i : i + h, j : j + w] for i, j in product(steps, steps)], -1)


class LocallyMaskedConv2d(nn.Conv2d):
    """A convolution of maps with channels last, with a mask for every position.

    Arguments:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: k, the kernel's height and width, odd.
        dilation: The distance between taps.
    """

    bias: Tensor

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, dilation: int = 1
    ) -> None:
        if kernel_size < 3 or kernel_size % 2 == 0:
            raise ConfigError(
                f"kernel_size must be odd and at least 3, to read neighbours; got {kernel_size}"
            )
        super().__init__(in_channels, out_channels, kernel_size, dilation=dilation)
        self.side = dilation * (kernel_size // 2)

    def matrix(self) -> Tensor:
        """Returns the kernel as a matrix from patches to outputs, with shape (out, k² · in)."""
        return self.weight.permute(0, 2, 3, 1).flatten(1)

    def forward(self, x: Tensor, masks: Tensor) -> Tensor:  # type: ignore[override]
        """Returns maps with shape (B, H, W, out).

        Arguments:
            x: Maps with shape (B, H, W, in).
            masks: What `order_masks` returns, with shape (H, W, k²).
        """
        _, h, w, _ = x.shape
        padded = F.pad(x, (0, 0, *(self.side,) * 4))
        steps = range(0, 2 * self.side + 1, self.dilation[0])
        taps = zip(product(steps, steps), masks.unbind(-1), strict=True)
        patches = [padded[:, i : i + h, j : j + w] * mask[..., None] for (i, j), mask in taps]
        return F.linear(torch.cat(patches, -1), self.matrix(), self.bias)
