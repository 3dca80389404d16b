"""Guards functions of a model: they get a usable model and run under torch's own settings.

What a seed draws and what an image scores depend on the arguments alone, not on what the caller has
set for the rest of the program: autocast, a default data type or device, inference mode.
"""

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, ParamSpec, TypeVar, cast

import torch
from torch import Tensor

from pixelar.errors import DataError
from pixelar.model import PixelModel

__all__ = ["for_models", "require_finite", "torch_defaults"]

P = ParamSpec("P")
R = TypeVar("R")

AUTOCAST = ("cpu", "cuda", "mps", "xpu")  # devices whose autocast may be on


@contextmanager
def torch_defaults() -> Iterator[None]:
    """Runs the body with torch's own defaults: float32, the CPU, no autocast, no inference mode.

    Settings that already have these values cost nothing. The default data type is global, so other
    threads get float32, too, while the body runs.
    """
    dtype = torch.get_default_dtype()
    with ExitStack() as settings:
        for device in AUTOCAST:
            if torch.is_autocast_enabled(device):
                settings.enter_context(torch.autocast(device, enabled=False))
        if torch.is_inference_mode_enabled():
            settings.enter_context(torch.inference_mode(False))
            settings.enter_context(torch.no_grad())  # inference mode implied it
        if torch.get_default_device().type != "cpu":  # such a setting slows every operation down
            settings.enter_context(torch.device("cpu"))
        if dtype != torch.float32:
            settings.callback(torch.set_default_dtype, dtype)
            torch.set_default_dtype(torch.float32)
        yield


def for_models(function: Callable[P, R]) -> Callable[P, R]:
    """Guards a public function or generator whose first argument is a model, or an object whose
    `model` is one.

    It runs under `torch_defaults`, and refuses anything but a model with finite weights. Between
    the values that a generator yields, the caller's settings apply.
    """

    def check(arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        first = arguments[0] if arguments else named.get("model")
        require_finite(getattr(first, "model", first))

    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def generate(*arguments: Any, **named: Any) -> Iterator[Any]:  # noqa: ANN401
            with torch_defaults():
                check(arguments, named)
                values = cast("Iterator[Any]", function(*arguments, **named))
            try:
                while True:
                    with torch_defaults():
                        value = next(values, END)
                    if value is END:
                        return
                    yield value
            finally:
                values.close()  # type: ignore[attr-defined]

        return cast("Callable[P, R]", generate)

    @functools.wraps(function)
    def call(*arguments: P.args, **named: P.kwargs) -> R:
        with torch_defaults():
            check(arguments, named)
            return function(*arguments, **named)

    return call


END = object()


@torch.no_grad()
def require_finite(model: object) -> None:
    """Raises PixelarError unless the argument is a model with finite weights.

    A quantizer checks its own tensors. A buffer may hold -inf, with which nets mask attention.
    """
    inner = getattr(model, "_orig_mod", model)  # of what torch.compile returns
    if not isinstance(inner, PixelModel):
        raise DataError(
            f"model must be a pixelar model, such as pixelar.load(path) returns; "
            f"got {type(model).__name__}"
        )
    checks: list[tuple[str, Tensor]] = []
    for name, part in (("net", inner.net), ("head", inner.head)):
        checks += [(key, p.isfinite().all()) for key, p in part.named_parameters(name)]
        floating = [(k, b) for k, b in part.named_buffers(name) if b.is_floating_point()]
        checks += [(key, (buffer < torch.inf).all()) for key, buffer in floating]
    if checks and not torch.stack([fits for _, fits in checks]).all():  # waits for a device once
        wrong = next(name for name, fits in checks if not fits)
        raise DataError(
            f"the model's weights are not finite, {wrong} first, so it can neither draw nor score; "
            "load or train it again"
        )
