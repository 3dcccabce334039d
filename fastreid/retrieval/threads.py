"""Rows of a block shared between threads, for kernels that release the GIL.

A thread pool rather than OpenMP: one process already carries PyTorch's and NumPy's OpenMP runtimes.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache


def num_threads() -> int:
    """As many as PyTorch uses (``OMP_NUM_THREADS``, ``torch.set_num_threads``)."""
    import torch

    return torch.get_num_threads()


@cache
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, thread_name_prefix="fastreid-retrieval")


def over_rows(work: Callable[[int, int], object], count: int, smallest: int = 16) -> list:
    """Call ``work(begin, end)`` on consecutive ranges that cover ``0..count``; return the results in order.

    Ranges have at least ``smallest`` rows; a single range runs in the calling thread.
    """
    parts = max(1, min(num_threads(), count // smallest))
    edges = [count * i // parts for i in range(parts + 1)]
    if parts == 1:
        return [work(0, count)]
    return list(_pool(parts).map(work, edges[:-1], edges[1:]))
