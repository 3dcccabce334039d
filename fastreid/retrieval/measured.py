"""What one pass over all pairs finds of each query, before it is a metric: in parts of the queries or at once.

Scores are exact where they decide (see `scan`), so the parts joined are what one pass over all queries gives.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fastreid.retrieval.candidates import Candidates, EqualRows
from fastreid.retrieval.counting import Ranks, count_ranks, in_query_order
from fastreid.retrieval.graded import is_known
from fastreid.retrieval.search import Search
from fastreid.retrieval.tables import nearest_rows, rank_rows
from fastreid.retrieval.topk import as_distances


@dataclass(frozen=True)
class Measured:
    """Findings for Q queries.

    Attributes:
        ranks: those of the matches.
        same: int64 (Q,), gallery items with the query's label, whatever the rule permits.
        items, distances: int64 and float (Q, top), the nearest gallery rows, padded with -1 and +inf.
    """

    ranks: Ranks
    same: np.ndarray
    items: np.ndarray
    distances: np.ndarray


Work = Callable[[Search], Measured]


def here(work: Work, search: Search) -> Measured | None:
    """Do the whole work in this process. Another function of this kind may share it out, and return ``None`` where the
    result is not wanted.
    """
    return work(search)


def measure(search: Search, relevance: str, ties: bool, top: int) -> Measured:
    """Rank the matches of every query, and list its ``top`` nearest items."""
    equal = matching_rows(search.q_columns[relevance], search.g_columns[relevance])
    if search.rescore is None:
        ranks, (items, scores) = count_ranks(search.scan(), equal, ties, top)
        return Measured(ranks, equal.counts, items, as_distances(scores, search.metric))
    return measure_blocks(search.blocks(), equal, search.candidates, ties, top)


def measure_blocks(
    blocks: Iterable[tuple[slice, np.ndarray]], equal: EqualRows, candidates: Candidates, ties: bool, top: int
) -> Measured:
    """As `measure`, from blocks of distances (b, G)."""
    shape, results = (candidates.num_queries, top), []
    items, nearest = np.full(shape, -1, dtype=np.int64), np.full(shape, np.inf, dtype=np.float32)
    for rows, distances in blocks:
        results.append((np.arange(rows.start, rows.stop), rank_rows(distances, rows, equal, candidates, ties)))
        if top:
            items[rows], nearest[rows] = nearest_rows(distances, rows, top, candidates)
    return Measured(in_query_order(results, candidates.num_queries), equal.counts, items, nearest)


def matching_rows(q_values: np.ndarray, g_values: np.ndarray) -> EqualRows:
    """The gallery rows whose value equals that of a query; none for an unknown value ("" or -1)."""
    equal = EqualRows(q_values, g_values)
    equal.counts = np.where(is_known(q_values), equal.counts, 0)
    return equal


def part_of(search: Search, rows: slice) -> Search:
    """The search for some of its queries.

    Raises:
        ValueError: it is re-ranked, which may look at all queries.
    """
    if search.rescore is not None:
        raise ValueError("a re-ranked search cannot be divided among processes")
    columns = {name: column[rows] for name, column in search.q_columns.items()}
    return replace(search, queries=search.queries[rows], q_columns=columns)


def join(parts: Sequence[Measured]) -> Measured:
    """Put the parts of consecutive queries together."""

    def joined(name: str) -> np.ndarray | None:
        found = [getattr(part.ranks, name) for part in parts]
        return None if found[0] is None else np.concatenate(found)

    ranks = Ranks(*map(joined, ("counts", "ranks", "optimistic", "pessimistic")))
    return Measured(ranks, *(np.concatenate([getattr(p, n) for p in parts]) for n in ("same", "items", "distances")))
