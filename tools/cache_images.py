#!/usr/bin/env python
"""Decode the images of a config ahead, once. See --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fastreid.engine.cache_images import main

if __name__ == "__main__":
    sys.exit(main())
