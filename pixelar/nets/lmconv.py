"""LMConv: the blocks of PixelCNN++ with a mask for every position, for any order of pixels.

One stream of gated residual blocks, all of whose convolutions are locally masked. Its two halves
are joined like those of a U-Net, with dilated convolutions where that changes its resolution:

    pixels ── stem ── block × d ── dilated ── block × d ── dilated ── block × d ──┐
              (the centre masked)       each output is kept                       │
    parameters ── 1×1 ── block × (d + 1) ── dilated ── block × (d + 1) ── dilated ── block × d
                         each takes in one that was kept, the last one first

    block:  h ── concat ELU ── 3×3 ── PONO ──(+)── concat ELU ── 3×3 ── PONO(a) ⊙ σ(b) ──(+)── h'
             │                                │                                           │
             │              kept ── concat ELU ── 1×1                                     │
             └────────────────────────────────────────────────────────────────────────────┘

PONO normalizes the vector of each position over its channels, with the variance over D - 1 and
neither scale nor shift, so it carries nothing from one position to another. It also follows the
stem and each dilated convolution. A channel of ones next to the pixels distinguishes masked
neighbours, which are zero, from grey ones. Labels, which the paper does not have, are added after
the stem. With 160 channels and d = 5, color images and ten mixture components this makes 46.1 M
parameters; the paper gives 46 M.

The paper does not say where PONO is applied: this follows the authors' code. `version=1`, the form
of older models, differs: PONO acts on both halves of the gate, with the variance over D, and on
neither the stem nor the dilated convolutions.

References:
    Locally Masked Convolution for Autoregressive Models (Jain et al., 2020),
    https://arxiv.org/abs/2006.12486
    https://github.com/ajayjain/lmconv, the authors' code
    Positional Normalization (Li et al., 2019), https://arxiv.org/abs/1907.04312
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias

import torch.nn.functional as F
from torch import Tensor, nn

from pixelar.common.modules import module_list
from pixelar.errors import ConfigError
from pixelar.layers.activations import concat_elu, elu
from pixelar.layers.embedding import LabelEmbedding, PixelValues
from pixelar.layers.locally_masked import LocallyMaskedConv2d, order_masks
from pixelar.layers.positional_norm import layer_norm, layer_norm_gate, pono, pono_gate
from pixelar.nets.base import Net, require_positive, same_sites
from pixelar.scan import Scan

__all__ = ["LMConv"]

# applies a convolution to all positions at once, or to one with what is kept of the others
Look: TypeAlias = Callable[[LocallyMaskedConv2d, Tensor], Tensor]


@dataclass(frozen=True)
class Norms:
    """Where vectors are normalized.

    Attributes:
        inner: After the first convolution of a block.
        gate: Maps the output (*, 2D) of the second convolution to (*, D).
        outer: After the stem and after each dilated convolution.
    """

    inner: Callable[[Tensor], Tensor]
    gate: Callable[[Tensor], Tensor]
    outer: Callable[[Tensor], Tensor]


def as_it_is(h: Tensor) -> Tensor:
    return h


VERSIONS = {
    1: Norms(inner=layer_norm, gate=layer_norm_gate, outer=as_it_is),
    2: Norms(inner=pono, gate=pono_gate, outer=pono),
}


class GatedBlock(nn.Module):
    """A gated residual block, with or without a second input."""

    def __init__(
        self, width: int, kernel_size: int, dropout: float, norms: Norms, *, joined: bool
    ) -> None:
        super().__init__()
        self.norms = norms
        self.first = LocallyMaskedConv2d(2 * width, width, kernel_size)
        self.join = nn.Linear(2 * width, width) if joined else None
        self.second = LocallyMaskedConv2d(2 * width, 2 * width, kernel_size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, h: Tensor, kept: Tensor | None, look: Look) -> Tensor:
        """Returns vectors (*, D) from h and, for a block with a second input, `kept`: (*, D)."""
        inner = self.norms.inner(look(self.first, concat_elu(h, -1)))
        if self.join is not None and kept is not None:
            inner = inner + self.join(concat_elu(kept, -1))
        return h + self.norms.gate(look(self.second, self.dropout(concat_elu(inner, -1))))


class LMConv(Net):
    """Locally masked convolutions over whole pixels; takes any order of them.

    Arguments:
        width: D, the channels of the stream.
        depth: d, the gated blocks between two changes of dilation.
        kernel_size: The kernel of all convolutions.
        dilation: The distance between taps of the four convolutions between the blocks.
        dropout: The rate of dropout within the blocks.
        version: 2: the authors' net. 1: an older form; see above.
        classes: The number of class labels; 0 for none.

    Example:
        >>> import torch
        >>> from pixelar.scan import shuffled, snake
        >>> net = LMConv(snake((1, 8, 8)), levels=17, out_features=17, width=8, depth=1)
        >>> net(torch.zeros(5, 1, 8, 8, dtype=torch.long)).shape
        torch.Size([5, 64, 17])
        >>> net.reorder(shuffled(net.scan, seed=0))
        >>> net.scan
        Scan(snake, shuffled, shape=(1, 8, 8), sites=64, symbols=1)
    """

    embed: PixelValues
    place: Tensor
    stem_masks: Tensor
    masks: Tensor
    dilated_masks: Tensor

    def __init__(
        self,
        scan: Scan,
        levels: int,
        out_features: int,
        *,
        width: int = 160,
        depth: int = 5,
        kernel_size: int = 3,
        dilation: int = 2,
        dropout: float = 0.0,
        version: Literal[1, 2] = 2,
        classes: int = 0,
    ) -> None:
        super().__init__(scan, levels, out_features, classes)
        require_positive(self, width=width, depth=depth, dilation=dilation)
        if version not in VERSIONS:
            raise ConfigError(f"net LMConv: version must be 1 or 2; got {version!r:.60}")
        if width == 1:
            raise ConfigError("net LMConv: width must be at least 2, to normalize over channels")
        if scan.symbols != scan.shape[0]:
            raise ConfigError(
                f"net LMConv: its sites are whole pixels, not those of scan {scan.name!r}; "
                "use scan: raster, snake or hilbert"
            )
        self.width, self.depth, self.dropout = width, depth, dropout
        self.kernel_size, self.dilation = kernel_size, dilation
        self.version, self.norms = version, VERSIONS[version]
        self.embed = PixelValues(levels)
        self.stem = LocallyMaskedConv2d(scan.shape[0] + 1, width, kernel_size)
        self.label = LabelEmbedding(classes, width)

        def stage(length: int, *, joined: bool) -> Sequence[GatedBlock]:
            return module_list(
                GatedBlock(width, kernel_size, dropout, self.norms, joined=joined)
                for _ in range(length)
            )

        def between() -> Sequence[LocallyMaskedConv2d]:
            return module_list(
                LocallyMaskedConv2d(width, width, kernel_size, dilation=dilation) for _ in range(2)
            )

        self.up: Sequence[Sequence[GatedBlock]] = module_list(
            stage(depth, joined=False) for _ in range(3)
        )
        self.up_between = between()
        self.down: Sequence[Sequence[GatedBlock]] = module_list(
            stage(depth + (k > 0), joined=True) for k in range(3)
        )
        self.down_between = between()
        self.out = nn.Linear(width, out_features)
        for name in ("place", "stem_masks", "masks", "dilated_masks"):
            self.register_buffer(name, None, persistent=False)
        self._follow(scan)

    def reorder(self, scan: Scan) -> None:
        self._follow(same_sites(self, scan))

    def _follow(self, scan: Scan) -> None:
        """Computes the masks of an order."""
        like = self.stem.weight
        k, d = self.kernel_size, self.dilation
        self.scan = scan
        self.place = scan.index[:, 0].clone()
        self.stem_masks = order_masks(scan, k, 1, centre=False).to(like)
        self.masks = order_masks(scan, k, 1, centre=True).to(like)
        self.dilated_masks = order_masks(scan, k, d, centre=True).to(like)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.forward_head(self.forward_features(x, labels))

    def forward_features(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        h = self.stem(self.pixels(x), self.stem_masks)
        h = self.blocks_of(h, self.label(labels)[:, None, None], self.everywhere)  # (B, H, W, D)
        return h.flatten(1, 2)[:, self.place]  # (B, T, D)

    def forward_head(self, features: Tensor) -> Tensor:
        return self.out(elu(features))  # (B, T, P)

    def pixels(self, x: Tensor) -> Tensor:
        """Returns the values of symbols (B, C, …) and a one, with shape (B, …, C + 1)."""
        return F.pad(self.embed(x).movedim(1, -1), (0, 1), value=1.0)

    def everywhere(self, conv: LocallyMaskedConv2d, h: Tensor) -> Tensor:
        masks = self.masks if conv.dilation[0] == 1 else self.dilated_masks
        return conv(h, masks[: h.shape[1]])

    def blocks_of(self, h: Tensor, label: Tensor, look: Look) -> Tensor:
        """Returns the output (*, D) of all blocks, from the stem's vectors and the label's."""
        outer = self.norms.outer
        kept: list[Tensor] = [outer(h) + label]
        for k, stage in enumerate(self.up):
            if k:
                kept.append(outer(look(self.up_between[k - 1], kept[-1])))
            for block in stage:
                kept.append(self.run(partial(block, look=look), kept[-1], None))
        h = kept.pop()
        for k, stage in enumerate(self.down):
            if k:
                h = outer(look(self.down_between[k - 1], h))
            for block in stage:
                h = self.run(partial(block, look=look), h, kept.pop())
        return h
