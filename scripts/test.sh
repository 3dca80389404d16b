#!/usr/bin/env bash
# Installs the test extras and runs lint, types and the whole test suite. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/install.sh test
export PATH="$PWD/.venv/bin:$PATH" OMP_NUM_THREADS=1
ruff check .
ruff format --check .
mypy
pytest --numprocesses "$(nproc)" --dist loadscope "$@"
