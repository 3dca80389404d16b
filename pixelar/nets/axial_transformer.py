"""Axial Transformer: attention along one axis at a time, so that the rows above are read at once.

    e ──(+)── [row attention ── masked column attention] × outer_depth ── shift down ──► u
         │
      context                                           u: all of the rows above, once per row
         │
    e ── shift right ──(+)── u ──(+)── masked row attention × depth ── LayerNorm ── parameters

The outer decoder attends to whole rows, its own included, but only upwards along columns: its row i
depends on rows up to i. Shifted down by one, it depends on the rows above. The inner decoder adds
the pixels to the left, and runs for every pixel. e are the embedded symbols.

With the scan `planes`, colours come plane by plane. An encoder with unmasked attention reads the
planes before, and its output is the context of both decoders:

    e of planes before ──(+)── [row attention ── column attention] × encoder_depth ──► context

Positions, a learned vector per row plus one per column, are added to the input of each part.

References:
    Axial Attention in Multidimensional Transformers (Ho et al., 2019),
    https://arxiv.org/abs/1912.12180
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixelar.common.modules import module_list
from pixelar.errors import ConfigError
from pixelar.layers.axial import AxialBlock, Places, RowsThenColumns
from pixelar.layers.embedding import LabelEmbedding, TokenEmbedding
from pixelar.nets.base import Net, require_positive, require_scan
from pixelar.scan import Scan

__all__ = ["AxialTransformer"]


class AxialTransformer(Net):
    """Outer and inner decoder of axial attention; takes the scans `raster`, `subpixel`, `planes`.

    With `planes` it is the paper's model. Assumed beyond it: the encoder reads the same vectors as
    the decoders, scaled by plane, where the authors' code convolves grey values; all planes are
    computed in training, not one at random; labels are part of the context. With `raster`, a site
    is a whole pixel, whose colours are left to the head; with `subpixel`, a row has W·C columns.
    Neither has an encoder, and grey images have none either.

    Arguments:
        width: D, the length of a site's vector.
        depth: The number of blocks of the inner decoder.
        outer_depth: The number of pairs of blocks, row then column, of the outer decoder.
        encoder_depth: The number of pairs of the encoder, with the scan `planes`.
        heads: The number of attention heads; divides the width.
        expansion: The width of the MLPs' hidden layers, divided by D.
        dropout: The rate of dropout on what each block adds.
        classes: The number of class labels; 0 for none.

    Example:
        >>> from pixelar.scan import raster
        >>> net = AxialTransformer(raster((1, 8, 8)), 17, 17, width=32, depth=2, heads=4)
        >>> net(torch.zeros(5, 1, 8, 8, dtype=torch.long)).shape
        torch.Size([5, 64, 17])
    """

    embed: TokenEmbedding

    def __init__(
        self,
        scan: Scan,
        levels: int,
        out_features: int,
        *,
        width: int = 512,
        depth: int = 8,
        outer_depth: int = 4,
        encoder_depth: int = 4,
        heads: int = 8,
        expansion: int = 1,
        dropout: float = 0.0,
        classes: int = 0,
    ) -> None:
        super().__init__(scan, levels, out_features, classes)
        require_scan(self, ("raster", "subpixel", "planes"))
        depths = {"depth": depth, "outer_depth": outer_depth, "encoder_depth": encoder_depth}
        require_positive(self, width=width, **depths, heads=heads, expansion=expansion)
        if width % heads:
            raise ConfigError(f"net AxialTransformer: heads ({heads}) must divide width ({width})")
        self.width, self.depth, self.heads, self.dropout = width, depth, heads, dropout
        self.outer_depth, self.encoder_depth, self.expansion = outer_depth, encoder_depth, expansion
        channels, height, _ = scan.shape
        self.planes = channels if scan.name == "planes" else 1
        self.grid = (height, scan.sites // (self.planes * height))
        shape = (width, heads, expansion, dropout)
        self.embed = TokenEmbedding(scan, levels, width)
        self.label = LabelEmbedding(classes, width)
        if self.planes > 1:
            self.before = nn.Parameter(torch.ones(self.planes - 1, 1, 1, width))
            self.plane = nn.Parameter(torch.empty(self.planes, 1, 1, width))
            self.encoder_places = Places(*self.grid, width)
            self.encoder: Sequence[RowsThenColumns] = module_list(
                RowsThenColumns(*shape, masked=False) for _ in range(encoder_depth)
            )
        self.places = Places(*self.grid, width)
        self.outer: Sequence[RowsThenColumns] = module_list(
            RowsThenColumns(*shape, masked=True) for _ in range(outer_depth)
        )
        self.inner: Sequence[AxialBlock] = module_list(
            AxialBlock(*shape, masked=True) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, out_features)
        for vectors in (self.embed.table.weight, *([self.plane] if self.planes > 1 else [])):
            nn.init.normal_(vectors, std=5 / math.sqrt(width))
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.forward_head(self.forward_features(x, labels))

    def forward_features(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        e = self.embed(x).unflatten(1, (self.planes, *self.grid))  # (B, planes, H, W, D)
        placed = (self.places() + self.context(e, labels)).flatten(0, 1)
        e = e.flatten(0, 1)  # from here on, planes are separate images
        u = e + placed
        for pair in self.outer:
            u = self.run(pair, u)
        down, right = (0, 0, 0, 0, 1, 0), (0, 0, 1, 0)
        h = F.pad(e[:, :, :-1], right) + F.pad(u[:, :-1], down) + placed
        h = h.flatten(0, 1)  # rows, (B · planes · H, W, D)
        for block in self.inner:
            h = self.run(block, h)
        return h.reshape(x.shape[0], self.scan.sites, -1)

    def forward_head(self, features: Tensor) -> Tensor:
        return self.out(self.norm(features))  # (B, T, P)

    def context(self, e: Tensor, labels: Tensor | None) -> Tensor:
        """Returns what is added to the vectors of symbols (B, planes, H, W, D) in the decoders."""
        label = self.label(labels)[:, None, None, None]
        if self.planes == 1:
            return label
        before = (e[:, :-1] * self.before).cumsum(1)
        return self.encode(F.pad(before, (0, 0, 0, 0, 0, 0, 1, 0)), 0) + label

    def encode(self, before: Tensor, plane: int) -> Tensor:
        """Returns the encoder's output for n planes from `plane` on, with shape (B, n, H, W, D).

        Arguments:
            before: Sums over the planes before each, with shape (B, n, H, W, D).
        """
        planes = self.plane[plane : plane + before.shape[1]]
        h = (before + planes + self.encoder_places()).flatten(0, 1)
        for pair in self.encoder:
            h = self.run(pair, h)
        return h.unflatten(0, before.shape[:2])
