"""The linear maps of sampling passes: with constants folded in, they compute what layers do."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixelar.caches.affine import Affine
from pixelar.layers.embedding import PixelValues
from pixelar.layers.masked import MaskedConv2d
from pixelar.layers.weight_norm import weight_norm

LAYERS: dict[str, Callable[[], nn.Linear | nn.Conv2d]] = {
    "linear": lambda: nn.Linear(6, 4),
    "without bias": lambda: nn.Linear(6, 4, bias=False),
    "1×1": lambda: nn.Conv2d(6, 4, 1),
    "with weight norm": lambda: weight_norm(nn.Conv2d(6, 4, 1), scale=0.3),
    "masked": lambda: MaskedConv2d(6, 4, (1, 1), "B", colours=2),
}
every_layer = pytest.mark.parametrize("kind", LAYERS)


def vectors(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(len(shape) + sum(shape))
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def outputs(layer: nn.Module, x: Tensor) -> Tensor:
    """Returns the outputs of a layer for vectors (N, in): those of one pixel, of a convolution."""
    return layer(x) if isinstance(layer, nn.Linear) else layer(x[..., None, None])[..., 0, 0]


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@every_layer
@torch.no_grad()
def test_it_is_the_layer(kind: str) -> None:
    layer, x, h = LAYERS[kind]().double(), vectors(3, 6), vectors(3, 4)
    affine, expected, out = Affine.of(layer), outputs(layer, x), torch.empty_like(h)
    before = h.clone()
    close(affine(x), expected)
    assert affine(x, out=out) is out
    close(out, expected)
    close(affine.added_to(h, x), h + expected)
    assert torch.equal(h, before)
    assert not affine.weight.requires_grad


def test_a_masked_kernel_reads_its_own_row() -> None:
    conv = MaskedConv2d(2, 4, (3, 3), "B").double()
    row = vectors(1, 2, 1, 5)
    seen = F.pad(row, (1, 0)).unfold(3, 2, 1)[0, :, 0].permute(1, 2, 0).flatten(1)  # (W, 2 · in)
    close(Affine.of(conv)(seen), conv(row)[0, :, 0].mT.detach())


def test_a_kernel_of_several_taps_is_refused() -> None:
    with pytest.raises(AssertionError, match="one tap"):
        Affine.of(nn.Conv2d(2, 4, 3))


@every_layer
@torch.no_grad()
def test_constants_are_folded_in(kind: str) -> None:
    layer, x = LAYERS[kind]().double(), vectors(3, 6)
    affine, factors = Affine.of(layer), vectors(4)
    close(affine.scaled(factors)(x), outputs(layer, x) * factors)
    close(affine.scaled(1.5)(x), outputs(layer, x) * 1.5)
    close(affine.undoing(-2)(-2 * x), outputs(layer, x))


@every_layer
@pytest.mark.parametrize("norm", [nn.LayerNorm, nn.RMSNorm])
@torch.no_grad()
def test_norms_are_folded_in(kind: str, norm: type[nn.LayerNorm] | type[nn.RMSNorm]) -> None:
    layer, x = LAYERS[kind]().double(), vectors(3, 6)
    before = norm(6, eps=1e-5).double()
    bare = before(x)
    for k, parameter in enumerate(before.parameters()):
        parameter.copy_(vectors(6) + k)
    close(Affine.of(layer).after(before)(bare), outputs(layer, before(x)))


@every_layer
@torch.no_grad()
def test_symbols_take_the_place_of_their_values(kind: str) -> None:
    layer, values = LAYERS[kind]().double(), PixelValues(5).double()
    symbols = torch.randint(5, (3, 6), generator=torch.Generator().manual_seed(0))
    found = Affine.of(layer).of_symbols(5)(symbols.double())
    close(found, outputs(layer, values(symbols)))


@torch.no_grad()
def test_the_bias_is_the_last_row() -> None:
    affine, x = Affine.of(nn.Linear(6, 4).double()), vectors(3, 6)
    close(F.pad(x, (0, 1), value=1) @ affine.joined(), affine(x))
