"""PNG and TIFF files of every kind read as the values that they hold, or are refused."""

import itertools
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures import noise, write_files
from PIL import Image
from raw_images import png, tiff

from pixelar.data import Folder
from pixelar.data.images import open_image, read_image
from pixelar.errors import Advice, PixelarError

pytestmark = pytest.mark.faults

H, W = 5, 7

# color types of PNG: their names, channels and bits
GREY, COLOR, PALETTE, GREY_ALPHA, COLOR_ALPHA = 0, 2, 3, 4, 6
PNG_KINDS = {
    GREY: (1, (1, 2, 4, 8, 16)),
    COLOR: (3, (8, 16)),
    PALETTE: (1, (1, 2, 4, 8)),
    GREY_ALPHA: (2, (8, 16)),
    COLOR_ALPHA: (4, (8, 16)),
}
PNGS = [
    (kind, bits, transparent, interlaced)
    for kind, (_, depths) in PNG_KINDS.items()
    for bits in depths
    for transparent in ([False, True] if kind in (GREY, COLOR, PALETTE) else [False])
    for interlaced in (False, True)
]


def on_white(colors: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Returns colors and alpha of 0 … 1, (H, W, C), on white as values of 0 … 255, (3, H, W)."""
    seen = 255 * (colors * alpha + 1 - alpha)
    return np.broadcast_to(seen, (H, W, 3)).transpose(2, 0, 1)


def read(path: Path) -> np.ndarray:
    return read_image(path, (3, H, W), resize=False).numpy().astype(float)


@pytest.mark.parametrize(("kind", "bits", "transparent", "interlaced"), PNGS)
def test_png(kind: int, bits: int, transparent: bool, interlaced: bool, tmp_path: Path) -> None:
    draw, options = np.random.default_rng(bits), dict[str, Any](interlaced=interlaced)
    values = draw.integers(0, 2**bits, (H, W, PNG_KINDS[kind][0]))
    if bits > 1:
        values[1] = values[0] ^ 1  # another color, if only by its last bit
    colors, alpha = values / (2**bits - 1), np.ones((H, W, 1))
    if kind == PALETTE:
        palette = draw.integers(0, 256, (2**bits, 3)).astype(np.uint8)
        options["palette"], colors = palette.tobytes(), palette[values[..., 0]] / 255
    elif kind in (GREY_ALPHA, COLOR_ALPHA):
        colors, alpha = colors[..., :-1], colors[..., -1:]
    if transparent and kind == PALETTE:
        opacity = draw.integers(0, 256, 2**bits).astype(np.uint8)
        options["transparent"] = opacity.tobytes()
        alpha = opacity[values[..., 0]][..., None] / 255
    elif transparent:
        color = values[0, 0]
        options["transparent"] = struct.pack(f">{len(color)}H", *color)
        alpha = (values != color).any(-1, keepdims=True).astype(float)
    (tmp_path / "a.png").write_bytes(png(values, bits, kind, **options))
    tolerance = 0.5 if set(np.unique(alpha)) <= {0, 1} else 1.5  # alpha is rounded to 8 bits too
    assert abs(read(tmp_path / "a.png") - on_white(colors, alpha)).max() <= tolerance + 1e-6


# kinds of TIFF: photometric interpretation, extra samples, channels
WHITE_IS_0, BLACK_IS_0, RGB, INDEXED, CMYK, LAB = 0, 1, 2, 3, 5, 8
LAYOUTS = [
    *((kind, ()) for kind in (WHITE_IS_0, BLACK_IS_0, RGB, INDEXED, CMYK)),
    *((kind, (extra,)) for kind in (BLACK_IS_0, RGB) for extra in (0, 1, 2)),
]
CHANNELS = {WHITE_IS_0: 1, BLACK_IS_0: 1, RGB: 3, INDEXED: 1, CMYK: 4}
TIFFS = [
    (kind, extra, bits, sample_format)
    for kind, extra in LAYOUTS
    for bits, sample_format in (
        *((bits, 1) for bits in (1, 2, 4, 8, 12, 16, 32)),
        *((bits, 2) for bits in (8, 16, 32)),
        *((bits, 3) for bits in (16, 32)),
    )
]
MUST_BE_READ = {  # interleaved and little-endian, where no other kind has to be
    *((kind, (), bits, 1) for kind in (WHITE_IS_0, BLACK_IS_0) for bits in (1, 2, 4, 8, 16)),
    (BLACK_IS_0, (), 12, 1),
    *((RGB, extra, bits, 1) for extra in ((), (0,), (1,), (2,)) for bits in (8, 16)),
    *((INDEXED, (), bits, 1) for bits in (1, 2, 4, 8)),
    *((CMYK, (), bits, 1) for bits in (8, 16)),
}


def tiff_on_white(
    values: np.ndarray, kind: int, extra: tuple[int, ...], bits: int, colormap: np.ndarray
) -> np.ndarray:
    """Returns what unsigned values stand for, as values of 0 … 255 with shape (3, H, W)."""
    scaled, n = values / (2**bits - 1), CHANNELS[kind]
    colors, alpha = scaled[..., :n], np.ones((H, W, 1))
    if kind == WHITE_IS_0:
        colors = 1 - colors
    elif kind == INDEXED:
        colors = colormap[values[..., 0] % len(colormap)] // 256 / 255
    elif kind == CMYK:
        colors = (1 - colors[..., :3]) * (1 - colors[..., 3:])
    if extra in ((1,), (2,)):
        alpha = scaled[..., n:]
    if extra == (1,):  # colors are multiplied by alpha
        colors = np.divide(colors, alpha, out=np.zeros_like(colors), where=alpha > 0)
    return on_white(colors, alpha)


@pytest.mark.parametrize(("kind", "extra", "bits", "sample_format"), TIFFS)
def test_tiff(
    kind: int, extra: tuple[int, ...], bits: int, sample_format: int, tmp_path: Path
) -> None:
    draw = np.random.default_rng(bits)
    values = draw.integers(0, 2 ** min(bits, 31), (H, W, CHANNELS[kind] + len(extra)))
    if extra == (1,):
        values = np.minimum(values, values[..., -1:])
    colormap = draw.integers(0, 65536, (2 ** min(bits, 8), 3))
    expected = tiff_on_white(
        values % len(colormap) if kind == INDEXED else values, kind, extra, bits, colormap
    )
    for planar, order, compressed in itertools.product((False, True), "<>", (False, True)):
        (tmp_path / "a.tif").write_bytes(
            tiff(
                values, bits, kind, sample_format=sample_format, extra=extra, planar=planar,
                order=order, compressed=compressed, colormap=colormap if kind == INDEXED else None,
            )
        )  # fmt: skip
        try:
            found = read(tmp_path / "a.tif")
        except PixelarError:
            known = (kind, extra, bits, sample_format) in MUST_BE_READ
            assert planar or order == ">" or not known
        else:
            assert sample_format == 1 and bits <= 16
            exact = extra not in ((1,), (2,)) and kind != CMYK and not planar
            assert abs(found - expected).max() <= (0.5 if exact else 2) + 1e-6


def test_reasons_of_tiff_files_that_are_refused(tmp_path: Path) -> None:
    values = noise(H, W, 1).astype(int)
    for arguments, reason in (
        ({"sample_format": 2}, "its values are signed, so that none is known to be black"),
        ({"bits": 32, "sample_format": 3}, "it has 32 bits per value and no known range"),
        ({"bits": 10}, "or a TIFF file of a kind that is not read"),
        ({"planar": True, "bits": 16}, "its channels lie in planes of their own; save it as a PNG"),
    ):
        options: dict[str, Any] = {"bits": 8, "photometric": 1} | arguments
        (tmp_path / "a.tif").write_bytes(tiff(values, **options))
        with pytest.raises(PixelarError, match=reason):
            read(tmp_path / "a.tif")
    three = noise(H, W, 3).astype(int)
    (tmp_path / "a.tif").write_bytes(tiff(three, 8, 6))
    with pytest.raises(PixelarError, match="it is YCbCr without compression"):
        read(tmp_path / "a.tif")


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("orientation", [1, 2, 3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize(("kind", "bits"), [(BLACK_IS_0, 16), (RGB, 16), (BLACK_IS_0, 8)])
def test_every_depth_is_turned_upright(
    kind: int, bits: int, orientation: int, compressed: bool, tmp_path: Path
) -> None:
    values = np.random.default_rng(0).integers(0, 2**bits, (H, W, CHANNELS[kind]))
    plain = tiff(values, bits, kind, compressed=compressed)
    (tmp_path / "plain.tif").write_bytes(plain)
    (tmp_path / "turned.tif").write_bytes(
        tiff(values, bits, kind, compressed=compressed, orientation=orientation)
    )
    pixels = np.asarray(open_image(tmp_path / "plain.tif"))
    turned = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.swapaxes(0, 1),
        6: pixels[::-1].swapaxes(0, 1),
        7: pixels[::-1, ::-1].swapaxes(0, 1),
        8: pixels[:, ::-1].swapaxes(0, 1),
    }[orientation]
    assert np.array_equal(np.asarray(open_image(tmp_path / "turned.tif")), turned)


@pytest.mark.parametrize(("kind", "bits"), [(GREY, 16), (COLOR, 16), (GREY_ALPHA, 16), (GREY, 2)])
def test_a_png_is_turned_upright_once(kind: int, bits: int, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 2**bits, (H, W, PNG_KINDS[kind][0]))
    (tmp_path / "plain.png").write_bytes(png(values, bits, kind))
    (tmp_path / "turned.png").write_bytes(png(values, bits, kind, orientation=6))
    plain = np.asarray(open_image(tmp_path / "plain.png"))
    turned = np.asarray(open_image(tmp_path / "turned.png"))
    assert np.array_equal(turned, plain[::-1].swapaxes(0, 1))


# --- more than one picture in a file --------------------------------------------------------------


@pytest.mark.parametrize("extension", ["gif", "webp", "png", "tif", "mpo", "avif"])
def test_further_frames_and_pages_are_reported(extension: str, tmp_path: Path) -> None:
    first, *others = (Image.fromarray(noise(8, 8, 3, seed=seed)) for seed in range(3))
    first.save(tmp_path / f"one.{extension}")
    first.save(tmp_path / f"more.{extension}", save_all=True, append_images=others)
    notices: list[str] = []
    one = open_image(tmp_path / f"one.{extension}", notice=notices.append)
    assert notices == []
    more = open_image(tmp_path / f"more.{extension}", notice=notices.append)
    assert notices == [
        f"{tmp_path}/more.{extension} holds more than one picture (frames or pages); the first is "
        "read"
    ]
    difference = np.asarray(one).astype(int) - np.asarray(more)
    assert abs(difference).max() <= (0 if extension in ("gif", "png", "tif", "mpo") else 60)
    with pytest.warns(Advice, match="the first is read"):
        read_image(tmp_path / f"more.{extension}", (3, 8, 8), resize=False)


def test_a_folder_reports_frames_and_pages_in_one_line(tmp_path: Path) -> None:
    write_files(tmp_path, "0.png", "1.png", "2.png")
    values = noise(4, 4, 1).astype(int)
    for name in "345":
        (tmp_path / f"{name}.tif").write_bytes(tiff(values, 8, 1, pages=2))
    with pytest.warns(Advice) as caught:
        Folder(root=str(tmp_path), size=4).prepare()
    (advice,) = [str(warning.message) for warning in caught]
    assert advice.startswith(f"{tmp_path}/") and advice.count(".tif") == 1
    assert advice.endswith("the first is read, as for 2 other files")


def test_the_layers_of_a_picture_are_no_further_pictures(tmp_path: Path) -> None:
    end = b"8BIMnorm" + bytes([255, 0, 0, 0]) + struct.pack(">3I", 12, 0, 0) + b"\1a\0\0"
    layers = struct.pack(">h", 2) + 2 * (bytes(18) + end)
    header = b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, 2, 2, 8, 3) + bytes(8)
    section = struct.pack(">I", len(layers)) + layers + bytes(4)
    content = header + struct.pack(">I", len(section)) + section + bytes(2) + bytes(range(12))
    (tmp_path / "a.psd").write_bytes(content)
    with Image.open(tmp_path / "a.psd") as opened:
        assert getattr(opened, "n_frames", 1) == 2
    notices: list[str] = []
    found = np.asarray(open_image(tmp_path / "a.psd", notice=notices.append))
    assert found[0].tolist() == [[0, 4, 8], [1, 5, 9]] and notices == []
