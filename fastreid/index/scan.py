"""Exact search over blocks of vectors: float32 products, a proven bound on their error, float64 where it matters."""

from collections.abc import Callable, Iterable

import numpy as np

from fastreid.index.base import Neighbours, exact_scores

UNIT_FLOAT32 = 2.0**-24
BLOCK_NUMBERS = 1 << 21  # floats in one block, 8 MiB; with 32 MiB a product with one query took seven times as long
SCORE_NUMBERS = 1 << 22  # of one block of scores
Block = tuple[np.ndarray, np.ndarray]  # positions int64 (n,), vectors float32 (n, D)


def search_blocks(
    queries: np.ndarray,
    blocks: Iterable[Block],
    k: int,
    metric: str,
    vectors_of: Callable[[np.ndarray], np.ndarray],
) -> Neighbours:
    """Return the ``k`` nearest positions of each query, exactly, ties by position.

    A float32 product of vectors of lengths |q| and |g| is off by at most (D + 2) u |q| |g|, whatever the order of its
    sum (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1). Everything within twice that of the k-th
    best is kept, and ordered by `exact_scores`.

    Args:
        queries: float32 (Q, D) as `require_vectors` gives them.
        blocks: in rising order of positions.
        vectors_of: vectors of some positions, float32 (n, D).
    """
    kept = [_Best(k) for _ in queries]
    lengths = np.sqrt(np.einsum("qd,qd->q", queries, queries, dtype=np.float64))
    for positions, vectors in blocks:
        for start in range(0, len(queries), max(1, SCORE_NUMBERS // max(1, len(positions)))):
            part = slice(start, start + max(1, SCORE_NUMBERS // max(1, len(positions))))
            scores, slack = _approximate(queries[part], lengths[part], vectors, metric)
            for best, row, error in zip(kept[part], scores, slack, strict=True):
                best.see(positions, row, error)
    rows, scores = np.full((len(queries), k), -1, dtype=np.int64), np.full((len(queries), k), -np.inf)
    for place, best in enumerate(kept):
        found = best.positions()
        if len(found):
            exact = _rescored(queries[place : place + 1], found, metric, vectors_of)
            order = np.lexsort((found, -exact))[:k]
            rows[place, : len(order)], scores[place, : len(order)] = found[order], exact[order]
    return Neighbours(rows, scores)


def _rescored(query, found, metric, vectors_of) -> np.ndarray:
    """Return the exact scores of some positions, float64 (n,); equal vectors can make them many."""
    step = max(1, BLOCK_NUMBERS // max(1, query.shape[1]))
    parts = [found[start : start + step] for start in range(0, len(found), step)]
    return np.concatenate([exact_scores(query, vectors_of(part), metric)[0] for part in parts])


def _approximate(queries, lengths, vectors, metric) -> tuple[np.ndarray, np.ndarray]:
    """Return float32 scores (q, n) and a bound on the error of each row of them, float64 (q,)."""
    products = queries @ vectors.T
    unit = (queries.shape[1] + 8) * UNIT_FLOAT32
    if metric == "cosine":
        return products, np.full(len(queries), 1.01 * unit)  # all lengths are 1 within float32
    squares = np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64)
    longest = float(np.sqrt(squares.max(initial=0.0)))
    scores = 2 * products - squares.astype(np.float32) - np.square(lengths).astype(np.float32)[:, None]
    return scores, 1.01 * unit * (lengths + longest) ** 2


class _Best:
    """Positions that can still be among the ``k`` best of one query."""

    def __init__(self, k: int):
        self.k, self.slack = k, 0.0
        self.found, self.scores = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)

    def see(self, positions: np.ndarray, scores: np.ndarray, error: float) -> None:
        self.slack = max(self.slack, 2.0 * error)
        if len(self.found) >= self.k:
            good = np.flatnonzero(scores >= self._limit(self.scores))
        elif len(scores) > self.k:
            good = np.flatnonzero(scores >= self._limit(scores))
        else:
            good = np.arange(len(scores))
        if not len(good):
            return
        self.found = np.concatenate([self.found, positions[good]])
        self.scores = np.concatenate([self.scores, scores[good]])
        if len(self.found) > self.k:
            good = self.scores >= self._limit(self.scores)
            self.found, self.scores = self.found[good], self.scores[good]

    def _limit(self, scores: np.ndarray) -> np.float32:
        """The k-th best of ``scores`` less what both it and another may be off by, rounded downwards."""
        limit = float(np.partition(scores, len(scores) - self.k)[len(scores) - self.k]) - self.slack
        return np.nextafter(np.float32(limit), np.float32(-np.inf))

    def positions(self) -> np.ndarray:
        return self.found
