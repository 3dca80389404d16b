"""Small real files that several tests write."""

import struct
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pixelar.importing import export_imagegpt
from pixelar.model import PixelModel, build_model
from pixelar.testing import randomise


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


def write_mnist(folder: Path, train: int = 20, test: int = 10) -> None:
    """Writes idx files of random images below `folder`/raw."""
    (folder / "raw").mkdir(parents=True)
    for part, n in (("train", train), ("t10k", test)):
        images, labels = noise(n, 28, 28, seed=n), np.arange(n, dtype=np.uint8) % 10
        header = struct.pack(">4I", 0x803, n, 28, 28)
        (folder / "raw" / f"{part}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        header = struct.pack(">2I", 0x801, n)
        (folder / "raw" / f"{part}-labels-idx1-ubyte").write_bytes(header + labels.tobytes())


def palette_model(
    net: str = "ImageGPT",
    *,
    shape: tuple[int, int, int] = (3, 8, 8),
    scan: str = "raster",
    levels: int = 16,
    **args: object,
) -> PixelModel:
    """Builds a tiny model over a palette, with random parameters in float32."""
    parts = {"width": 32, "depth": 2, **({"heads": 4} if net == "ImageGPT" else {}), **args}
    model = build_model(
        {
            "image_shape": list(shape),
            "scan": scan,
            "quantizer": {"name": "Palette", "args": {"levels": levels}},
            "head": {"name": "Categorical", "args": {}},
            "net": {"name": net, "args": parts},
        }
    )
    model.quantizer.fit(torch.from_numpy(noise(4, *shape)))
    return randomise(model).float().eval()


def write_imagegpt(folder: Path) -> None:
    """Writes a tiny ImageGPT as transformers keeps them."""
    export_imagegpt(palette_model(bias=True), folder)
