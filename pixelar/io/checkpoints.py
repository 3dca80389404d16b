"""Reading checkpoints: complete ones only, without executing anything in them."""

from pathlib import Path
from typing import Any

from pixelar.common.files import read_torch
from pixelar.errors import PixelarError, StorageError

__all__ = ["newest_checkpoint", "read_checkpoint"]


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a checkpoint after checking every byte of it; nothing in it is executed.

    Raises:
        PixelarError: If the file is missing, damaged, or holds more than plain values and tensors.
    """
    if not path.is_file():
        raise StorageError(f"no checkpoint at {path}")
    checkpoint = read_torch(path)
    if not isinstance(checkpoint, dict) or "pixelar" not in checkpoint:
        raise StorageError(f"{path} is not a checkpoint of pixelar")
    return checkpoint


def newest_checkpoint(folder: Path) -> tuple[Path | None, list[str]]:
    """Returns the newest complete checkpoint, and a complaint about each newer one."""
    complaints: list[str] = []
    for path in sorted(folder.glob("step-*.ckpt"), reverse=True):
        try:
            read_checkpoint(path)
            return path, complaints
        except PixelarError as error:
            complaints.append(str(error))
    return None, complaints
