"""An index that answers searches which come at the same time in one pass over its vectors."""

import threading
import time
from collections import OrderedDict
from concurrent.futures import Future
from typing import Any

import numpy as np

from fastreid.index.base import Index, Neighbours
from fastreid.index.filters import Filter

COUNTS = 256  # answers of `count` and `facets` that are kept
STALE = 1.0  # seconds for which a version may still be searched when there is a newer one ...
STALE_FIGURES = 200_000  # ... in an index of so many figures; the shorter, the smaller it is


class SharedIndex:
    """Stands for an index among threads.

    One thread searches at a time. Those that come meanwhile wait, and the next one to go takes along all that ask the
    same (number of results, filter, version): what a query gets depends on nothing else, so each gets what it would
    have got alone. Counts are kept by version and filter.

    Beside a busy writer each search would see a version of its own and could share nothing: in a large index a new
    version is taken over at most once in ``STALE`` seconds.
    """

    def __init__(self, index: Index):
        self._index = index
        self._turn, self._guard = threading.Lock(), threading.Lock()
        self._waiting: list[tuple[tuple, np.ndarray, Future]] = []
        self._counts: OrderedDict[tuple, Any] = OrderedDict()
        self.passes = 0  # over the vectors, for tests and the log
        self._next_refresh = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._index, name)

    def refresh(self) -> bool:
        """See :meth:`Index.refresh`; does nothing for a while after a new version was taken over."""
        if time.monotonic() < self._next_refresh:
            return False
        changed = self._index.refresh()
        if changed:
            self._next_refresh = time.monotonic() + STALE * min(1.0, self._index.info.figures / STALE_FIGURES)
        return changed

    def search(self, vectors: np.ndarray, k: int, filter: Filter | None = None, as_of: int | None = None) -> Neighbours:
        """See :meth:`Index.search`."""
        key, mine = (k, filter, as_of), Future()
        with self._guard:
            self._waiting.append((key, np.asarray(vectors, dtype=np.float32), mine))
        with self._turn:
            if not mine.done():
                self._search_all(key)
        return mine.result()

    def _search_all(self, key: tuple) -> None:
        """Answer all that wait with this key."""
        with self._guard:
            ours = [each for each in self._waiting if each[0] == key]
            self._waiting = [each for each in self._waiting if each[0] != key]
        self.passes += 1
        try:
            found = self._index.search(np.concatenate([vectors for _, vectors, _ in ours]), *key)
        except BaseException as error:
            if len(ours) == 1:
                ours[0][2].set_exception(error)
                return
            for _, vectors, future in ours:  # one of them is wrong: the others must not hear of it
                self._search_one(vectors, key, future)
            return
        start = 0
        for _, vectors, future in ours:
            part = slice(start, start := start + len(vectors))
            future.set_result(Neighbours(found.rows[part], found.scores[part], found.exact))

    def _search_one(self, vectors: np.ndarray, key: tuple, future: Future) -> None:
        try:
            future.set_result(self._index.search(vectors, *key))
        except BaseException as error:
            future.set_exception(error)

    def count(self, filter: Filter | None = None, as_of: int | None = None):
        """See :meth:`Index.count`."""
        return self._kept("count", filter, as_of)

    def facets(self, filter: Filter | None = None, as_of: int | None = None):
        """See :meth:`Index.facets`."""
        return self._kept("facets", filter, as_of)

    def _kept(self, what: str, filter: Filter | None, as_of: int | None) -> Any:
        key = what, filter, self._index.info.version if as_of is None else as_of, self._index.info.oldest_version
        with self._guard:
            if key in self._counts:
                self._counts.move_to_end(key)
                return self._counts[key]
        found = getattr(self._index, what)(filter, key[2])
        with self._guard:
            self._counts[key] = found
            while len(self._counts) > COUNTS:
                self._counts.popitem(last=False)
        return found
