#!/usr/bin/env python
"""Make an index of figures and keep it. See --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fastreid.engine.build_index import main

if __name__ == "__main__":
    sys.exit(main())
