#!/usr/bin/env bash
# Pillow 12.3.0: an uncompressed grey TIFF whose Orientation tag is 5 to 8 (rows are columns) decodes to
# other pixels when it is opened by its path than when the same bytes are opened as a file object.
#
# Expected, though not written down before the first run: both ways give the same picture, turned upright or not.
# Seen: from a file object the values are in order; by path (which Pillow maps into memory) width and
# height are exchanged before the rows are read, so that values land in other places, with no warning.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pillow==12.3.0 numpy==2.4.6
cd "$folder"
venv/bin/python - <<'PYTHON'
import io
import struct

import numpy as np
import PIL
from PIL import Image, ImageOps

height, width = 5, 7
stored = np.arange(height * width, dtype=np.uint8).reshape(height, width)


def tiff(orientation: int) -> bytes:
    """Returns an uncompressed 8-bit grey TIFF of one strip, as the specification has it."""
    tags = [
        (256, 3, 1, width), (257, 3, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1),
        (273, 4, 1, 8), (274, 3, 1, orientation), (277, 3, 1, 1), (278, 3, 1, height),
        (279, 4, 1, stored.size),
    ]
    padded = stored.tobytes() + b"\0" * (stored.size % 2)
    directory = struct.pack("<H", len(tags))
    directory += b"".join(struct.pack("<HHII", *tag) for tag in tags) + b"\0\0\0\0"
    return b"II*\0" + struct.pack("<I", 8 + len(padded)) + padded + directory


def upright(source: object) -> np.ndarray:
    with Image.open(source) as image:
        image.load()
        return np.asarray(ImageOps.exif_transpose(image))


print("Pillow", PIL.__version__)
for orientation, right in ((1, stored), (6, np.rot90(stored, -1)), (8, np.rot90(stored))):
    content = tiff(orientation)
    with open("grey.tif", "wb") as file:
        file.write(content)
    by_object, by_path = upright(io.BytesIO(content)), upright("grey.tif")
    equal = [np.array_equal(found, right) for found in (by_object, by_path)]
    print(f"orientation {orientation}: right from a file object {equal[0]}, by path {equal[1]}")
    assert equal == [True, orientation == 1], (by_object, by_path)
print("by path, orientation 8:")
print(by_path)
PYTHON
