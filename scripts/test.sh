#!/usr/bin/env bash
# Installs the test extras and runs lint, types and the tests. Arguments go to pytest: --full runs
# every combination of nets, heads and scans, and what takes long.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/install.sh test
export PATH="$PWD/.venv/bin:$PATH" OMP_NUM_THREADS=1
ruff check .
ruff format --check .
mypy
# what drives a browser runs by itself, since a busy machine looks to it like a page that hangs, and
# what was late is tried once more; 5 says that the arguments left no test of a kind
pytest --numprocesses "$(env -u OMP_NUM_THREADS nproc)" --dist worksteal -m "not alone" "$@" || [ $? = 5 ]
pytest -m alone "$@" || [ $? = 5 ] || pytest -m alone --last-failed "$@"
