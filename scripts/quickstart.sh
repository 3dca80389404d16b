#!/usr/bin/env bash
# From nothing to two trained models, their bits/dim and pictures: five to ten minutes on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/install.sh
exec .venv/bin/python scripts/quickstart.py "$@"
