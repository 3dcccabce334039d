#!/usr/bin/env python
"""Draw MiniPatent, the built-in data set. See --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fastreid.data.synthetic.generate import main

if __name__ == "__main__":
    sys.exit(main())
