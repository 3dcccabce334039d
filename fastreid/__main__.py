"""``python -m fastreid``: the console command where its script is not on the path."""

import sys

from fastreid.cli import main

if __name__ == "__main__":
    sys.exit(main())
