"""Positional normalization: the vector of each position is normalized over its channels.

It carries nothing from one position to another, so it may be used anywhere in a causal net.

References:
    Positional Normalization (Li et al., 2019), https://arxiv.org/abs/1907.04312
"""

import torch.nn.functional as F
from torch import Tensor

__all__ = ["layer_norm", "layer_norm_gate", "pono", "pono_gate"]

EPSILON = 1e-5  # added to variances


def pono(h: Tensor) -> Tensor:
    """Returns vectors (*, D) with mean 0 and variance 1 over their channels, with divisor D - 1."""
    share = (h.shape[-1] - 1) / h.shape[-1]
    return share**0.5 * F.layer_norm(h, h.shape[-1:], eps=share * EPSILON)


def pono_gate(h: Tensor) -> Tensor:
    """Returns PONO(a) ⊙ σ(b) with shape (*, D), of the halves a and b of vectors (*, 2D)."""
    a, b = h.chunk(2, -1)
    return pono(a) * b.sigmoid()


def layer_norm(h: Tensor) -> Tensor:
    """Returns vectors (*, D) with mean 0 and variance 1 over their channels, with divisor D."""
    return F.layer_norm(h, h.shape[-1:], eps=EPSILON)


def layer_norm_gate(h: Tensor) -> Tensor:
    """Returns a ⊙ σ(b) with shape (*, D), of vectors (*, 2D) that are normalized as a whole."""
    return F.glu(layer_norm(h))
