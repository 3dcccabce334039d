#!/usr/bin/env python
"""Draw MiniPatent, the built-in data set: ``python tools/make_minipatent.py --help``."""

from fastreid.data.synthetic.generate import main

if __name__ == "__main__":
    raise SystemExit(main())
