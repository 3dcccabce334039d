"""The distances among queries and gallery items of `re_ranking`, read in blocks of rows and as pairs."""

from collections.abc import Iterator

import numpy as np

BLOCK_MIB = 8  # of rows read at a time
TILE = 256  # columns copied at a time


class UnionDistances:
    """Distances among all N = Q + G items, from three matrices: squared, over the largest of the row (float32).

    Row i holds what fast-reid calls column i of the table ``[[q_q, q_g], [q_g.T, g_g]]``.
    """

    def __init__(self, backend, q_g, q_q, g_g):
        shapes = tuple(q_g.shape), tuple(q_q.shape), tuple(g_g.shape)
        if len(shapes[0]) != 2 or shapes[1:] != tuple((count, count) for count in shapes[0]):
            given = ", ".join(map(str, shapes))
            raise ValueError(f"re_ranking needs distances (Q, G), (Q, Q) and (G, G); got {given}")
        self.shape = queries, gallery = shapes[0]
        self._backend, self._quarters = backend, ((q_q.T, q_g), (q_g.T, g_g.T))
        self._largest = backend.empty(q_g, queries + gallery)

    def blocks(self, count: int) -> Iterator[slice]:
        """Ranges of the first ``count`` rows; none holds both queries and gallery items."""
        queries, size = self.shape[0], max(1, int(BLOCK_MIB * 2**20) // (4 * max(1, sum(self.shape))))
        for first, last in ((0, min(queries, count)), (queries, count)):
            for start in range(first, last, size):
                yield slice(start, min(start + size, last))

    def block(self, rows: slice):
        """Rows (b, N) of the union; ``rows`` is one of `blocks`."""
        queries, count = self.shape[0], sum(self.shape)
        block = self._backend.empty(self._largest, rows.stop - rows.start, count)
        left, right = self._quarters[rows.start >= queries]
        local = rows if rows.start < queries else slice(rows.start - queries, rows.stop - queries)
        for target, source in ((block[:, :queries], left), (block[:, queries:], right)):
            for part in _stretches(target.shape[1]):
                target[:, part] = source[local, part]
        block *= block
        self._largest[rows] = self._largest_of(block, rows)
        block /= self._largest[rows][:, None]
        return block

    def pairs(self, rows, items):
        """Distances float32 (n,) of pairs; `block` must have seen their rows."""
        queries = self.shape[0]
        values = self._backend.empty(self._largest, len(rows))
        for below, matrices in zip((True, False), self._quarters, strict=True):
            for left, matrix in zip((True, False), matrices, strict=True):
                chosen = ((rows < queries) == below) & ((items < queries) == left)
                place = rows[chosen] - (0 if below else queries), items[chosen] - (0 if left else queries)
                values[chosen] = self._rounded(matrix[place])
        values *= values
        values /= self._largest[rows]
        return values

    def _largest_of(self, block, rows: slice):
        """The largest value of each row; one where it is zero, so that equal items stay at distance zero."""
        largest = self._backend.largest(block)
        bad = ~(largest < np.inf)
        if bad.any():
            raise ValueError(f"re_ranking: {int(bad.sum())} rows from row {rows.start} have NaN or infinite distances")
        largest[largest == 0] = 1
        return largest

    @staticmethod
    def _rounded(values):
        return values.float() if hasattr(values, "float") else values.astype(np.float32)


def _stretches(count: int) -> Iterator[slice]:
    """Short ranges of columns: a transposed matrix is copied through the cache."""
    for start in range(0, count, TILE):
        yield slice(start, min(start + TILE, count))
