"""Image files of every kind become the pixels that a viewer shows."""

import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fixtures import noise, save
from PIL import Image

from pixelar.data.images import MAX_PIXELS, fit, open_image, read_image, to_tensor
from pixelar.errors import Advice, PixelarError

GREY = np.array([[0, 100, 255]], dtype=np.uint8)
RGB = np.array([[[255, 0, 0], [0, 128, 255]]], dtype=np.uint8)


def pixels_of(path: Path, channels: int = 3, **options: tuple[int, int, int]) -> list[Any]:
    """Returns the pixels of a file as nested lists, (H, W) or (H, W, 3)."""
    pixels = to_tensor(open_image(path), channels, **options)
    return (pixels[0] if channels == 1 else pixels.permute(1, 2, 0)).tolist()


def test_grey_and_colour(tmp_path: Path) -> None:
    save(GREY, tmp_path / "grey.png")
    save(RGB, tmp_path / "colour.png")
    assert pixels_of(tmp_path / "grey.png", 1) == GREY.tolist()
    assert pixels_of(tmp_path / "grey.png", 3) == GREY[..., None].repeat(3, -1).tolist()
    assert pixels_of(tmp_path / "colour.png", 3) == RGB.tolist()
    assert pixels_of(tmp_path / "colour.png", 1) == [[76, 104]]
    with pytest.raises(PixelarError, match="with 1 or 3 channels; got 2"):
        pixels_of(tmp_path / "grey.png", 2)


def test_one_bit(tmp_path: Path) -> None:
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "a.png")
    assert pixels_of(tmp_path / "a.png", 1) == [[255, 0]]


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_sixteen_bit_grey_is_scaled(suffix: str, tmp_path: Path) -> None:
    values = np.array([[0, 257, 25700, 32768, 65535]], dtype=np.uint16)
    path = tmp_path / f"a.{suffix}"
    if suffix == "pgm":
        path.write_bytes(b"P5 5 1 65535\n" + values.astype(">u2").tobytes())
    else:
        Image.fromarray(values).save(path)
    assert pixels_of(path, 1) == [[0, 1, 100, 128, 255]]


def test_unknown_range_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0.0, 1.5]], dtype=np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(PixelarError, match="32 bits per value and no known range; save it with 8"):
        open_image(tmp_path / "a.tif")


def test_alpha_is_composited(tmp_path: Path) -> None:
    rgba = np.array([[[200, 100, 0, 255], [200, 100, 0, 0], [200, 100, 0, 51]]], dtype=np.uint8)
    Image.fromarray(rgba).save(tmp_path / "rgba.png")
    assert pixels_of(tmp_path / "rgba.png", background=(0, 0, 255)) == [
        [[200, 100, 0], [0, 0, 255], [40, 20, 204]]
    ]
    grey = np.array([[[100, 255], [100, 0], [100, 51]]], dtype=np.uint8)
    Image.fromarray(grey).save(tmp_path / "la.png")
    assert open_image(tmp_path / "la.png").mode == "RGBA"
    assert pixels_of(tmp_path / "la.png", 1) == [[100, 255, 224]]


def test_palette(tmp_path: Path) -> None:
    image = Image.frombytes("P", (3, 1), bytes([0, 1, 2]))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.save(tmp_path / "opaque.png")
    assert pixels_of(tmp_path / "opaque.png") == [[[255, 0, 0], [0, 255, 0], [0, 0, 255]]]
    image.save(tmp_path / "transparent.png", transparency=bytes([255, 0, 255]))
    assert pixels_of(tmp_path / "transparent.png", background=(9, 8, 7)) == [
        [[255, 0, 0], [9, 8, 7], [0, 0, 255]]
    ]


def test_cmyk(tmp_path: Path) -> None:
    cmyk = np.array([[[0, 255, 255, 0], [0, 0, 0, 255]]], dtype=np.uint8)
    Image.frombytes("CMYK", (2, 1), cmyk.tobytes()).save(tmp_path / "a.tif")
    assert pixels_of(tmp_path / "a.tif") == [[[255, 0, 0], [0, 0, 0]]]


def test_exif_rotation(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    Image.fromarray(RGB).save(tmp_path / "a.png", exif=exif)
    assert pixels_of(tmp_path / "a.png") == [[RGB[0, 0].tolist()], [RGB[0, 1].tolist()]]


def test_first_frame_of_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (2, 1), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with pytest.warns(Advice, match=r"a\.gif holds more than one picture .*; the first is read"):
        assert pixels_of(tmp_path / "a.gif") == [[[255, 0, 0], [255, 0, 0]]]


def test_one_pixel_is_enlarged(tmp_path: Path) -> None:
    save(RGB[:, :1], tmp_path / "a.png")
    image = read_image(tmp_path / "a.png", (3, 2, 3), resize=True)
    assert torch.equal(image, torch.tensor([255, 0, 0]).view(3, 1, 1).expand(3, 2, 3))


def test_fit_covers_and_crops() -> None:
    wide = np.zeros((40, 120), dtype=np.uint8)
    wide[:, 20:100] = 200  # the crop, columns 40 to 80, and what the filter reaches around it
    assert (np.asarray(fit(Image.fromarray(wide), (10, 10))) == 200).all()
    same = noise(5, 7, 3)
    assert (np.asarray(fit(Image.fromarray(same), (5, 7))) == same).all()
    checks = np.indices((64, 64)).sum(0) % 2 * np.uint8(255)
    shrunk = np.asarray(fit(Image.fromarray(checks.astype(np.uint8)), (8, 8)))
    assert abs(shrunk.astype(int) - 127).max() <= 8  # antialiased: neither black nor white


def test_wrong_size_is_refused(tmp_path: Path) -> None:
    save(noise(4, 6, 3), tmp_path / "a.png")
    with pytest.raises(PixelarError) as caught:
        read_image(tmp_path / "a.png", (3, 28, 27), resize=False)
    assert str(caught.value) == (
        f"{tmp_path}/a.png is 6×4, not 27×28: pass resize: true (or --fit) to resize and crop it"
    )


def png_claiming(width: int, height: int) -> bytes:
    """Returns a PNG of a few bytes whose header claims a size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        crc = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)

    header = struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(b"\0" * 100))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


def encoded(suffix: str) -> bytes:
    """Returns the bytes of a good image file."""
    file = BytesIO()
    Image.fromarray(noise(40, 40, 3)).save(file, suffix)
    return file.getvalue()


UNREADABLE: dict[str, tuple[bytes, str]] = {
    "empty.png": (b"", "it is empty"),
    "text.png": (b"<html>not found</html>", "it is not an image"),
    "truncated.png": (encoded("PNG")[:2000], "truncated"),
    "truncated.jpg": (encoded("JPEG")[:1000], "truncated"),
    "flipped.png": (encoded("PNG")[:60] + b"\0\0\0" + encoded("PNG")[63:], ""),
    "above_our_limit.png": (png_claiming(MAX_PIXELS + 1, 1), "it has more than 64,000,000 pixels"),
    "above_warning.png": (png_claiming(10_000, 10_000), "it has more than 64,000,000 pixels"),
    "above_error.png": (png_claiming(100_000, 100_000), "it has more than 64,000,000 pixels"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_unreadable_files_are_named(name: str, tmp_path: Path) -> None:
    content, reason = UNREADABLE[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(PixelarError, match=rf"{name} cannot be read: .*{reason}"):
        open_image(tmp_path / name)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PixelarError, match=r"a\.png cannot be read: no such file or directory"):
        open_image(tmp_path / "a.png")
