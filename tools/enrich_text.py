#!/usr/bin/env python
"""Write texts about patent drawings from what is known of them. See --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fastreid.engine.enrich_text import main

if __name__ == "__main__":
    sys.exit(main())
