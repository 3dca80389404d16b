"""`python demo/app.py [MODEL…]` does what `pixelar demo [MODEL…]` does."""

import sys

from pixelar.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["demo", *sys.argv[1:]]))
