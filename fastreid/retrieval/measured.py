"""What one pass over all pairs finds of each query, before it is a metric: in parts of the queries or at once.

Scores are exact where they decide (see `scan`), so the parts joined are what one pass over all queries gives.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from fastreid.retrieval.candidates import Candidates, EqualRows
from fastreid.retrieval.counting import Ranks, count_ranks, in_query_order
from fastreid.retrieval.graded import Graded, grade, is_known
from fastreid.retrieval.query_values import QueryValues
from fastreid.retrieval.results import RetrievalMetrics
from fastreid.retrieval.search import Search
from fastreid.retrieval.tables import nearest_rows, rank_rows
from fastreid.retrieval.topk import as_distances


@dataclass(frozen=True)
class Measured:
    """Findings for Q queries.

    Attributes:
        ranks: those of the matches, or what is kept of them.
        same: int64 (Q,), gallery items with the query's label, whatever the rule permits.
        items, distances: int64 and float32 (Q, top), the nearest gallery rows, padded with -1 and +inf.
        graded: gains of the first items, where they were asked for.
    """

    ranks: Ranks | QueryValues
    same: np.ndarray
    items: np.ndarray
    distances: np.ndarray
    graded: Graded | None = None


@dataclass(frozen=True)
class Keep:
    """Reduces the ranks of each block of queries to the metrics ``names``, as soon as they are counted.

    Args:
        max_bin_count: that of all queries, of which those at hand may be a part.
    """

    names: tuple[str, ...]
    max_bin_count: int | None = None

    def reduce(self, ranks: Ranks) -> QueryValues:
        if not len(ranks.ranks):
            return QueryValues.empty(len(ranks.counts), self.names)
        ties = {"optimistic": ranks.optimistic, "pessimistic": ranks.pessimistic}
        found = RetrievalMetrics.from_ranks(ranks.counts, ranks.ranks, 1, **ties, max_bin_count=self.max_bin_count)
        return found.reduced(self.names)


class _Collected:
    """What blocks of queries leave, in the order of the queries: all ranks, or what ``keep`` makes of them."""

    def __init__(self, num_queries: int, keep: Keep | None):
        self._num_queries, self._keep, self._blocks = num_queries, keep, []
        self._values = None if keep is None else QueryValues.empty(num_queries, keep.names)

    def see(self, rows: np.ndarray, ranks: Ranks) -> None:
        if self._keep is None:
            self._blocks.append((rows, ranks))
        else:
            self._values.put(rows, self._keep.reduce(ranks))

    def result(self) -> Ranks | QueryValues:
        return in_query_order(self._blocks, self._num_queries) if self._keep is None else self._values


Work = Callable[[Search], Measured]


def here(work: Work, search: Search) -> Measured | None:
    """Do the whole work in this process. Another function of this kind may share it out, and return ``None`` where the
    result is not wanted.
    """
    return work(search)


def measure(
    search: Search,
    relevance: str,
    ties: bool,
    top: int,
    gains: Mapping[str, float] | None = None,
    graded: int = 0,
    keep: Keep | None = None,
) -> Measured:
    """Rank the matches of every query, and list its ``top`` nearest items.

    Args:
        gains, graded: grade so many of the nearest items.
        keep: what is left of the ranks; by default all.
    """
    columns, length = (search.q_columns, search.g_columns), max(top, graded)
    equal = matching_rows(*(column[relevance] for column in columns))
    if search.rescore is None:
        collected = _Collected(len(search.queries), keep)
        items, scores = count_ranks(search.scan(), equal, collected.see, ties, length)
        found = Measured(collected.result(), equal.counts, items, as_distances(scores, search.metric))
    else:
        found = measure_blocks(search.blocks(), equal, search.candidates, ties, length, keep)
    return replace(
        found,
        items=np.ascontiguousarray(found.items[:, :top]),
        distances=np.ascontiguousarray(found.distances[:, :top], dtype=np.float32),
        graded=grade(found.items[:, :graded], search.candidates, *columns, gains) if gains else None,
    )


def measure_blocks(
    blocks: Iterable[tuple[slice, np.ndarray]],
    equal: EqualRows,
    candidates: Candidates,
    ties: bool,
    top: int,
    keep: Keep | None = None,
) -> Measured:
    """As `measure`, from blocks of distances (b, G), without grades."""
    shape, collected = (candidates.num_queries, top), _Collected(candidates.num_queries, keep)
    items, nearest = np.full(shape, -1, dtype=np.int64), np.full(shape, np.inf, dtype=np.float32)
    for rows, distances in blocks:
        ranks = rank_rows(distances, rows, equal, candidates, ties)
        collected.see(np.arange(rows.start, rows.stop), ranks)
        if top:
            items[rows], nearest[rows] = nearest_rows(distances, rows, top, candidates)
    return Measured(collected.result(), equal.counts, items, nearest)


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
    if isinstance(parts[0].ranks, QueryValues):
        ranks = QueryValues.join([part.ranks for part in parts])
    else:
        names = [field.name for field in fields(Ranks) if getattr(parts[0].ranks, field.name) is not None]
        ranks = Ranks(**{name: np.concatenate([getattr(part.ranks, name) for part in parts]) for name in names})
    arrays = (np.concatenate([getattr(part, name) for part in parts]) for name in ("same", "items", "distances"))
    grades = [part.graded for part in parts if part.graded is not None]
    return Measured(ranks, *arrays, Graded.join(grades) if grades else None)
