#!/usr/bin/env python
"""Write a model as ONNX, under fast-reid's flags. See --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from fastreid.engine.deploy import onnx_export

if __name__ == "__main__":
    sys.exit(onnx_export())
