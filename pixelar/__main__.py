"""`python -m pixelar` and the `pixelar` command."""

import sys

from pixelar.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
