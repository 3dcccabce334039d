#!/usr/bin/env python
"""Train a model, or evaluate one with --eval-only. See --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fastreid.engine.commands import train

if __name__ == "__main__":
    sys.exit(train())
