#!/usr/bin/env bash
# jsonargparse 4.53.0 on Python 3.11 to 3.13: whether an option annotated Optional[Union[int, float]] reads
# "2" as 2 or as 2.0 depends on what other functions of the process were defined before it.
#
# Expected: the order of the annotation decides, so 2 in both processes below.
# Seen: 2.0 where another function was defined with Optional[Union[float, int]] first. `typing` keeps what
# Optional[...] returned in a cache in which unions of another order are equal, and jsonargparse takes the
# first type that fits. To a trainer, limit_train_batches 2 are two batches and 2.0 is refused; 1 is one
# batch and 1.0 are all of them.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check jsonargparse==4.53.0
cat > "$folder/read.py" <<'PYTHON'
import sys
from typing import Optional, Union

from jsonargparse import auto_cli

if sys.argv[1] == "after":

    def clip(norm: Optional[Union[float, int]] = None) -> None: ...


def limit(batches: Optional[Union[int, float]] = None) -> object:
    return batches


print(repr(auto_cli(limit, args=["--batches", "2"])))
PYTHON
python="$folder/venv/bin/python"
"$python" -c 'import sys, jsonargparse; print("Python", sys.version.split()[0])'
alone="$("$python" "$folder/read.py" alone)"
after="$("$python" "$folder/read.py" after)"
echo "--batches 2, alone: $alone; after a function with Optional[Union[float, int]]: $after"
[ "$alone" = 2 ] && [ "$after" = 2.0 ]
