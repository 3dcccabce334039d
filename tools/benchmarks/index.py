#!/usr/bin/env python
"""Measure exact and approximate indexes: build, size, speed, recall. See --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.index_search import main

if __name__ == "__main__":
    sys.exit(main())
