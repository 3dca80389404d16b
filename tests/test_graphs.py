"""Models score alike where their operations are traced, transformed or exported, and tensors of
any make get the values of plain ones, or are refused.
"""

from collections.abc import Callable

import pytest
import torch
import zoo
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.flop_counter import FlopCounterMode
from torchvision import tv_tensors

import pixelar
from pixelar.common.graphs import holds_values
from pixelar.heads import LogisticMixture
from pixelar.model import PixelModel
from pixelar.nets import NETS

pytestmark = pytest.mark.faults


class Marked(Tensor):
    """A tensor that carries a word."""


MADE: dict[str, Callable[[Tensor], Tensor]] = {
    "subclass": lambda x: x.as_subclass(Marked),
    "tv_tensor": tv_tensors.Mask,
    "parameter": lambda x: torch.nn.Parameter(x, requires_grad=x.is_floating_point()),
    "strided": lambda x: x.repeat_interleave(2, -1)[..., ::2],
}


def mixture(seed: int = 0) -> tuple[LogisticMixture, Tensor, Tensor]:
    """Returns a head, parameters (9, P) and symbols (9, 3) with both ends among them."""
    head = LogisticMixture(8, 3, components=2)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(8, (9, 3), generator=generator)
    x[0], x[1] = 0, 7
    return head, torch.randn(9, head.num_params, generator=generator), x


def right(head: LogisticMixture, params: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns log_prob, its gradient and log_pmf in float64, where there is no machine code."""
    exact = params.double().requires_grad_()
    value = head.log_prob(exact, x)
    (gradient,) = torch.autograd.grad(value.sum(), exact)
    return value.detach(), gradient, head.log_pmf(exact.detach(), x[:, :2])


def close(found: Tensor, expected: Tensor) -> None:
    found = found.detach().as_subclass(Tensor).double()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("make", MADE)
def test_tensors_of_any_make_get_right_values(make: str) -> None:
    head, params, x = mixture()
    value, _, pmf = right(head, params, x)
    close(head.log_prob(MADE[make](params), x), value)
    close(head.log_prob(params, MADE[make](x)), value)
    close(head.log_pmf(MADE[make](params), MADE[make](x)[:, :2]), pmf)


def test_images_of_a_subclass_score_alike() -> None:
    model = zoo.tiny("GatedPixelCNN", "LogisticMixture", shape=(3, 4, 4), levels=256).float()
    images = torch.randint(256, (4, 3, 4, 4), dtype=torch.uint8)
    expected = pixelar.bits_per_dim(model, images)
    for made in (images.as_subclass(Marked), tv_tensors.Image(images)):
        close(pixelar.bits_per_dim(model, made), expected)


def test_transformed_functions_of_the_mixture() -> None:
    """torch.func maps over it and differentiates it, alone and both at once."""
    head, params, x = mixture()
    value, gradient, pmf = right(head, params, x)
    close(torch.vmap(head.log_prob)(params, x), value)
    close(torch.vmap(head.log_prob, in_dims=(None, 0))(params[:1], x[:, None])[:1, 0], value[:1])
    close(torch.vmap(head.log_pmf)(params, x[:, :2]), pmf)
    close(torch.func.grad(lambda p: head.log_prob(p, x).sum())(params), gradient)
    close(torch.vmap(torch.func.grad(head.log_prob))(params, x), gradient)
    close(torch.func.grad(lambda p: torch.vmap(head.log_prob)(p, x).sum())(params), gradient)


def test_traced_programs_of_the_mixture_are_for_other_inputs() -> None:
    """What make_fx and torch.jit.trace write down holds for other parameters, and gradients."""
    head, params, x = mixture()
    _, other, y = mixture(seed=1)
    value, gradient, pmf = right(head, other, y)

    def score(params: Tensor, x: Tensor) -> Tensor:
        return head.log_prob(params, x)

    def next_symbol(params: Tensor, x: Tensor) -> Tensor:
        return head.log_pmf(params, x)

    def slope(params: Tensor, x: Tensor) -> Tensor:
        return torch.func.grad(lambda p: head.log_prob(p, x).sum())(params)

    for mode in ("real", "fake", "symbolic"):
        close(make_fx(score, tracing_mode=mode)(params, x)(other, y), value)
        close(make_fx(next_symbol, tracing_mode=mode)(params, x[:, :2])(other, y[:, :2]), pmf)
    close(torch.jit.trace(score, (params, x))(other, y), value)
    close(make_fx(slope)(params, x)(other, y), gradient)


def test_modes_that_watch_see_operations() -> None:
    head, params, x = mixture()
    value, *_ = right(head, params, x)
    assert holds_values(params)
    with FlopCounterMode(display=False):
        assert not holds_values(params)
        close(head.log_prob(params, x), value)


def check_export(model: PixelModel, shape: tuple[int, ...]) -> None:
    """The exported model takes batches of any size, and scores as the model does."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(model.scan.symbols and model.net.levels, (3, *shape), generator=generator)
    inputs = (x, torch.tensor([2, 0, 1])) if model.classes else (x,)
    batch = {0: torch.export.Dim("batch", min=1, max=64)}
    with torch.no_grad():
        expected = model(*inputs)
        exported = torch.export.export(model, inputs, dynamic_shapes=(batch,) * len(inputs))
        for rows in ([0, 1, 2], [1], [2, 1, 0, 0, 1]):
            found = exported.module()(*(value[rows] for value in inputs))
            torch.testing.assert_close(found, expected[rows], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("net", zoo.quick(NETS, "GatedPixelCNN", "RowLSTM", "ImageGPT"))
def test_every_net_exports(net: str) -> None:
    model = zoo.tiny(net, shape=(1, 4, 4), classes=3, **zoo.deep(net, 1))
    check_export(model, (1, 4, 4))


@pytest.mark.parametrize("scan", ["raster", "snake", "hilbert", "subpixel", "planes"])
def test_every_scan_exports(scan: str) -> None:
    check_export(zoo.tiny("ImageGPT", shape=(3, 2, 2), scan=scan), (3, 2, 2))


@pytest.mark.parametrize("head", ["Bernoulli", "LogisticMixture"])
def test_every_head_exports(head: str) -> None:
    levels = 2 if head == "Bernoulli" else 8
    model = zoo.tiny("GatedPixelCNN", head, shape=(3, 4, 4), levels=levels, depth=1).float()
    check_export(model, (3, 4, 4))


def test_an_exported_mixture_has_gradients() -> None:
    """The model's images, with the lowest and the highest level among the symbols."""
    model = zoo.tiny("GatedPixelCNN", "LogisticMixture", shape=(3, 4, 4), levels=2, depth=1)
    x = torch.randint(2, (3, 3, 4, 4))
    program = torch.export.export(model, (x,)).module()
    for scored in (model, program):
        scored(x).sum().backward()
    for (name, found), expected in zip(program.named_parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(found.grad, expected.grad, msg=name)
