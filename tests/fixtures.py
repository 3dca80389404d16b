"""Small real files that several tests write."""

import itertools
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pixelar.io.foreign import export_imagegpt
from pixelar.model import PixelModel, build_model
from pixelar.testing import randomize

FILTERS, BLOCKS, MIXTURES = 3, 2, 2  # of the checkpoint of PixelCNN++
LMCONV_WIDTH, LMCONV_BLOCKS = 4, 1


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
    return randomize(model).float().eval()


def write_imagegpt(folder: Path) -> None:
    """Writes a tiny ImageGPT as transformers keeps them."""
    export_imagegpt(palette_model(bias=True), folder)


def layers(colours: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yields all layers of a checkpoint of PixelCNN++ and the shapes of their `weight_v`."""
    f, r = FILTERS, BLOCKS
    yield "u_init.conv", (f, colours + 1, 2, 3)
    yield "ul_init.0.conv", (f, colours + 1, 1, 3)
    yield "ul_init.1.conv", (f, colours + 1, 2, 1)
    for s in range(3):
        for way, count in (("up", r), ("down", r if s == 0 else r + 1)):
            for k, (stream, taps) in itertools.product(
                range(count), (("u", (2, 3)), ("ul", (2, 2)))
            ):
                block = f"{way}_layers.{s}.{stream}_stream.{k}"
                yield f"{block}.conv_input.conv", (f, 2 * f, *taps)
                yield f"{block}.conv_out.conv", (2 * f, 2 * f, *taps)
                aside = (way == "down") + (stream == "ul")
                if aside:
                    yield f"{block}.nin_skip.lin_a", (f, 2 * f * aside)
    for s, (stream, taps) in itertools.product(range(2), (("u", (2, 3)), ("ul", (2, 2)))):
        yield f"downsize_{stream}_stream.{s}.conv", (f, f, *taps)
        yield f"upsize_{stream}_stream.{s}.deconv", (f, f, *taps)
    yield "nin_out.lin_a", ((10 if colours == 3 else 3) * MIXTURES, f)


def checkpoint(colours: int, *, scale: float = 0.4, seed: int = 0) -> dict[str, Tensor]:
    """Returns a tiny checkpoint of PixelCNN++: noise, in float64 so that rounding hides nothing."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in layers(colours):
        first = shape[0]
        for part, size in (
            ("weight_v", shape),
            ("weight_g", (first, *(1 for _ in shape[1:]))),
            ("bias", shape[1:2] if "deconv" in name else (first,)),
        ):
            value = torch.randn(size, generator=generator, dtype=torch.float64)
            state[f"{name}.{part}"] = value * scale
    return state


def write_pixelcnnpp(path: Path) -> None:
    """Writes a tiny PixelCNN++ as its port keeps them, in float32."""
    torch.save({name: value.float() for name, value in checkpoint(3).items()}, path)


def lmconv_checkpoint(colors: int, outputs: int, kernel: int = 3) -> dict[str, Tensor]:
    """Random weights in the layout of ajayjain/lmconv."""
    generator = torch.Generator().manual_seed(0)
    state: dict[str, Tensor] = {}

    def add(name: str, *shape: int, normed: bool = False) -> None:
        sizes = {"weight_g": (shape[0], 1), "weight_v": shape} if normed else {"weight": shape}
        for part, size in {**sizes, "bias": shape[:1]}.items():
            noise = torch.randn(size, generator=generator, dtype=torch.float64)
            state[f"{name}.{part}"] = 0.4 * noise

    add("u_init", LMCONV_WIDTH, colors + 1, kernel, kernel)
    for s in range(3):
        for way, count in (("up", LMCONV_BLOCKS), ("down", LMCONV_BLOCKS + (s > 0))):
            for r in range(count):
                name = f"{way}_layers.{s}.u_stream.{r}"
                add(f"{name}.conv_input", LMCONV_WIDTH, 2 * LMCONV_WIDTH, kernel, kernel)
                add(f"{name}.conv_out", 2 * LMCONV_WIDTH, 2 * LMCONV_WIDTH, kernel, kernel)
                if way == "down":
                    add(f"{name}.nin_skip.lin_a", LMCONV_WIDTH, 2 * LMCONV_WIDTH, normed=True)
    for s in range(2):
        for way in ("downsize", "upsize"):
            add(f"{way}_u_stream.{s}", LMCONV_WIDTH, LMCONV_WIDTH, kernel, kernel)
    add("nin_out.lin_a", outputs, LMCONV_WIDTH, normed=True)
    return state


def write_lmconv(path: Path) -> None:
    """Writes a tiny LMConv for colors as its authors keep them, in float32."""
    torch.save({name: value.float() for name, value in lmconv_checkpoint(3, 20).items()}, path)


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Sets torch's default data type while the body runs."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
