"""k-reciprocal re-ranking in main memory: the compiled loops of `_rerank_cy` over ranges of rows, on several threads.

Has the same functions as `_rerank_torch`. Importing it fails where the kernels were not built.
"""

from collections.abc import Callable

import numpy as np

from fastreid.retrieval import _rerank_cy
from fastreid.retrieval._rerank_rows import Rows, list_widths
from fastreid.retrieval.threads import over_rows

SCRATCH_ENTRIES = 2**18  # entries of the sets that one task may hold before it trims them


def as_array(x, like=None) -> np.ndarray:
    """A contiguous array: float64 stays, other numbers become float32; the memory of a tensor is shared."""
    if hasattr(x, "detach"):
        x = (x if x.element_size() == 8 else x.float()).detach().numpy()  # bfloat16 has no NumPy type
    x = np.asarray(x)
    return np.ascontiguousarray(x, dtype=np.float64 if x.dtype == np.float64 else np.float32)


def as_lists(lists, like=None) -> np.ndarray:
    """Neighbour lists int64 (N, k)."""
    return np.ascontiguousarray(lists, dtype=np.int64)


def concatenate(parts: list) -> np.ndarray:
    return np.concatenate(parts)


def largest(block: np.ndarray) -> np.ndarray:
    return block.max(axis=1)


def empty(like: np.ndarray, *shape: int) -> np.ndarray:
    return np.empty(shape, dtype=np.float32)


def to_unit_rows(features: np.ndarray) -> None:
    """Scale rows to length 1 in place; a zero row stays."""
    lengths = np.sqrt(np.einsum("ij,ij->i", features, features))
    features /= np.where(lengths > 0, lengths, 1)[:, None]


def smallest(block: np.ndarray, k: int) -> np.ndarray:
    """Columns int64 (b, k) of the smallest values of each row, by (value, column)."""
    columns = np.empty((len(block), k), dtype=np.int64)
    over_rows(lambda *rows: _rerank_cy.smallest(block, columns, *rows), len(block))
    return columns


def squared_distances(features: np.ndarray, rows: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Squared L2 distances float32 (n,) of pairs of rows of features (N, D)."""
    return _rerank_cy.squared_distances(features, rows, items)


def encode(lists: np.ndarray, k1: int, k2: int, distances_of: Callable) -> Rows:
    """Encodings (N, N); see `rerank.encode`."""
    count, (width, half) = len(lists), list_widths(lists, k1)
    places = np.empty((count, width), dtype=np.int32)
    near = np.ascontiguousarray(lists[:, :width])
    chunk = max(1, SCRATCH_ENTRIES // max(1, width * (1 + half)))
    over_rows(lambda *rows: _rerank_cy.positions(near, *rows, places), count)

    def weighted_sets(start: int, stop: int) -> tuple:
        counts, items = _rerank_cy.expanded_sets(near, places, width, half, start, stop)
        weights = distances_of(np.repeat(np.arange(start, stop), counts), items)
        _rerank_cy.softmax(counts, weights)
        return counts, items, weights

    sets = _join(_over_chunks(weighted_sets, count, chunk))
    if k2 == 1:
        return sets
    nearest = min(k2, lists.shape[1])
    return _join(_over_chunks(lambda *rows: _rerank_cy.average(*sets, lists, nearest, *rows), count, chunk))


def invert(rows: Rows, num_columns: int) -> Rows:
    """The columns of sparse rows."""
    return Rows(*_rerank_cy.invert(*rows, num_columns))


def blend(queries: Rows, columns: Rows, distances: np.ndarray, first_row: int, share: float) -> None:
    """Turn ``distances`` (b, G) of the queries from ``first_row`` into the re-ranked ones, in place."""
    over_rows(lambda *rows: _rerank_cy.blend(*queries, *columns, distances, first_row, share, *rows), len(distances))


def _join(parts: list[tuple]) -> Rows:
    """Put the (counts, items, weights) of consecutive rows together."""
    counts, items, weights = ([part[n] for part in parts] for n in range(3))
    starts = np.concatenate([np.zeros(1, dtype=np.int64), *counts])
    return Rows(
        np.cumsum(starts),
        np.concatenate([np.empty(0, dtype=np.int32), *items]),
        np.concatenate([np.empty(0, dtype=np.float32), *weights]),
    )


def _over_chunks(task: Callable, count: int, chunk: int) -> list:
    """Results of ``task(start, stop)`` over consecutive ranges of at most ``chunk`` rows, in their order."""

    def run(begin: int, end: int) -> list:
        return [task(start, min(start + chunk, end)) for start in range(begin, end, chunk)]

    return [result for results in over_rows(run, count) for result in results]
