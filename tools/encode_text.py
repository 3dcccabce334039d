#!/usr/bin/env python
"""Turn texts about images into a text bank. See --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fastreid.engine.encode_text import main

if __name__ == "__main__":
    sys.exit(main())
