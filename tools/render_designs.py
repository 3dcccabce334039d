#!/usr/bin/env python
"""Draw 3D models as patents. See --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fastreid.data.synthetic.meshes import main

if __name__ == "__main__":
    sys.exit(main())
