"""What a search may show, without a filter of its own for each query that leaves its own patent out."""

from dataclasses import replace

import numpy as np

from fastreid.index.base import Count, Index, Neighbours
from fastreid.index.filters import Filter

MOST = 256  # figures of patents left out up to which they are taken out of what was found with them ...
STEP = 16  # ... of which a multiple of this is asked for in addition, so that most queries ask for the same


class Permitted:
    """The part of an index that a filter permits, at one version.

    "More like this" leaves the patent of its query out. With that in the filter, each search would test all patents of
    the index anew, approximate indexes would meet one more condition, and no two searches at the same time could share
    a pass. So the filter goes without ``not_patents``: their figures, a handful, are searched with all others and taken
    out of the results, of which as many more are asked for. What is left is the same.

    Attributes:
        count: of the figures and designs that are permitted.
    """

    def __init__(self, index: Index, filter: Filter | None, version: int):
        self._index, self._filter, self._version = index, filter, version
        self._rows = np.empty(0, dtype=np.int64)  # to be taken out
        patents = self._leave_out() if filter is not None and filter.not_patents else set()
        count = index.count(self._filter, version)
        self.count = Count(count.figures - len(self._rows), count.designs - len(patents))

    def _leave_out(self) -> set[str]:
        """Take ``not_patents`` from the filter unless they are many; return those of which it permits a figure."""
        rows = self._index.rows_of(patents=self._filter.not_patents, as_of=self._version)
        if len(rows) > MOST:
            return set()
        rest, figures = replace(self._filter, not_patents=()), self._index.figures(rows)
        good = np.flatnonzero(rest.mask(figures.columns))
        self._filter, self._rows = rest or None, rows[good]
        return set(figures["patent"][good])

    def search(self, vectors: np.ndarray, k: int) -> Neighbours:
        """Return the ``k`` nearest permitted rows of each vector, float32 (Q, D); see :meth:`Index.search`."""
        more = STEP * -(-len(self._rows) // STEP)
        found = self._index.search(vectors, k + more, self._filter, self._version)
        return without(found, self._rows, k) if more else found


def without(found: Neighbours, rows: np.ndarray, k: int) -> Neighbours:
    """Return the ``k`` best of more results without some rows, padded as they are."""
    good = ~np.isin(found.rows, rows)
    order = np.argsort(~good, axis=1, kind="stable")[:, :k]  # those that stay, in their order, before the others
    kept = np.take_along_axis(good, order, axis=1)
    return Neighbours(
        np.where(kept, np.take_along_axis(found.rows, order, axis=1), -1),
        np.where(kept, np.take_along_axis(found.scores, order, axis=1), -np.inf),
        found.exact,
    )
