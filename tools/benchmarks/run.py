#!/usr/bin/env python
"""Measure the retrieval core against its peers and write docs/benchmarks.md. See --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.runner import main

if __name__ == "__main__":
    sys.exit(main())
