#!/usr/bin/env bash
# torch 2.14.1, CPU: a comparison of integers of 8 or 16 bits with a number outside of their range converts
# the number to their type first, and it wraps: zeros of uint8 "equal" 256, and "are not below" 65536.
#
# Expected: the comparison of the values, as NumPy 2 and Python make it; or an error, as clamp, where and
# fill_ of the same tensor and number raise ("value cannot be converted ... without overflow").
# Seen: True for uint8 == 256, int16 == 65536 and uint16 == 65536, False for uint8 < 65536, without a
# warning, also for a 0-dimensional tensor of int64 and for isin. So a check of symbols, such as
# (x < 0) | (x >= levels), rejects every black pixel where there are 256 levels (or 65536) and the data
# is still of the type that it was stored in.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.14.1 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import torch

print("torch", torch.__version__, "numpy", np.__version__)
black = torch.zeros(1, dtype=torch.uint8)
seen = {
    "uint8 0 == 256": black == 256,
    "uint8 0 >= 256": black >= 256,
    "uint8 0 == tensor(256)": black == torch.tensor(256),
    "uint8 0 in [256]": torch.isin(black, 256),
    "not uint8 0 < 65536": ~(black < 65536),
    "int16 0 == 65536": black.to(torch.int16) == 65536,
    "uint16 0 == 65536": black.to(torch.uint16) == 65536,
}
for what, found in seen.items():
    print(what, "->", bool(found))
assert all(map(bool, seen.values()))
assert not (np.zeros(1, np.uint8) == 256).any() and not (np.zeros(1, np.uint16) == 65536).any()
for name, change in {
    "clamp": lambda: black.clamp(max=300),
    "where": lambda: torch.where(black == 0, black, 300),
    "fill_": lambda: black.clone().fill_(300),
}.items():
    try:
        change()
    except RuntimeError as error:
        print(f"{name}(300):", error)
        assert "without overflow" in str(error)
    else:
        raise AssertionError(name)
PYTHON
