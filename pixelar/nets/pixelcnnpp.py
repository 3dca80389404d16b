"""PixelCNN++: two shifted streams over three resolutions, with short-cuts from the up pass to the
down pass.

The stream u reads the rows above, ul those and its own row to the left. Neither needs masks, since
their inputs are shifted once and their kernels have no taps below or to the right of x:

    u    1 1 1     down-shifted 2×3           ul   1 1     down-right-shifted 2×2
         1 x 1                                     1 x

The up pass halves the image after each stage, the down pass doubles it again, and each of its
blocks takes the output of its mirror image in the up pass (last in, first out):

                        up pass                      down pass
    H×W        stem ── blocks ────── short-cuts ────── blocks ── ELU ── 1×1 ── parameters
                          │ stride 2                     │ transposed
    H/2×W/2             blocks ────── short-cuts ────── blocks
                          │ stride 2                     │ transposed
    H/4×W/4             blocks ────── short-cuts ────── blocks
                          └──────────────────────────────┘

A gated block, where ⟨x⟩ is the concatenated ELU, elu([x, -x]), and `aside` is the mirrored tensor
for u, and the new u with the mirrored tensor for ul (on the up pass there are no mirrored tensors):

    x ── ⟨·⟩ ── conv ──(+)── ⟨·⟩ ── dropout ── conv ── (a, b) ── a ⊙ σ(b) ──(+)──
    │                   │                                                    │
    │   aside ── ⟨·⟩ ── 1×1                                                  │
    └────────────────────────────────────────────────────────────────────────┘

Every layer has weight norm and begins with a scale fitted to the first batch (`initialize`). The
image has an extra plane of ones, so that padding, which is zero, shows where the image ends. A
label adds a vector to (a, b), as in the published code. Assumed here: the first batch is run
without dropout, and the scale of a channel that does not vary in it stays as it is.

References:
    PixelCNN++ (Salimans et al., 2017), https://arxiv.org/abs/1701.05517
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pixelar.common.modules import module_list
from pixelar.errors import ConfigError
from pixelar.layers.activations import concat_elu, elu
from pixelar.layers.embedding import LabelEmbedding, PixelValues
from pixelar.layers.shifted import (
    DownRightShiftedConv2d,
    DownRightShiftedDeconv2d,
    DownShiftedConv2d,
    DownShiftedDeconv2d,
    shift_down,
    shift_right,
)
from pixelar.layers.weight_norm import fitting_to_data, weight_norm
from pixelar.nets.base import Net, require_positive, require_scan
from pixelar.scan import Scan

__all__ = ["PixelCNNPP"]


class GatedBlock(nn.Module):
    """A residual block with a gate.

    Arguments:
        conv: The kind of convolution, which defines the stream.
        width: D, the channels of the stream.
        aside: The channels of a second input; 0 for none.
        dropout: The rate of dropout, of whole maps.
        classes: The number of class labels; 0 for none.
    """

    def __init__(
        self,
        conv: type[DownShiftedConv2d] | type[DownRightShiftedConv2d],
        width: int,
        aside: int,
        dropout: float,
        classes: int,
    ) -> None:
        super().__init__()
        self.inner = weight_norm(conv(2 * width, width))
        self.short = weight_norm(nn.Conv2d(2 * aside, width, 1)) if aside else None
        self.outer = weight_norm(conv(2 * width, 2 * width), scale=0.1)
        self.label = LabelEmbedding(classes, 2 * width)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, x: Tensor, aside: Tensor | None, labels: Tensor | None) -> Tensor:
        """Returns maps like x (B, D, H, W)."""
        return self.gated(x, self.between(x, aside), labels)

    def between(self, x: Tensor, aside: Tensor | None) -> Tensor:
        """Returns the maps between the two convolutions, with shape (B, D, H, W)."""
        h = self.inner(concat_elu(x))
        return h if self.short is None else h + self.short(concat_elu(aside))  # type: ignore[arg-type]

    def gated(self, x: Tensor, h: Tensor, labels: Tensor | None) -> Tensor:
        """Returns the block's output from its input and the maps between."""
        maps = self.outer(self.dropout(concat_elu(h))) + self.label(labels)[..., None, None]
        a, b = maps.chunk(2, 1)
        return x + a * b.sigmoid()


