"""Work shared between threads, for kernels and libraries that release the GIL.

A thread pool rather than OpenMP: one process already carries PyTorch's and NumPy's OpenMP runtimes. In a thread of
the pool everything else runs on one thread, PyTorch's operations too.
"""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

_this_thread = threading.local()


def num_threads() -> int:
    """As many as PyTorch uses (``OMP_NUM_THREADS``, ``torch.set_num_threads``); 1 inside the pool."""
    import torch

    return 1 if getattr(_this_thread, "in_pool", False) else torch.get_num_threads()


def _enter_pool() -> None:
    import torch

    _this_thread.in_pool = True
    torch.set_num_threads(1)  # of this thread; what later threads start with is put back by `_pool`


@cache
def _pool(workers: int) -> ThreadPoolExecutor:
    import torch

    pool, ready = ThreadPoolExecutor(workers, "fastreid-retrieval", _enter_pool), threading.Barrier(workers)
    list(pool.map(lambda _: ready.wait(), range(workers)))  # all threads have started
    torch.set_num_threads(workers)
    return pool


def in_parallel(work: Callable, items: Iterable) -> list:
    """Return ``[work(item) for item in items]``, several at a time."""
    workers = num_threads()
    return [work(item) for item in items] if workers == 1 else list(_pool(workers).map(work, items))


def over_rows(work: Callable[[int, int], object], count: int, smallest: int = 16) -> list:
    """Call ``work(begin, end)`` on consecutive ranges that cover ``0..count``; return the results in order.

    Ranges have at least ``smallest`` rows.
    """
    parts = max(1, min(num_threads(), count // smallest))
    edges = [count * i // parts for i in range(parts + 1)]
    return in_parallel(lambda part: work(*part), list(zip(edges[:-1], edges[1:], strict=True))) if parts > 1 else [work(0, count)]
