"""Locally masked convolutions: every place of the image has a mask of its own.

The mask of a place follows from the order of generation: a tap is alive where the neighbour it
looks at comes earlier. One set of weights therefore serves any order:

    order      masks of 3×3 kernels at the places of 5 and 6
    0 1 2         · · 1      1 1 1
    7 6 3         · 1 1      · 1 1      · dead: it comes later, or is outside
    8 5 4         · · ·      · 1 1

A place itself is alive (the centre), but not in a first layer, which looks at the pixels.

References:
    Locally Masked Convolution for Autoregressive Models (Jain et al., 2020),
    https://arxiv.org/abs/2006.12486
"""

from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixelar.errors import PixelarError
from pixelar.scan import Scan

__all__ = ["LocallyMaskedConv2d", "Visited", "order_masks"]


def order_masks(scan: Scan, kernel_size: int, dilation: int, *, centre: bool) -> Tensor:
    """Returns which taps are alive at every place, 1 or 0, with shape (H, W, k²).

    Arguments:
        scan: The order, of whole pixels.
        kernel_size: k, the kernel's height and width.
        dilation: The distance between taps.
        centre: Whether a place sees itself.
    """
    _, h, w = scan.shape
    rank = scan.index[:, 0].argsort().view(h, w)
    side = dilation * (kernel_size // 2)
    outside = F.pad(rank, (side,) * 4, value=h * w)
    steps = range(0, dilation * kernel_size, dilation)
    neighbours = torch.stack([outside[i : i + h, j : j + w] for i, j in product(steps, steps)], -1)
    alive = neighbours <= rank[..., None] if centre else neighbours < rank[..., None]
    return alive.to(torch.get_default_dtype())


class LocallyMaskedConv2d(nn.Conv2d):
    """A convolution of maps with channels last, whose mask is given for every place.

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
            raise PixelarError(
                f"kernel_size must be odd and at least 3, to see neighbours; got {kernel_size}"
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
        patches = torch.stack(
            [padded[:, i : i + h, j : j + w] for i, j in product(steps, steps)], 3
        )
        return F.linear((patches * masks[..., None]).flatten(3), self.matrix(), self.bias)


class Visited:
    """The input of a locally masked convolution at the places that a walk has visited.

    All others are zero, which is what the masks would make of them.

    Arguments:
        conv: The convolution.
        batch: B.
        size: The image's height and width.
    """

    def __init__(self, conv: LocallyMaskedConv2d, batch: int, size: tuple[int, int]) -> None:
        self.side, self.dilation, k = conv.side, conv.dilation[0], conv.kernel_size[0]
        height, width = (length + 2 * self.side for length in size)
        weight = conv.weight.detach()
        self.buffer = weight.new_zeros(batch, height, width, conv.in_channels)
        self.matrix = conv.matrix().detach().T.contiguous()  # (k² · in, out)
        self.bias = conv.bias.detach()
        _, row, column, _ = self.buffer.stride()
        self.strides = (self.buffer.stride(0), self.dilation * row, self.dilation * column, 1)
        self.taps = (k, k, conv.in_channels)

    def write(self, i: int, j: int, h: Tensor) -> None:
        """Takes in the vectors (B, in) of a place."""
        self.buffer[:, i + self.side, j + self.side] = h

    def look(self, i: int, j: int) -> Tensor:
        """Returns the result at a place, with shape (B, out)."""
        start = i * self.buffer.stride(1) + j * self.buffer.stride(2)
        patch = self.buffer.as_strided((len(self.buffer), *self.taps), self.strides, start)
        return torch.addmm(self.bias, patch.reshape(len(patch), -1), self.matrix)

    def fill(self, maps: Tensor, visited: Tensor) -> None:
        """Takes in maps (B, H, W, in) at the places (H, W) that have been visited."""
        _, h, w, _ = maps.shape
        inner = slice(self.side, self.side + h), slice(self.side, self.side + w)
        self.buffer[:, *inner] = maps * visited[..., None]

    def select(self, rows: Tensor) -> None:
        """Keeps these rows of the batch."""
        self.buffer = self.buffer[rows]
