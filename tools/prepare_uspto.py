#!/usr/bin/env python
"""Turn design patents of the USPTO into lists, metadata and a config to train with. See --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fastreid.data.ingest.uspto import main

if __name__ == "__main__":
    sys.exit(main())
