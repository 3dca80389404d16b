"""The device that a command computes on: the best available one, or the requested one."""

import copy
import os

import torch

from pixelar.errors import ConfigError
from pixelar.model import PixelModel
from pixelar.sampling.posterior import posterior
from pixelar.scoring.analysis import surprise_map

__all__ = ["available", "choose_device", "describe_device", "place"]


def available() -> list[str]:
    """Returns the devices of this computer, the quickest kind first and the CPU last."""
    found = [f"cuda:{k}" for k in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        found.append("mps")
    return [*found, "cpu"]


def choose_device(wanted: str) -> torch.device:
    """Returns the device that an option's value names.

    Arguments:
        wanted: "auto" for the best available one, a different GPU for each process of torchrun;
            or "cpu", "cuda", "cuda:1", "mps".

    Raises:
        PixelarError: If this computer has no such device.
    """
    found = available()
    own = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    if wanted == "auto":
        return torch.device(own if own in found else found[0])
    name = own if wanted == "cuda" and own in found else wanted
    if name not in found and f"{name}:0" not in found:
        raise ConfigError(
            f"--device {wanted}: this computer has {', '.join(found)}; use one of these, or auto"
        )
    return torch.device(name)


def describe_device(device: torch.device) -> str:
    """Returns a device with the name of its GPU: `cuda:0 (NVIDIA H100)`."""
    if device.type != "cuda":
        return str(device)
    return f"{device} ({torch.cuda.get_device_name(device)})"


def place(
    model: PixelModel, wanted: str, *, dtype: torch.dtype = torch.float32
) -> tuple[PixelModel, str]:
    """Returns a model on the requested device, and a sentence that names the device.

    A trial shows whether the device has all operations that the model needs. Where one is missing,
    "auto" falls back on the CPU.

    Arguments:
        model: The model, on the CPU.
        wanted: As for `choose_device`.
        dtype: The data type of the computation.

    Raises:
        PixelarError: If this computer has no such device, or the device was named explicitly
            and cannot run the model.
    """
    device = choose_device(wanted)
    if device.type == "cpu":
        return model, "device: cpu"
    name = describe_device(device)
    try:
        moved = copy.deepcopy(model).to(device)  # a copy: a failed move leaves a broken model
        _try_out(moved, dtype)
    except (NotImplementedError, TypeError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0][:160] if str(error).strip() else repr(error)
        if wanted != "auto":
            raise ConfigError(
                f"--device {wanted} cannot run this model ({reason}); use --device cpu"
            ) from error
        return model, f"device: cpu, since {name} cannot run this model ({reason})"
    return moved, f"device: {name}"


def _try_out(model: PixelModel, dtype: torch.dtype) -> None:
    """Scores and completes one image, which runs every operation that a command may need."""
    torch.zeros(1, dtype=dtype, device=model.device)
    labels = torch.zeros(1, dtype=torch.long) if model.classes else None
    surprise_map(model, model.blank(1), labels)
    known = torch.ones(model.scan.shape, dtype=torch.bool)
    known.view(-1)[model.scan.index[-1].cpu()] = False
    posterior(model, model.blank(1), known[:1] & known.all(0), labels, particles=2, seed=0)
