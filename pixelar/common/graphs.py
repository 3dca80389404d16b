"""Detects whether tensors have values, or operations are only being recorded.

While a model is exported, compiled or traced, and while its memory is forecast, its tensors have no
values, or values of one call only. Machine code accesses the memory of tensors directly, so it must
not run then; see `holds_values`.
"""

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

__all__ = ["holds_values", "outside_graphs", "writes_program"]

P = ParamSpec("P")
T = TypeVar("T")

WITHOUT_DISPATCH = Tensor.__torch_dispatch__


def writes_program() -> bool:
    """Returns whether the running code is being recorded as a program of torch operations, by
    torch.export, torch.compile, torch.jit.trace or make_fx.
    """
    if torch.compiler.is_compiling() or torch._C._is_tracing():
        return True
    fx = sys.modules.get("torch.fx.experimental.proxy_tensor")  # the module of make_fx
    return fx is not None and fx.get_proxy_mode() is not None


def holds_values(*tensors: Tensor) -> bool:
    """Returns whether tensors are plain memory that machine code may read in place of torch.

    It is false where torch only records (`writes_program`), where a mode intercepts each operation
    (to count operations or bytes), within torch.func, and for subclasses with operations of their
    own, among them fake tensors. Subclasses that only add attributes are plain.
    """
    if writes_program() or torch._C._len_torch_dispatch_stack():
        return False
    return all(
        type(tensor).__torch_dispatch__ is WITHOUT_DISPATCH
        and not torch._C._functorch.is_functorch_wrapped_tensor(tensor)
        for tensor in tensors
    )


def outside_graphs(function: Callable[P, T]) -> Callable[P, T]:
    """Excludes a function from compiled programs, as `torch.compiler.disable` does; exported
    programs contain it.

    `torch.compiler.disable` loads torch._dynamo, which takes longer than loading torch itself, so
    it is used only once something else has loaded torch._dynamo.
    """

    disabled: Callable[P, T] | None = None

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        nonlocal disabled
        if torch.compiler.is_exporting() or "torch._dynamo" not in sys.modules:
            return function(*args, **kwargs)
        if disabled is None:
            disabled = torch.compiler.disable(function)
        return disabled(*args, **kwargs)

    return call
