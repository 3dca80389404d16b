"""Estimates how much memory a sampling pass or a likelihood needs, and how much is free."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pixelar.caches import new_cache
from pixelar.errors import ConfigError
from pixelar.memory.peaks import LiveBytes
from pixelar.model import PixelModel, evaluating

__all__ = [
    "available_memory",
    "bytes_of",
    "choose_batch_size",
    "gigabytes",
    "memory_of_image",
    "memory_of_row",
    "require_memory",
]

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")

# bytes of activations at which likelihoods are fastest, per CPU thread: more do not fit into the
# CPU's cache; see docs/evaluation.md. On a GPU: enough to keep it busy.
QUICKEST = {"cpu": 16 << 20, "cuda": 1 << 30}
MOST_IMAGES = 256


def require_memory(model: PixelModel, images: int, populations: int, particles: int) -> None:
    """Raises PixelarError if the canvases of all populations would not fit into free memory."""
    free = available_memory(model.device)
    if free is None:
        return
    row, rows = memory_of_row(model), images * populations * particles
    if rows * row > free:
        most = free // (row * images * populations)
        advice = f"use at most {most} particles, or " if most > 1 else "use "
        raise ConfigError(
            f"{particles} particles for {images * populations} completions need about "
            f"{gigabytes(rows * row)} for the model's caches, and {gigabytes(free)} are free; "
            f"{advice}fewer images at once"
        )


@torch.no_grad()
def memory_of_row(model: PixelModel) -> int:
    """Returns the bytes that each canvas of a sampling pass takes: cache, noise, probabilities.

    The caches of one and of two canvases are compared, so that memory shared by all canvases does
    not count. Twice the cache is added for temporary memory: the old cache of a layer next to the
    new one while canvases are resampled, and the layers' outputs (measured by
    benchmarks/benchmark_particles.py).
    """
    sizes = []
    for rows in (1, 2):
        x = torch.zeros(rows, *model.scan.shape, dtype=torch.long, device=model.device)
        labels = torch.zeros(rows, dtype=torch.long, device=model.device) if model.classes else None
        cache = new_cache(model.net, x, labels)
        cache.step(x, 0)
        sizes.append(bytes_of(cache))
    symbols = model.scan.dims * (8 * 3 + 1)  # canvas, given and noise, and whether it is known
    return 3 * (sizes[1] - sizes[0]) + symbols + 8 * 6 * model.net.levels


def choose_batch_size(model: PixelModel, *, processes: int = 1) -> int:
    """Returns how many images to evaluate at once: a power of two that is fast, and that fits.

    Arguments:
        model: The model.
        processes: How many processes share the memory.
    """
    device = model.device
    quickest = QUICKEST["cpu"] * torch.get_num_threads()
    room = quickest if device.type == "cpu" else QUICKEST["cuda"]
    free = available_memory(device)
    if free is not None:
        room = min(room, free // (2 * processes))
    most = min(MOST_IMAGES, max(1, room // memory_of_image(model)))
    return 1 << (most.bit_length() - 1)


@torch.no_grad()
def memory_of_image(model: PixelModel) -> int:
    """Returns the peak bytes that the likelihood of one image takes, besides the weights.

    One image is scored to measure them: fake tensors would need torch's compiler, which takes
    longer to load.
    """
    with evaluating(model), LiveBytes() as live:
        x = torch.zeros(1, *model.scan.shape, dtype=torch.long, device=model.device)
        params = model.net(x, x.new_zeros(1) if model.classes else None)
        model.head.log_prob(params, model.scan.gather(x))
        return live.peak


def bytes_of(cache: Any) -> int:  # noqa: ANN401
    """Returns the bytes of all tensors in a cache; storage shared by views counts once."""
    storages = (tensor.untyped_storage() for tensor in _tensors(cache))
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def available_memory(device: torch.device) -> int | None:
    """Returns the bytes that are free on a device, or None if the system does not report them."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    found = [bound for bound in (_free_in_system(), _free_in_group()) if bound is not None]
    return min(found, default=None)


def _free_in_system() -> int | None:
    try:
        lines = MEMINFO.read_text().splitlines()
        (kilobytes,) = (line.split()[1] for line in lines if line.startswith("MemAvailable:"))
        return 1024 * int(kilobytes)
    except (OSError, ValueError):
        return None


def _free_in_group() -> int | None:
    """Returns the bytes that a container's limit leaves."""
    try:
        limit = int((CGROUP / "memory.max").read_text())
        return max(0, limit - int((CGROUP / "memory.current").read_text()))
    except (OSError, ValueError):
        return None


def _tensors(value: Any) -> Iterator[Tensor]:  # noqa: ANN401
    """Yields the tensors in a cache of any type."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from _tensors(list(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)
    elif hasattr(value, "__dict__") and not isinstance(value, nn.Module):  # not the net
        yield from _tensors(vars(value))


def gigabytes(count: int) -> str:
    """Returns a number of bytes as text."""
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
