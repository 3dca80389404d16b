"""Checkpoint files that are whole or absent, and are checked before they are believed."""

import os
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from pixelar.errors import PixelarError
from pixelar.files import replacing

__all__ = ["AtomicCheckpointIO", "newest_checkpoint", "read_checkpoint"]


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the file and renames, so that a kill at any moment leaves the old file or the new one.

    Lightning's own way goes through the temporary folder, and a move between file systems is a copy.
    """

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | os.PathLike[str],
        storage_options: Any = None,  # noqa: ANN401
    ) -> None:
        with replacing(Path(path)) as temporary:
            torch.save(checkpoint, temporary)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a checkpoint after checking every byte of it; nothing in it is executed.

    Raises:
        PixelarError: If the file is missing, damaged, or holds more than plain values and tensors.
    """
    if not path.is_file():
        raise PixelarError(f"no checkpoint at {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged:
            raise PixelarError(
                f"checkpoint {path} is damaged: {damaged} does not match its checksum"
            )
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except PixelarError:
        raise
    except Exception as error:
        reason = str(error).splitlines()[0][:200]
        raise PixelarError(f"{path} is not a readable checkpoint: {reason}") from error
    if not isinstance(checkpoint, dict) or "pixelar" not in checkpoint:
        raise PixelarError(f"{path} is not a checkpoint of pixelar")
    return checkpoint


def newest_checkpoint(folder: Path) -> tuple[Path | None, list[str]]:
    """Returns the newest checkpoint of a run that is whole, and a sentence about each newer one that is not."""
    complaints = []
    for path in sorted(folder.glob("step-*.ckpt"), reverse=True):
        try:
            read_checkpoint(path)
            return path, complaints
        except PixelarError as error:
            complaints.append(str(error))
    return None, complaints
