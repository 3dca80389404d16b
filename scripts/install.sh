#!/usr/bin/env bash
# Makes .venv and installs pixelar in it, with exact versions; quick if nothing changed.
# Usage: scripts/install.sh [EXTRA], which is `all` unless it is given
set -euo pipefail
cd "$(dirname "$0")/.."
extra="${1:-all}"
python="${PYTHON:-python3}"

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "pixelar needs Python 3.11 or newer; set PYTHON to one (found: $("$python" --version 2>&1))" >&2
    exit 2
fi
if [ ! -x .venv/bin/python ] && ! "$python" -m venv .venv; then
    echo "could not make .venv: is the package python3-venv installed?" >&2
    exit 2
fi

wanted="$(cat pyproject.toml constraints.txt | sha256sum | cut -c1-16)"
stamp=".venv/.pixelar-$extra-$wanted"
if [ ! -f "$stamp" ]; then
    echo "Installing pixelar[$extra] into .venv (a few minutes the first time) …"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check \
        --constraint constraints.txt --editable ".[$extra]"
    touch "$stamp"
fi
