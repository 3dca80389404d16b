"""PNG and TIFF files of every kind, written byte by byte from the values that they hold."""

import struct
import zlib
from collections.abc import Sequence

import numpy as np

__all__ = ["png", "tiff"]

PASSES = (
    (0, 0, 8, 8),
    (0, 4, 8, 8),
    (4, 0, 8, 4),
    (0, 2, 4, 4),
    (2, 0, 4, 2),
    (0, 1, 2, 2),
    (1, 0, 2, 1),
)


def packed(values: np.ndarray, bits: int, order: str = ">") -> bytes:
    """Packs integers with shape (H, W, C) into rows of whole bytes.

    Arguments:
        values: The integers; negative ones as two's complement.
        bits: The bits of each integer.
        order: The byte order, for 16 bits and more.
    """
    rows = values.reshape(len(values), -1)
    if bits % 8 == 0:
        return rows.astype(f"{order}i{bits // 8}").tobytes()
    digits = rows[..., None] >> np.arange(bits - 1, -1, -1) & 1
    return np.packbits(digits.reshape(len(rows), -1).astype(np.uint8), axis=1).tobytes()


def png(
    values: np.ndarray,
    bits: int,
    kind: int,
    *,
    palette: bytes = b"",
    transparent: bytes = b"",
    interlaced: bool = False,
    orientation: int = 1,
) -> bytes:
    """Returns a PNG file of values with shape (H, W, C), of a color type and a bit depth."""

    def chunk(name: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", crc)

    passes = [values[i::m, j::n] for i, j, m, n in PASSES] if interlaced else [values]
    rows = [row for part in passes if part.size for row in part]
    data = b"".join(b"\0" + packed(row[None], bits) for row in rows)
    header = struct.pack(">2I5B", values.shape[1], values.shape[0], bits, kind, 0, 0, interlaced)
    exif = b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 274, 3, 1, orientation, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + (chunk(b"PLTE", palette) if palette else b"")
        + (chunk(b"tRNS", transparent) if transparent else b"")
        + (chunk(b"eXIf", exif) if orientation != 1 else b"")
        + chunk(b"IDAT", zlib.compress(data))
        + chunk(b"IEND", b"")
    )


def tiff(
    values: np.ndarray,
    bits: int,
    photometric: int,
    *,
    sample_format: int = 1,
    extra: Sequence[int] = (),
    planar: bool = False,
    order: str = "<",
    compressed: bool = False,
    colormap: np.ndarray | None = None,
    orientation: int = 1,
    pages: int = 1,
) -> bytes:
    """Returns a TIFF file of values with shape (H, W, C), integers or the bits of floats."""
    height, width, channels = values.shape
    planes = [values[..., k : k + 1] for k in range(channels)] if planar else [values]
    strips = [packed(plane, bits, order) for plane in planes]
    strips = [zlib.compress(strip) for strip in strips] if compressed else strips
    content = (b"II*\0" if order == "<" else b"MM\0*") + bytes(4)
    offsets = []
    for strip in strips:
        offsets.append(len(content))
        content += strip
    entries: list[tuple[int, str, Sequence[int]]] = [
        (256, "H", [width]),
        (257, "H", [height]),
        (258, "H", [bits] * channels),
        (259, "H", [8 if compressed else 1]),
        (262, "H", [photometric]),
        (273, "I", offsets),
        (274, "H", [orientation]),
        (277, "H", [channels]),
        (278, "H", [height]),
        (279, "I", [len(strip) for strip in strips]),
        (284, "H", [2 if planar else 1]),
        *([(320, "H", colormap.T.flatten().tolist())] if colormap is not None else []),
        *([(338, "H", extra)] if extra else []),
        (339, "H", [sample_format] * channels),
    ]
    fields = []
    for tag, code, numbers in entries:
        data = struct.pack(f"{order}{len(numbers)}{code}", *numbers)
        if len(data) > 4:
            data, content = struct.pack(f"{order}I", len(content)), content + data
        fields.append(
            struct.pack(f"{order}HHI", tag, {"H": 3, "I": 4}[code], len(numbers))
            + data.ljust(4, b"\0")
        )
    content += b"\0" * (len(content) % 2)
    directory = struct.pack(f"{order}H", len(fields)) + b"".join(fields)
    place = 4
    for _ in range(pages):
        content = content[:place] + struct.pack(f"{order}I", len(content)) + content[place + 4 :]
        place = len(content) + len(directory)
        content += directory + bytes(4)
    return content
