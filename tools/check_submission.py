#!/usr/bin/env python
"""Check a result.npy against its lists. See --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fastreid.evaluation.submission import main

if __name__ == "__main__":
    sys.exit(main())
