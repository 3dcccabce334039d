#!/usr/bin/env python
"""Turn DeepPatent2 into lists, metadata and a config to train with. See --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fastreid.data.ingest.deeppatent2 import main

if __name__ == "__main__":
    sys.exit(main())
