"""Images kept in a file that is mapped into memory: read once, and larger than memory if need be.

NAME.npy    uint8 (N, C, H, W), as NumPy writes it
NAME.json   what it was made of; where that has changed, it is made again
"""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pixelar.common.files import replacing
from pixelar.errors import DataError

__all__ = ["mapped"]


def mapped(
    path: Path, source: str, shape: tuple[int, ...], fill: Callable[[Tensor], None]
) -> Tensor:
    """Maps a file of uint8 values into memory; writes the file first if it is missing or outdated.

    Changes to the returned tensor are not written to the file.

    Arguments:
        path: The file, NAME.npy.
        source: What the values are made of, such as a digest.
        shape: Their shape.
        fill: Writes the values, in place.
    """
    if path.suffix != ".npy":
        raise DataError(f"cache: the file's name ends with .npy; got {path}")
    made_of = path.with_suffix(".json")
    if not (path.is_file() and _says(made_of, source)):
        made_of.unlink(missing_ok=True)  # from here on, no incomplete file passes as current
        with replacing(path) as temporary:
            values = np.lib.format.open_memmap(temporary, "w+", np.uint8, shape)
            if hasattr(os, "posix_fallocate"):  # a full disk is known before pages are written
                with open(temporary, "r+b") as file:
                    os.posix_fallocate(file.fileno(), 0, temporary.stat().st_size)
            fill(torch.from_numpy(values))
            values.flush()
        with replacing(made_of) as temporary:
            temporary.write_text(json.dumps({"source": source}))
    return torch.from_numpy(np.load(path, mmap_mode="c"))  # "c": written to copies only


def _says(made_of: Path, source: str) -> bool:
    try:
        return json.loads(made_of.read_text()) == {"source": source}
    except (OSError, ValueError):
        return False
