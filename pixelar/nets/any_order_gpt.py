"""AnyOrderGPT: the decoder of ImageGPT, with the site to predict as an input, for any order.

        input t:  symbols of site t - 1 + position of site t - 1 + target: position of site t
              ── block × depth ── RMSNorm ── head ── parameters of site t

In a fixed order the position in the sequence determines which site comes next. Here the order may
change from batch to batch, so each input includes two positions in the image, each from a table of
its own: that of its symbols, and that of the symbols it predicts. Keys and values, once computed,
do not change, so the cache is that of ImageGPT.

References:
    Generative Pretraining from Pixels (Chen et al., 2020),
    https://proceedings.mlr.press/v119/chen20s.html
    XLNet: Generalized Autoregressive Pretraining for Language Understanding (Yang et al., 2019),
    https://arxiv.org/abs/1906.08237
    σ-GPTs: A New Approach to Autoregressive Models (Pannatier et al., 2024),
    https://arxiv.org/abs/2404.09562
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixelar.nets.base import same_sites
from pixelar.nets.imagegpt import GPT
from pixelar.scan import Scan

__all__ = ["AnyOrderGPT"]


class AnyOrderGPT(GPT):
    """A causal Transformer over the sites of an image in any order: pixels, sub-pixels or tokens.

    A label is added to the start vector.

    Arguments:
        width: D, the length of a position's vector.
        depth: The number of blocks.
        heads: The number of attention heads; divides the width.
        dropout: The rate of dropout on the embedding and on what each block adds.
        classes: The number of class labels; 0 for none.

    Example:
        >>> from pixelar.scan import raster, shuffled
        >>> net = AnyOrderGPT(raster((1, 8, 8)), 17, 17, width=32, depth=2, heads=4)
        >>> net(torch.zeros(5, 1, 8, 8, dtype=torch.long)).shape
        torch.Size([5, 64, 17])
        >>> net.reorder(shuffled(net.scan, seed=0))
        >>> net.scan
        Scan(raster, shuffled, shape=(1, 8, 8), sites=64, symbols=1)
    """

    def __init__(
        self,
        scan: Scan,
        levels: int,
        out_features: int,
        *,
        width: int = 512,
        depth: int = 24,
        heads: int = 8,
        dropout: float = 0.0,
        classes: int = 0,
    ) -> None:
        super().__init__(
            scan,
            levels,
            out_features,
            width=width,
            depth=depth,
            heads=heads,
            dropout=dropout,
            classes=classes,
        )
        self.target = nn.Parameter(torch.zeros(scan.sites, width))
        nn.init.normal_(self.target, std=0.01)

    def reorder(self, scan: Scan) -> None:
        self.scan = self.embed.scan = same_sites(self, scan)

    def places(self) -> Tensor:
        site = self.scan.index[:, 0]  # where it is in the image: 0 … T - 1 in another order
        return F.pad(self.position[site[:-1]], (0, 0, 1, 0)) + self.target[site]
