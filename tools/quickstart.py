#!/usr/bin/env python
"""The main job in one command: draw data, train in two stages, evaluate, write a submission. See --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fastreid.engine.quickstart import main

if __name__ == "__main__":
    sys.exit(main())
