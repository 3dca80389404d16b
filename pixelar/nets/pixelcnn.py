"""PixelCNN: a deep stack of masked convolutions.

    x ── 7×7 mask A ── block × depth ── (ReLU ── 1×1) × … ── parameters

    block:  h ── ReLU ── 1×1 ── ReLU ── 3×3 mask B ── ReLU ── 1×1 ──(+)
             └───────────────────────────────────────────────────────┘

A 3×3 mask B reaches one column to the right for each row up, so pixels above that lie further right
than that are never read: the architecture's known blind spot, which is kept.

References:
    Pixel Recurrent Neural Networks (van den Oord et al., 2016), https://arxiv.org/abs/1601.06759
"""

from collections.abc import Sequence

from torch import Tensor, nn

from pixelar.common.modules import module_list
from pixelar.layers.embedding import LabelEmbedding
from pixelar.layers.masked import MaskedConv2d
from pixelar.layers.readout import Readout
from pixelar.nets.residual_stack import ResidualStack
from pixelar.scan import Scan

__all__ = ["PixelCNN"]


class Block(nn.Module):
    """The residual bottleneck: 2D → D → D → 2D maps."""

    def __init__(
        self, width: int, kernel_size: int, colours: int, classes: int, dropout: float
    ) -> None:
        super().__init__()
        self.down = MaskedConv2d(2 * width, width, (1, 1), "B", colours=colours)
        self.conv = MaskedConv2d(width, width, (kernel_size, kernel_size), "B", colours=colours)
        self.up = MaskedConv2d(width, 2 * width, (1, 1), "B", colours=colours)
        self.label = LabelEmbedding(classes, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, h: Tensor, labels: Tensor | None) -> Tensor:
        return self.expand(h, self.squeeze(h), labels)

    def squeeze(self, h: Tensor) -> Tensor:
        """Returns the input of the k×k convolution, with shape (B, D, H, W)."""
        return self.down(h.relu()).relu()

    def expand(self, h: Tensor, squeezed: Tensor, labels: Tensor | None) -> Tensor:
        """Returns the block's output, with shape (B, 2D, H, W)."""
        inner = self.conv(squeezed) + self.label(labels)[..., None, None]
        return h + self.up(self.dropout(inner.relu()))


class PixelCNN(ResidualStack):
    """Masked convolutions in residual blocks; takes the scans `raster` and `subpixel`.

    With `subpixel`, channels are divided by colour: B depends on G and R, G on R. With `raster`, a
    pixel is one site and its colours are left to the head.

    Arguments:
        width: D, the bottleneck's channels (h in the paper); the residual stream has 2D.
        depth: The number of residual blocks.
        first_kernel_size: The kernel of the first layer.
        kernel_size: The kernel of the blocks.
        readout: The channels of the 1×1 layers before the last.
        dropout: The rate of dropout in each block.
        classes: The number of class labels; 0 for none.

    Example:
        >>> import torch
        >>> from pixelar.scan import subpixel
        >>> net = PixelCNN(subpixel((3, 8, 8)), levels=256, out_features=256, width=6, depth=2)
        >>> net(torch.zeros(5, 3, 8, 8, dtype=torch.long)).shape
        torch.Size([5, 192, 256])
    """

    def __init__(
        self,
        scan: Scan,
        levels: int,
        out_features: int,
        *,
        width: int = 128,
        depth: int = 15,
        first_kernel_size: int = 7,
        kernel_size: int = 3,
        readout: Sequence[int] = (1024,),
        dropout: float = 0.0,
        classes: int = 0,
    ) -> None:
        super().__init__(
            scan, levels, out_features, width, depth, first_kernel_size, readout, dropout, classes
        )
        self.kernel_size = kernel_size
        self.blocks: Sequence[Block] = module_list(
            Block(width, kernel_size, self.colours, classes, dropout) for _ in range(depth)
        )
        self.out = Readout(scan, 2 * width, readout, out_features)

    def forward_features(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        h = self.stem(self.embed(x))  # (B, 2D, H, W)
        for block in self.blocks:
            h = self.run(block, h, labels)
        return h

    def reach(self) -> int:
        """Returns the larger reach of the first layer, in its one row, and of a block, per row."""
        return max(self.first_kernel_size // 2, self.kernel_size // 2)
