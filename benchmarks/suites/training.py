"""Training: steps of whole nets and of single convolutions, against full kernels under a mask."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixelar.layers.masked import MaskedConv2d, RowsAboveConv2d
from pixelar.model import PixelModel
from suites.measure import Case, Row, Settings, interleave, peak_memory, several
from suites.models import build

__all__ = ["convolution", "step", "training"]

# in, out, side, kernel
CONVOLUTIONS = (
    (64, 64, 28, 7),
    (64, 64, 28, 5),
    (64, 128, 28, 3),
    (160, 160, 32, 3),
    (1, 128, 28, 7),
)


def full_kernel(conv: MaskedConv2d | RowsAboveConv2d, x: Tensor) -> Tensor:
    """The usual masked convolution: the whole k×k kernel times a mask of ones and zeros."""
    mask = torch.zeros_like(conv.weight)
    if isinstance(conv, MaskedConv2d):
        mask[:, :, : conv.taps[0], : conv.taps[1]] = conv.mask
    else:
        mask[:, :, : conv.rows] = 1
    height, width = conv.kernel_size
    side = conv.dilation[0] * (width // 2)
    # without its own row, a kernel's centre is the last row that is used
    below = 0 if isinstance(conv, MaskedConv2d) or conv.rows > height // 2 else 1
    above = conv.dilation[0] * (height // 2)
    x = F.pad(x, (side, side, above - below, above + below))
    return F.conv2d(x, conv.weight * mask, conv.bias, dilation=conv.dilation)


@contextmanager
def full_kernels() -> Iterator[None]:
    """Lets all causal convolutions compute with whole kernels under a mask."""
    with (
        mock.patch.object(MaskedConv2d, "forward", full_kernel),
        mock.patch.object(RowsAboveConv2d, "forward", full_kernel),
    ):
        yield


def step(model: PixelModel, x: Tensor) -> None:
    """Forward and backward of a training step, and an update whose rate is zero."""
    model.zero_grad()
    (-model(x).mean()).backward()
    with torch.no_grad():
        for parameter in model.parameters():
            assert parameter.grad is not None
            parameter.add_(parameter.grad, alpha=0)


def training(settings: Settings) -> Iterator[Row]:
    """Steps of whole nets."""
    side, batch = (6, 2) if settings.tiny else (28, 16)
    for name in settings.nets:
        model = build(settings, name, side).train()
        x = torch.randint(256, (batch, *model.scan.shape), device=model.device)
        ours: Case = lambda model=model, x=x: step(model, x)  # type: ignore[misc]  # noqa: E731
        cases = {"ours": ours}
        if any(isinstance(layer, (MaskedConv2d, RowsAboveConv2d)) for layer in model.modules()):

            def masked(ours: Case = ours) -> None:
                with full_kernels():
                    ours()

            cases["weight*mask"] = masked
        found = interleave(settings, cases)
        row = Row(f"{name} {side}×{side}, batch {batch}", "ours", found)
        for contender, case in cases.items():
            row.numbers[f"{contender}: peak MB"] = peak_memory(settings, case) / 1e6
        row.numbers["ours: images/s"] = batch / min(found["ours"])
        row.numbers["parameters"] = sum(p.numel() for p in model.parameters())
        yield row


def convolution(settings: Settings) -> Iterator[Row]:
    """Forward and backward of one masked convolution."""
    batch = 1 if settings.tiny else 16
    for inputs, outputs, side, kernel in CONVOLUTIONS[:1] if settings.tiny else CONVOLUTIONS:
        conv = MaskedConv2d(inputs, outputs, (kernel, kernel), "B").to(settings.device)
        x = torch.randn(batch, inputs, side, side, device=settings.device, requires_grad=True)

        def run(forward: nn.Module, x: Tensor = x) -> Case:
            def once() -> None:
                x.grad = None
                forward(x).sum().backward()

            return several(once, 1 if settings.tiny else 3)

        masked = lambda x, conv=conv: full_kernel(conv, x)  # noqa: E731
        cases = {"ours": run(conv), "weight*mask": run(masked)}  # type: ignore[arg-type]
        found = interleave(settings, cases, repeats=3 * settings.repeats)
        case = f"{kernel}×{kernel}, {inputs} → {outputs}, {side}×{side}, batch {batch}"
        yield Row(case, "ours", found)
