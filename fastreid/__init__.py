"""fastreid: a re-identification toolkit for patent drawings."""

import os

# OpenMP threads that wait by spinning take the cores from the loader's processes, or from other jobs: a training on
# two busy cores was up to seven times slower. Must be set before torch is imported; the user's own choice stays.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "2.0.0"