class Pair(nn.Module):
    """A block of each stream. On the down pass each also reads the output of its mirror image.

    Arguments:
        width: D, the channels of a stream.
        mirrored: The channels of a mirrored tensor: 0 on the up pass, D on the down pass.
        dropout: The rate of dropout.
        classes: The number of class labels; 0 for none.
    """

    def __init__(self, width: int, mirrored: int, dropout: float, classes: int) -> None:
        super().__init__()
        self.u = GatedBlock(DownShiftedConv2d, width, mirrored, dropout, classes)
        self.ul = GatedBlock(DownRightShiftedConv2d, width, width + mirrored, dropout, classes)

    def forward(
        self,
        u: Tensor,
        ul: Tensor,
        labels: Tensor | None,
        mirrored_u: Tensor | None = None,
        mirrored_ul: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Returns both streams, each (B, D, H, W)."""
        u = self.u(u, mirrored_u, labels)
        aside = u if mirrored_ul is None else torch.cat((u, mirrored_ul), 1)
        return u, self.ul(ul, aside, labels)


class PixelCNNPP(Net):
    """Two streams over several resolutions; takes the scan `raster`.

    Arguments:
        width: D, the channels of each stream.
        blocks: The blocks of a stage and stream on the up pass; on the down pass, all stages but
            the coarsest have one more.
        stages: The number of resolutions; each but the first has half the side of the one before.
        dropout: The rate of dropout within blocks, of whole maps.
        classes: The number of class labels; 0 for none.

    Example:
        >>> from pixelar.scan import raster
        >>> net = PixelCNNPP(raster((3, 8, 8)), 256, 100, width=8, blocks=1)
        >>> net(torch.zeros(5, 3, 8, 8, dtype=torch.long)).shape
        torch.Size([5, 64, 100])
    """

    embed: PixelValues

    def __init__(
        self,
        scan: Scan,
        levels: int,
        out_features: int,
        *,
        width: int = 160,
        blocks: int = 5,
        stages: int = 3,
        dropout: float = 0.5,
        classes: int = 0,
    ) -> None:
        super().__init__(scan, levels, out_features, classes)
        require_scan(self, ("raster",))
        require_positive(self, width=width, blocks=blocks, stages=stages)
        channels, height, columns = scan.shape
        side = 1 << (stages - 1)
        if height % side or columns % side:
            raise ConfigError(
                f"net PixelCNNPP: {stages} stages halve the image {stages - 1} times, so its sides "
                f"must be multiples of {side}, not {height}×{columns}; use fewer stages or images "
                "of another size"
            )
        if not 0 <= dropout < 1:
            raise ConfigError(
                f"net PixelCNNPP: dropout must be at least 0 and below 1; got {dropout}"
            )
        self.width, self.blocks, self.stages, self.dropout = width, blocks, stages, dropout
        self.embed = PixelValues(levels)
        self.u_stem = weight_norm(DownShiftedConv2d(channels + 1, width, (2, 3)))
        self.ul_stem_above = weight_norm(DownShiftedConv2d(channels + 1, width, (1, 3)))
        self.ul_stem_left = weight_norm(DownRightShiftedConv2d(channels + 1, width, (2, 1)))
        self.up: Sequence[Sequence[Pair]] = module_list(
            module_list(Pair(width, 0, dropout, classes) for _ in range(blocks))
            for _ in range(stages)
        )
        self.down: Sequence[Sequence[Pair]] = module_list(
            module_list(Pair(width, width, dropout, classes) for _ in range(blocks + (k > 0)))
            for k in range(stages)
        )
        between = range(stages - 1)
        self.halve_u = nn.ModuleList(
            weight_norm(DownShiftedConv2d(width, width, stride=2)) for _ in between
        )
        self.halve_ul = nn.ModuleList(
            weight_norm(DownRightShiftedConv2d(width, width, stride=2)) for _ in between
        )
        self.double_u = nn.ModuleList(
            weight_norm(DownShiftedDeconv2d(width, width)) for _ in between
        )
        self.double_ul = nn.ModuleList(
            weight_norm(DownRightShiftedDeconv2d(width, width)) for _ in between
        )
        self.out = weight_norm(nn.Conv2d(width, out_features, 1))

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.forward_head(self.forward_features(x, labels))

    def forward_features(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        u, ul = self.stem(x)
        mirrored = []
        for k, stage in enumerate(self.up):
            if k:
                u, ul = self.halve_u[k - 1](u), self.halve_ul[k - 1](ul)
            mirrored.append((u, ul))
            for pair in stage:
                u, ul = self.run(pair, u, ul, labels)
                mirrored.append((u, ul))
        mirrored.pop()  # where the down pass begins
        for k, stage in enumerate(self.down):
            if k:
                u, ul = self.double_u[k - 1](u), self.double_ul[k - 1](ul)
            for pair in stage:
                u, ul = self.run(pair, u, ul, labels, *mirrored.pop())
        return ul  # (B, D, H, W)

    def forward_head(self, features: Tensor) -> Tensor:
        return self.out(elu(features)).flatten(2).mT  # (B, T, P)

    def stem(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the inputs of both streams, from symbols (B, C, H, W): each (B, D, H, W)."""
        pixels = self.embed(x)
        pixels = torch.cat((pixels, torch.ones_like(pixels[:, :1])), 1)
        above, left = self.ul_stem_above(pixels), self.ul_stem_left(pixels)
        return shift_down(self.u_stem(pixels)), shift_down(above) + shift_right(left)

    @torch.no_grad()
    def initialize(self, x: Tensor, labels: Tensor | None = None) -> None:
        with fitting_to_data(self):
            self(x, labels)
