#!/usr/bin/env python
"""Search an index of figures. See --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fastreid.engine.search import main

if __name__ == "__main__":
    sys.exit(main())
