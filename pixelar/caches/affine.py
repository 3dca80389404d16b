"""The weights of a sampling pass: linear maps x W + b, with constants folded into W and b.

A pass copies the weights of its net once, as matrices from inputs to outputs, and folds in what
surrounds them, so that a step need not compute it:

    the scale and shift of a norm before            after(norm)
    a factor of its outputs, such as 1 / √d         scaled(factor)
    a factor that its inputs come with              undoing(factor)
    the scale of symbols as values                  of_symbols(levels)
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pixelar.layers.masked import MaskedConv2d

__all__ = ["Affine"]


@dataclass(frozen=True)
class Affine:
    """x ↦ x W + b, for vectors x (N, in).

    Attributes:
        weight: W, with shape (in, out).
        bias: b, with shape (out,); None where there is none.
    """

    weight: Tensor
    bias: Tensor | None = None

    @property
    def offset(self) -> Tensor:
        """The bias of a map that has one."""
        assert self.bias is not None
        return self.bias

    @classmethod
    def of(cls, layer: nn.Linear | nn.Conv2d) -> "Affine":
        """Returns a linear layer, a 1×1 convolution, or what a masked one reads of its own row."""
        if isinstance(layer, MaskedConv2d):
            weight = layer.left_matrix()
        else:
            kernel = layer.weight
            assert kernel.numel() == len(kernel) * kernel.shape[1], "a kernel with one tap"
            weight = kernel.flatten(1).T.contiguous()
        return cls(weight.detach(), None if layer.bias is None else layer.bias.detach())

    def __call__(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """Returns the map of x with shape (N, out), written to `out` if it is given."""
        if self.bias is None:
            return torch.mm(x, self.weight, out=out)
        return torch.addmm(self.bias, x, self.weight, out=out)

    def added_to(self, h: Tensor, x: Tensor) -> Tensor:
        """Returns h (N, out) plus the map of x."""
        found = torch.addmm(h, x, self.weight)
        return found if self.bias is None else found.add_(self.bias)

    def after(self, norm: nn.LayerNorm | nn.RMSNorm, divided: float = 1) -> "Affine":
        """Returns the map of what a norm leaves before its scale, and its shift if it has one.

        Arguments:
            norm: The norm.
            divided: What the inputs are divided by beyond that.
        """
        shift = getattr(norm, "bias", None)
        bias = self.bias
        if shift is not None:
            bias = shift @ self.weight if bias is None else bias + shift @ self.weight
        return Affine(self.weight * (divided * norm.weight)[:, None], bias)

    def scaled(self, factor: float | Tensor) -> "Affine":
        """Returns the map whose outputs are multiplied by a factor, or by one each (out,)."""
        return Affine(self.weight * factor, None if self.bias is None else self.bias * factor)

    def undoing(self, factor: float) -> "Affine":
        """Returns the same map of inputs that have been multiplied by a factor."""
        return Affine(self.weight / factor, self.bias)

    def of_symbols(self, levels: int) -> "Affine":
        """Returns the map of symbols, where this one takes their values; see `PixelValues`."""
        bias = -self.weight.sum(0)
        bias = bias if self.bias is None else self.bias + bias
        return Affine(self.weight * (2 / (levels - 1)), bias)

    def joined(self) -> Tensor:
        """Returns the matrix (in + 1, out) for inputs that end with a one: the last row is b."""
        return torch.cat((self.weight, self.offset[None]))
