#!/usr/bin/env bash
# Pillow 12.3.0: in a grey PNG of 2 or 4 bits, the transparent grey of the tRNS chunk is kept in units of the
# file while the pixels are scaled to 8 bits, so that converting to RGBA makes no pixel transparent, or others.
#
# Expected, though not written down before the first run: `convert("RGBA")` gives alpha 0 where the file's value is the tRNS value.
# Seen: with 8 bits it does; with 2 and 4 bits the pixel that should vanish is opaque, without a warning.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pillow==12.3.0
"$folder/venv/bin/python" - <<'PYTHON'
import io
import struct
import zlib

import PIL
from PIL import Image


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(bits: int, values: list[int], transparent: int) -> bytes:
    """Returns a grey PNG of one row, with a transparent grey."""
    packed = sum(value << bits * k for k, value in enumerate(reversed(values)))
    row = b"\0" + packed.to_bytes(len(values) * bits // 8, "big")
    header = struct.pack(">IIBBBBB", len(values), 1, bits, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join((
        chunk(b"IHDR", header), chunk(b"tRNS", struct.pack(">H", transparent)),
        chunk(b"IDAT", zlib.compress(row)), chunk(b"IEND", b""),
    ))


print("Pillow", PIL.__version__)
for bits in (2, 4, 8):
    with Image.open(io.BytesIO(png(bits, [0, 1, 2, 3], transparent=1))) as image:
        greys, alpha = image.convert("RGBA").getchannel("R"), image.convert("RGBA").getchannel("A")
        greys, alpha = [*greys.tobytes()], [*alpha.tobytes()]
    print(f"{bits} bits, 1 of 0 1 2 3 is transparent: greys {greys}, alpha {alpha}")
    assert alpha == ([255, 0, 255, 255] if bits == 8 else [255] * 4)
PYTHON
