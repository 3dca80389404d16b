"""How symbols and labels become numbers."""

import torch
from torch import Tensor, nn

from pixelar.scan import Scan

__all__ = ["ColourEmbedding", "LabelEmbedding", "PixelValues", "TokenEmbedding"]


class PixelValues(nn.Module):
    """Symbols as grey values on the scale [-1, 1], so that a level's neighbours are near it.

    Arguments:
        levels: V, the number of values of a symbol.
    """

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels = levels
        # follows .to(device), .double() and .half(), and sets the type that forward computes in
        self.register_buffer("unit", torch.ones(()), persistent=False)
        self.unit: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Returns values with the shape of x."""
        wide = torch.promote_types(self.unit.dtype, torch.float32)
        # half precision can represent each of 256 levels, but not the intermediate product
        return (x.to(wide) * (2 / (self.levels - 1)) - self.unit).to(self.unit.dtype)

    @property
    def zero(self) -> float:
        """The symbol, possibly between two levels, whose value is zero, like that of padding."""
        return (self.levels - 1) / 2


class TokenEmbedding(nn.Module):
    """One learned vector per level and position in the site; a site's vector is the sum over its
    symbols.

    Arguments:
        scan: The scan whose sites are embedded.
        levels: V, the number of values of a symbol.
        width: D, the length of the vectors.
    """

    def __init__(self, scan: Scan, levels: int, width: int) -> None:
        super().__init__()
        self.scan = scan
        self.table = nn.Embedding(scan.symbols * levels, width)
        self.register_buffer("offset", torch.arange(scan.symbols) * levels, persistent=False)
        self.offset: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Returns the vectors of the sites of images (B, C, H, W), in scan order, with shape (B, T,
        D).
        """
        return self.sites(self.scan.gather(x))

    def sites(self, symbols: Tensor) -> Tensor:
        """Returns the vectors of sites with symbols (*, S), with shape (*, D)."""
        return self.table(symbols + self.offset).sum(-2)


class ColourEmbedding(nn.Module):
    """One learned vector per level and colour, in any scan; a site's vector is the sum over its
    symbols.

    Unlike in `TokenEmbedding`, colours have separate tables even where each colour value is a site.

    Arguments:
        scan: The scan whose sites are embedded.
        levels: V, the number of values of a symbol.
        width: D, the length of the vectors.
    """

    def __init__(self, scan: Scan, levels: int, width: int) -> None:
        super().__init__()
        channels, height, columns = scan.shape
        self.scan = scan
        self.table = nn.Embedding(channels * levels, width)
        offset = scan.index // (height * columns) * levels
        self.register_buffer("offset", offset, persistent=False)  # (T, S)
        self.offset: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Returns the vectors of the sites of images (B, C, H, W), in scan order, with shape (B, T,
        D).
        """
        return self.sites(x, 0, self.scan.sites)

    def sites(self, x: Tensor, first: int, stop: int) -> Tensor:
        """Returns the vectors of the sites from `first` to `stop` - 1, with shape (B, n, D)."""
        symbols = x.flatten(1)[:, self.scan.index[first:stop]]  # (B, n, S)
        return self.table(symbols + self.offset[first:stop]).sum(-2)


class LabelEmbedding(nn.Module):
    """A learned vector per class that starts at zero; without classes it adds nothing.

    Arguments:
        classes: The number of classes; may be 0.
        width: D, the length of the vectors.
    """

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(classes, width) if classes else None
        if self.table is not None:
            nn.init.zeros_(self.table.weight)
        self.register_buffer("nothing", torch.zeros(1, width), persistent=False)
        self.nothing: Tensor

    def forward(self, labels: Tensor | None) -> Tensor:
        """Returns vectors with shape (B, D), or zeros (1, D) where there are no classes."""
        return self.nothing if self.table is None else self.table(labels)
