#!/usr/bin/env python
"""Serve a search page over an index. See --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fastreid.app.serve import main

if __name__ == "__main__":
    sys.exit(main())
