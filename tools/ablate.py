#!/usr/bin/env python
"""Run a table of settings x seeds and collect mean and spread. See --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fastreid.engine.ablation.command import main

if __name__ == "__main__":
    sys.exit(main())
