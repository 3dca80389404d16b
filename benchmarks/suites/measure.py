"""How things are measured: contenders take turns in one process, so that what else the machine does
meets all of them alike, and ratios are of neighbouring runs.
"""

import importlib.metadata
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

import pixelar
from pixelar.memory.peaks import measure_peak

__all__ = ["Row", "Settings", "environment", "interleave", "peak_memory", "ratio", "spread"]

Case = Callable[[], object]


@dataclass(frozen=True)
class Settings:
    """Where and how long to measure.

    Attributes:
        device: Where the models are.
        repeats: How often each contender is run.
        tiny: Whether everything is so small that it only shows that the suites run.
        nets: Those that the suites of all nets go through.
    """

    device: torch.device
    repeats: int
    tiny: bool
    nets: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """The measurements of one case.

    Attributes:
        case: What the contenders were given.
        reference: The contender that the others are compared with.
        seconds: The times of each contender, in the order they were taken.
        numbers: Other metrics, by name; those of a contender are named "contender: metric".
    """

    case: str
    reference: str
    seconds: dict[str, list[float]]
    numbers: dict[str, float | int | str] = field(default_factory=dict)


def interleave(
    settings: Settings, cases: Mapping[str, Case], *, repeats: int | None = None, warm: bool = True
) -> dict[str, list[float]]:
    """Runs the cases in turns, and returns their times in seconds."""
    if warm:
        for case in cases.values():
            case()
    found: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(repeats or settings.repeats):
        for name, case in cases.items():
            synchronise(settings.device)
            began = time.perf_counter()
            case()
            synchronise(settings.device)
            found[name].append(time.perf_counter() - began)
    return found


def several(case: Case, times: int) -> Case:
    """Returns a case that does it several times, where one is too short to be timed."""

    def run() -> None:
        for _ in range(times):
            case()

    return run


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def ratio(row: Row, name: str) -> float:
    """Returns the median, over turns, of a contender's time divided by the reference's."""
    pairs = zip(row.seconds[name], row.seconds[row.reference], strict=True)
    return statistics.median(a / b for a, b in pairs)


def spread(times: list[float]) -> str:
    """Returns minimum, median and maximum in a unit that suits them."""
    unit, scale = ("s", 1.0) if min(times) >= 1 else ("ms", 1e3)
    values = (min(times), statistics.median(times), max(times))
    return " / ".join(f"{value * scale:.3g}" for value in values) + f" {unit}"


def peak_memory(settings: Settings, case: Case) -> int:
    """Returns the most bytes of tensors that a case holds at once, beyond those held before."""
    case()
    if settings.device.type == "cuda":
        before = torch.cuda.memory_allocated(settings.device)
        torch.cuda.reset_peak_memory_stats(settings.device)
        case()
        return torch.cuda.max_memory_allocated(settings.device) - before
    return measure_peak(case)


@contextmanager
def evaluating(module: torch.nn.Module) -> Iterator[None]:
    """Computes without gradients and without dropout."""
    was = module.training
    module.eval()
    with torch.no_grad():
        yield
    module.train(was)


def environment(settings: Settings) -> dict[str, Any]:
    """Returns what ran the suites."""
    cuda = settings.device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(settings.device) if cuda else processor(),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "dtype": "float32",
        "torch": torch.__version__,
        **{name: version(name) for name in ("numba", "transformers")},
        "pixelar": pixelar.__version__,
        "python": platform.python_version(),
    }


def version(package: str) -> str:
    """Returns the version of what may be missing."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def processor() -> str:
    """Returns the processor's name, or its kind where the system does not report it."""
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.partition(":")[2].strip() for line in file if "model name" in line]
    except OSError:
        names = []
    return names[0] if names else platform.machine()
