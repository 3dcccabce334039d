"""Ranking by distances that exist already: a matrix, or the rows that re-ranking makes.

The distances as given are the exact ones. Ties go by gallery row, as in a scan.
"""

import numpy as np

from fastreid.retrieval.backends import HAS_CYTHON, say_slower
from fastreid.retrieval.candidates import Candidates, EqualRows, starts_of
from fastreid.retrieval.counting import Ranks, find_matches, ranks_of
from fastreid.retrieval.threads import over_rows


def rank_rows(distances: np.ndarray, rows: slice, equal: EqualRows, candidates: Candidates, ties: bool) -> Ranks:
    """Ranks of the matches of the query rows ``rows``, whose distances (b, G) are given."""
    numbers = np.arange(rows.start, rows.stop)
    matches = find_matches(numbers, equal, candidates, lambda q, g: -distances[q - rows.start, g].astype(np.float64))
    if not HAS_CYTHON:
        say_slower()
    count = _count_compiled if HAS_CYTHON else _count_plainly
    return ranks_of(matches.counts, *count(distances, matches, candidates.permitted(rows), ties))


def nearest_rows(distances: np.ndarray, rows: slice, k: int, candidates: Candidates) -> tuple[np.ndarray, np.ndarray]:
    """The ``k`` nearest permitted items: int64 (b, k) padded with -1, distances padded with +inf."""
    indices = np.full((len(distances), k), -1, dtype=np.int64)
    permitted = candidates.permitted(rows)
    if HAS_CYTHON:
        return indices, -_select_compiled(distances, permitted, indices)
    say_slower()
    values = np.full(indices.shape, np.inf, dtype=distances.dtype)
    for i, row in enumerate(distances):
        nearest = nearest_items(row if permitted is None else np.where(permitted[i], row, np.inf), k)
        indices[i, : len(nearest)], values[i, : len(nearest)] = nearest, row[nearest]
    return indices, values


def nearest_items(row: np.ndarray, k: int) -> np.ndarray:
    """Positions of the ``k`` smallest finite values of one row, in order of (value, position)."""
    edge = np.partition(row, k - 1)[k - 1]
    candidates = np.flatnonzero(row <= edge if np.isfinite(edge) else np.isfinite(row))
    return candidates[np.argsort(row[candidates], kind="stable")][:k]


def _kernel_tile(distances: np.ndarray, permitted: np.ndarray | None, excluded):
    from fastreid.retrieval import _kernels

    count, width = distances.shape
    mask = None if permitted is None else np.ascontiguousarray(permitted).view(np.uint8)
    scores, bias = -distances.astype(np.float32, copy=False), np.zeros(width, dtype=np.float32)
    tile = _kernels.Tile(scores, bias, np.arange(count), np.arange(width), 0, None, mask, excluded)
    return tile, _kernels.Pairs(np.ascontiguousarray(distances))


def _count_compiled(distances: np.ndarray, matches, permitted: np.ndarray | None, ties: bool):
    from fastreid.retrieval import _kernels

    tile, pairs = _kernel_tile(distances, permitted, matches.relevant)
    # Rounding to float32 is monotonic: only values equal to the rounded threshold are undecided.
    threshold, before = matches.scores.astype(np.float32), np.zeros(len(matches.rows), dtype=np.int64)
    tied = (np.zeros_like(before), np.zeros_like(before)) if ties else None
    shared = (tile, pairs, matches.starts, threshold, threshold, matches.scores, matches.rows, before, tied)
    over_rows(lambda begin, end: _kernels.count_ahead(*shared, begin, end), len(distances))
    return before, tied


def _select_compiled(distances: np.ndarray, permitted: np.ndarray | None, indices: np.ndarray) -> np.ndarray:
    """Fill ``indices``; return the scores, float64 of the same shape, padded with -inf."""
    from fastreid.retrieval import _kernels

    nothing = np.zeros(len(distances) + 1, dtype=np.int64), np.zeros(0, dtype=np.int64)
    tile, pairs = _kernel_tile(distances, permitted, nothing)
    selection = _kernels.Selection(pairs, np.arange(len(distances)), None, indices.shape[1])
    exact, scores = np.zeros(len(distances)), np.full(indices.shape, -np.inf)

    def work(begin: int, end: int) -> None:
        # float64 distances lose up to half a unit in the last place as float32
        selection.see(tile, 0, exact, 2.0**-24, 0.0, begin, end)
        selection.finish(2.0**-24, 0.0, indices, scores, begin, end)

    over_rows(work, len(distances))
    return scores


def _count_plainly(distances: np.ndarray, matches, permitted: np.ndarray | None, ties: bool):
    """As `_count_compiled`, match by match."""
    ahead = np.zeros(len(matches.rows), dtype=np.int64)
    tied = (np.zeros_like(ahead), np.zeros_like(ahead))
    local = np.repeat(np.arange(len(distances)), matches.counts)
    for i, row in enumerate(distances):
        others = np.ones(len(row), dtype=bool) if permitted is None else permitted[i].copy()
        others[matches.relevant[1][slice(*matches.relevant[0][i : i + 2])]] = False
        others = np.flatnonzero(others)
        for j in np.flatnonzero(local == i):
            equal = others[row[others] == -matches.scores[j]]
            tied[0][j], tied[1][j] = (equal < matches.rows[j]).sum(), (equal > matches.rows[j]).sum()
            ahead[j] = (row[others] < -matches.scores[j]).sum() + tied[0][j]
    before = np.diff(ahead, prepend=0)
    first = starts_of(matches.counts)[:-1][matches.counts > 0]
    before[first] = ahead[first]
    return before, tied if ties else None
