#!/usr/bin/env python
"""Measure training steps and feature extraction of networks. See --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.network_speed import main

if __name__ == "__main__":
    sys.exit(main())
