"""Work shared between threads, for kernels and libraries that release the GIL.

A thread pool rather than OpenMP: one process already carries PyTorch's and NumPy's OpenMP runtimes. In a thread of
the pool everything else runs on one thread, PyTorch's operations too.
"""

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise

_this_thread = threading.local()


def num_threads() -> int:
    """As many as PyTorch uses (``OMP_NUM_THREADS``, ``torch.set_num_threads``); 1 inside the pool."""
    import torch

    return 1 if getattr(_this_thread, "in_pool", False) else torch.get_num_threads()


def _enter_pool() -> None:
    import torch

    _this_thread.in_pool = True
    torch.get_num_threads()  # the first call in a thread sets the number of the process
    torch.set_num_threads(1)  # of this thread; what later threads start with is put back by `_pool`


@cache
def _pool(workers: int) -> ThreadPoolExecutor:
    import torch

    pool, ready = ThreadPoolExecutor(workers, "fastreid-retrieval", _enter_pool), threading.Barrier(workers)
    list(pool.map(lambda _: ready.wait(), range(workers)))  # all threads have started
    torch.set_num_threads(workers)
    return pool


if hasattr(os, "register_at_fork"):  # threads do not come along
    os.register_at_fork(after_in_child=_pool.cache_clear)


def in_parallel(work: Callable, items: Iterable) -> list:
    """Return ``[work(item) for item in items]``, several at a time."""
    workers = num_threads()
    return [work(item) for item in items] if workers == 1 else list(_pool(workers).map(work, items))


def over_rows(work: Callable[[int, int], object], count: int, smallest: int = 16) -> list:
    """Call ``work(begin, end)`` on consecutive ranges that cover ``0..count``; return the results in order.

    Ranges have at least ``smallest`` rows.
    """
    parts = max(1, min(num_threads(), count // smallest))
    if parts == 1:
        return [work(0, count)]
    edges = [count * i // parts for i in range(parts + 1)]
    return in_parallel(lambda part: work(*part), pairwise(edges))
