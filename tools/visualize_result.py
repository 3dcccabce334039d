#!/usr/bin/env python
"""Draw ranked lists, a ROC curve and the distribution of distances. See --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fastreid.engine.visualize import main

if __name__ == "__main__":
    sys.exit(main())
