"""Exact search over blocks of vectors: float32 products, a proven bound on their error, float64 where it matters."""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice

import numpy as np

from fastreid.index.base import Neighbours, exact_scores
from fastreid.index.blas import one_blas_thread

UNIT_FLOAT32 = 2.0**-24
BLOCK_NUMBERS = 1 << 21  # floats in one block, 8 MiB; with 32 MiB a product with one query took seven times as long
SCORE_NUMBERS = 1 << 22  # of one block of scores
ALONE = 4  # blocks below which further threads do not pay
Block = tuple[np.ndarray, np.ndarray]  # positions int64 (n,), -1 for what is not permitted; vectors float32 (n, D)


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
    lengths = np.sqrt(np.einsum("qd,qd->q", queries, queries, dtype=np.float64))
    blocks = iter(blocks)
    first = list(islice(blocks, ALONE))
    take = _shared(chain(first, blocks))

    def see_all() -> list[_Best]:
        kept = [_Best(k) for _ in queries]
        while (block := take()) is not None:
            _see(kept, queries, lengths, block, metric)
        return kept

    with one_blas_thread() as threads:
        kept = see_all() if len(first) < ALONE or threads < 2 else _in_threads(see_all, threads)
    rows, scores = np.full((len(queries), k), -1, dtype=np.int64), np.full((len(queries), k), -np.inf)
    for place, best in enumerate(kept):
        if len(best.found):
            exact = _rescored(queries[place : place + 1], best.found, metric, vectors_of)
            order = np.lexsort((best.found, -exact))[:k]
            rows[place, : len(order)], scores[place, : len(order)] = best.found[order], exact[order]
    return Neighbours(rows, scores)


def _shared(blocks: Iterator[Block]) -> Callable[[], Block | None]:
    """Return a function that gives one block after the other to whichever thread asks, at last ``None``."""
    guard = threading.Lock()

    def take() -> Block | None:
        with guard:
            return next(blocks, None)

    return take


def _in_threads(see_all: Callable[[], list["_Best"]], threads: int) -> list["_Best"]:
    with ThreadPoolExecutor(threads) as pool:
        parts = [done.result() for done in [pool.submit(see_all) for _ in range(threads)]]
    for others in parts[1:]:
        for best, other in zip(parts[0], others, strict=True):
            best.join(other)
    return parts[0]


def _see(kept: list["_Best"], queries: np.ndarray, lengths: np.ndarray, block: Block, metric: str) -> None:
    positions, vectors = block
    good = np.flatnonzero(positions >= 0)
    places = positions[good]
    step = max(1, SCORE_NUMBERS // max(1, len(positions)))
    for start in range(0, len(queries), step):
        part = slice(start, start + step)
        scores, slack = _approximate(queries[part], lengths[part], vectors, metric)
        if len(good) < len(positions):
            scores = scores[:, good]
        for best, row, error in zip(kept[part], scores, slack, strict=True):
            best.see(places, row, error)


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
        if len(good):
            self._add(positions[good], scores[good])

    def join(self, other: "_Best") -> None:
        """Take over what another thread has found in other blocks."""
        self.slack = max(self.slack, other.slack)
        self._add(other.found, other.scores)

    def _add(self, positions: np.ndarray, scores: np.ndarray) -> None:
        self.found, self.scores = np.concatenate([self.found, positions]), np.concatenate([self.scores, scores])
        if len(self.found) > self.k:
            good = self.scores >= self._limit(self.scores)
            self.found, self.scores = self.found[good], self.scores[good]

    def _limit(self, scores: np.ndarray) -> np.float32:
        """The k-th best of ``scores`` less what both it and another may be off by, rounded downwards."""
        limit = float(np.partition(scores, len(scores) - self.k)[len(scores) - self.k]) - self.slack
        return np.nextafter(np.float32(limit), np.float32(-np.inf))
