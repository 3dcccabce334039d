#!/usr/bin/env python
"""Measure memory and time of a step with many classes. See --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.many_classes import main

if __name__ == "__main__":
    sys.exit(main())
