"""How many threads a scan has: its own, each with a BLAS of one thread."""

import contextlib
import functools
import threading
from collections.abc import Iterator


@functools.cache
def _pools():
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


class _OneThread:
    """Holds BLAS at one thread as long as anyone needs that; the setting is one for the whole process."""

    def __init__(self):
        self._guard, self._users, self._before = threading.Lock(), 0, 1
        self._limit = None

    def enter(self) -> int:
        with self._guard:
            if not self._users:
                pools = _pools()
                self._before = max([pool["num_threads"] for pool in pools.info()], default=1)
                self._limit = pools.limit(limits=1)
            self._users += 1
            return self._before

    def leave(self) -> None:
        with self._guard:
            self._users -= 1
            if not self._users:
                self._limit.restore_original_limits()


_one_thread = _OneThread()


@contextlib.contextmanager
def one_blas_thread() -> Iterator[int]:
    """Let BLAS use one thread in the block; give the number that it would have used.

    Threads of BLAS wait for each other at the end of each product, by spinning: on a machine that has other work, as a
    service with several clients always has, a scan of many blocks then takes several times as long as with one thread.
    """
    threads = _one_thread.enter()
    try:
        yield threads
    finally:
        _one_thread.leave()
