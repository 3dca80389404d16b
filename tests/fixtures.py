"""Small real files that several tests write."""

from pathlib import Path

import numpy as np
from PIL import Image


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    """Random 8-bit values."""
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def save(pixels: np.ndarray, path: Path) -> None:
    """Writes pixels with shape (H, W) or (H, W, 3) as an image file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def write_files(root: Path, *names: str) -> None:
    for i, name in enumerate(names):
        save(noise(4, 4, 3, seed=i), root / name)


def numbered(folder: str, n: int) -> list[str]:
    return [f"{folder}{i}.png" for i in range(n)]
