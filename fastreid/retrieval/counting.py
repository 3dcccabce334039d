"""Ranks of the matches of every query, by counting what is ahead of them while the gallery streams by.

Only the matches are scored exactly beforehand. An item is then ahead of a match, or not, by its approximate score;
within the error of that score, by its exact one. No row is sorted and no score is kept.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from fastreid.retrieval.backends import backend_of
from fastreid.retrieval.candidates import Candidates, EqualRows, join_lists, starts_of
from fastreid.retrieval.scan import Scan, Tile, band

MOST_MATCHES = 1 << 17  # of one block of queries; some 200 bytes each
MOST_CANDIDATES = 1 << 22  # for the lists of one block of queries
TopItems = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Matches:
    """The matches of some queries, best first.

    Attributes:
        counts: int64 (r,).
        scores, rows: exact score and gallery row of each match, per query by (score descending, row ascending).
        relevant: CSR starts and gallery rows of all items with the query's label, permitted or not.
    """

    counts: np.ndarray
    scores: np.ndarray
    rows: np.ndarray
    relevant: tuple[np.ndarray, np.ndarray]

    @property
    def starts(self) -> np.ndarray:
        return starts_of(self.counts)


@dataclass(frozen=True)
class Ranks:
    """1-based ranks of the matches, ascending per query, query after query; ``counts`` int64 (Q,).

    ``optimistic`` and ``pessimistic`` resolve ties in favour of and against the matches; None when not asked for.
    """

    counts: np.ndarray
    ranks: np.ndarray
    optimistic: np.ndarray | None = None
    pessimistic: np.ndarray | None = None


See = Callable[[np.ndarray, Ranks], None]


def find_matches(rows: np.ndarray, equal: EqualRows, candidates: Candidates, score) -> Matches:
    """Matches of the query rows ``rows``; ``score(q_rows, g_rows)`` gives exact scores."""
    starts, items = equal(rows)
    local = np.repeat(np.arange(len(rows)), np.diff(starts))
    kept = candidates.permits_pairs(rows[local], items)
    local, matched = local[kept], items[kept]
    scores = score(rows[local], matched)
    order = np.lexsort((matched, -scores, local))
    return Matches(np.bincount(local, minlength=len(rows)), scores[order], matched[order], (starts, items))


def in_scan_order(lists: tuple[np.ndarray, np.ndarray], candidates: Candidates) -> tuple[np.ndarray, np.ndarray]:
    """Lists of gallery rows as lists of scanning positions."""
    if candidates.order is None:
        return lists
    starts, items = lists
    positions = np.empty(len(candidates.order), dtype=np.int64)
    positions[candidates.order] = np.arange(len(candidates.order))
    return join_lists(len(starts) - 1, len(positions), (starts, positions[items]))


def blocks_by_matches(blocks: Iterator[np.ndarray], equal: EqualRows) -> Iterator[np.ndarray]:
    """Cut blocks of query rows further, so that none has more than `MOST_MATCHES` matches (but at least one row)."""
    for rows in blocks:
        cuts = np.flatnonzero(np.diff(np.cumsum(equal.counts[rows]) // MOST_MATCHES)) + 1
        yield from np.split(rows, cuts)


def most_queries(k: int) -> int:
    """How many queries may be in a block when the ``k`` best items of each are selected."""
    return max(1, MOST_CANDIDATES // max(4 * k, 256))


def count_ranks(scan: Scan, equal: EqualRows, see: See, ties: bool = False, top: int = 0) -> TopItems:
    """Count the ranks of the matches ``equal`` of every query of ``scan``; out of the same pass the ``top`` best items.

    Args:
        see: called for each block of queries with rows and ranks; each query is in one of them.

    Returns:
        gallery rows int64 (Q, top) padded with -1, and their exact scores, float64 padded with -inf.
    """
    shape = len(scan.queries), top
    best, scores = np.full(shape, -1, dtype=np.int64), np.full(shape, -np.inf)
    for rows in blocks_by_matches(scan.query_blocks(most=most_queries(top) if top else None), equal):
        block = _BlockRanks(scan, rows, equal, ties, top)
        if top or len(block.matches.rows):
            scan.visit(rows, block.see)
        if top:
            best[rows], scores[rows], _ = block.selector.finish()
        see(rows, ranks_of(block.matches.counts, *block.counter.result()))
    return best, scores


class _BlockRanks:
    """What the tiles of one block of queries are counted into."""

    def __init__(self, scan: Scan, rows: np.ndarray, equal: EqualRows, ties: bool, top: int):
        backend, candidates = backend_of(scan), scan.candidates
        self.matches = find_matches(rows, equal, candidates, partial(backend.exact_scores, scan))
        self.starts = self.matches.starts
        hidden = candidates.excluded(rows)
        uncounted = join_lists(len(rows), len(scan.gallery), self.matches.relevant, hidden)
        self.counter = backend.Counter(scan, self.matches, in_scan_order(uncounted, candidates), ties)
        self.selector = backend.Selector(scan, rows, top, in_scan_order(hidden, candidates)) if top else None
        offsets = np.repeat(scan.offsets(rows), self.matches.counts)
        self.thresholds = (self.matches.scores - offsets) / scan.slope
        self.slack = 1e-12 * (np.abs(self.matches.scores) + np.abs(offsets))

    def see(self, tile: Tile) -> int:
        last = tile.first + len(tile.query_rows)
        part = slice(*self.starts[[tile.first, last]])
        limits = band(tile, self.matches.counts[tile.first : last], self.thresholds[part], self.slack[part])
        if self.selector:
            self.selector.see(tile)
        return self.counter.see(tile, *limits)


def ranks_of(counts: np.ndarray, before: np.ndarray, ties: tuple[np.ndarray, np.ndarray] | None) -> Ranks:
    """Turn the items between consecutive matches into ranks."""
    starts = starts_of(counts)[:-1]
    total = np.cumsum(before)
    start_of = np.repeat(starts, counts)
    ahead = total - (total - before)[start_of] if len(before) else total
    ranks = ahead + np.arange(len(before)) - start_of + 1
    if ties is None:
        return Ranks(counts, ranks)
    return Ranks(counts, ranks, ranks - ties[0], ranks + ties[1])


def in_query_order(results: list[tuple[np.ndarray, Ranks]], num_queries: int) -> Ranks:
    """Put the ranks of blocks of query rows into the order of the queries. The list is emptied, to free memory."""
    counts = np.zeros(num_queries, dtype=np.int64)
    for rows, ranks in results:
        counts[rows] = ranks.counts
    starts = starts_of(counts)
    names = [
        name for name in ("ranks", "optimistic", "pessimistic") if results and getattr(results[0][1], name) is not None
    ]
    joined = {name: np.empty(starts[-1], dtype=np.int64) for name in names or ["ranks"]}
    while results:
        rows, ranks = results.pop()
        at = np.repeat(starts[rows] - starts_of(ranks.counts)[:-1], ranks.counts)
        at += np.arange(len(at))
        for name in names:
            joined[name][at] = getattr(ranks, name)
    return Ranks(counts, **joined)
