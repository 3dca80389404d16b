"""The most memory that a function takes at any moment: predicted without computing, or measured.

A prediction runs the function on fake tensors, which have shapes and no values. Every operation is
dispatched as on the device, with its choice of kernels, and the bytes of all live tensors are
summed up, including those saved for gradients and temporary ones. A kernel's own workspace does not
show; where it dominates, it is added (`WORKSPACES`).
"""

import copy
import json
import tempfile
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

__all__ = ["LiveBytes", "measure_peak", "without_values"]

M = TypeVar("M", bound=nn.Module)

# Kernels that save what their gradients need in their last result, whose size is known only when
# they run. The number is that size as a multiple of the first result's, including what the backward
# pass takes. oneDNN's LSTM keeps gates, states and scratch buffers for their gradients.
WORKSPACES = {torch.ops.aten.mkldnn_rnn_layer.default: 17}


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of the tensors that operations return, for as long as they are alive.

    Attributes:
        now: The bytes alive.
        peak: The most that were alive at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._seen: Any = WeakIdKeyDictionary()

    def count(self, tensor: Tensor, size: int | None = None) -> None:
        """Counts a tensor's storage, unless it is counted already, until it is freed.

        Arguments:
            tensor: The tensor.
            size: Its bytes, where the storage does not show them.
        """
        storage = tensor.untyped_storage()
        if storage not in self._seen:
            self._seen[storage] = True
            size = storage.nbytes() if size is None else size
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._forget, size)

    def _forget(self, size: int) -> None:
        self.now -= size

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Returns False: to have its compiler skip this mode, torch would have to load it."""
        return False

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        result = func(*args, **(kwargs or {}))
        if func in WORKSPACES and torch.is_grad_enabled():
            self.count(result[-1], WORKSPACES[func] * result[0].nbytes)
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.count(leaf)
        return result


@contextmanager
def without_values(
    module: M, device: torch.device, dtype: torch.dtype | None = None
) -> Iterator[tuple[M, LiveBytes]]:
    """Yields a copy of a module with fake tensors, and the count of all live tensors.

    Tensors created in the body are fake as well. The copy's own tensors count from the start.

    Arguments:
        module: The module, which is not changed.
        device: The device of the copy.
        dtype: The data type of floating-point tensors in the copy; None keeps the module's.
    """

    def empty(tensor: Tensor) -> Tensor:
        kind = dtype if dtype and tensor.is_floating_point() else tensor.dtype
        made = torch.empty(tensor.shape, dtype=kind, device=device)
        return (
            nn.Parameter(made, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else made
        )

    with FakeTensorMode(allow_non_fake_inputs=True), LiveBytes() as live:
        own = [*module.parameters(), *module.buffers()]
        yield copy.deepcopy(module, {id(tensor): empty(tensor) for tensor in own}), live


def measure_peak(function: Callable[[], object]) -> int:
    """Measures the peak bytes that a function takes on the CPU, by PyTorch's profiler."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        function()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text())["traceEvents"]
    changes = [event for event in events if event.get("name") == "[memory]"]
    now = peak = 0
    for change in sorted(changes, key=lambda event: event["ts"]):
        if change["args"]["Device Type"] == 0:
            now += change["args"]["Bytes"]
            peak = max(peak, now)
    return peak
