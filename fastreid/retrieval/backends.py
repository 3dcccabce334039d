"""Who does the inner loops of a scan: compiled code for arrays on the CPU, PyTorch anywhere else.

Both offer ``exact_scores``, ``Counter``, ``Selector`` and give the same results; PyTorch's is slower on a CPU.
"""

import logging
from functools import cache

try:
    from fastreid.retrieval import _kernels as _compiled
except ImportError:
    _compiled = None

HAS_CYTHON = _compiled is not None


@cache
def say_slower() -> None:
    """Warn, once in a process, that the compiled part is missing."""
    logging.getLogger(__name__).warning("fastreid was installed without its compiled part; ranking is slower")


def backend_of(scan):
    """The module with the inner loops for a `Scan`."""
    from fastreid.retrieval import backend_torch

    if str(scan.device) != "cpu":
        return backend_torch
    if not HAS_CYTHON:
        say_slower()
        return backend_torch
    from fastreid.retrieval import backend_compiled

    return backend_compiled
