#!/usr/bin/env python
"""Draw the ROC curves of several runs in one plot. See --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fastreid.engine.visualize import plot_roc

if __name__ == "__main__":
    sys.exit(plot_roc())
