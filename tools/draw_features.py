#!/usr/bin/env python
"""Draw the embeddings of a feature file as a map, and results of queries as a grid. See --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fastreid.engine.draw_features import main

if __name__ == "__main__":
    sys.exit(main())
