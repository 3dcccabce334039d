"""What an evaluation found, as one immutable value."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from fastreid.retrieval.graded import Graded
from fastreid.retrieval.metrics import MAX_BIN_COUNT, Matches, Metric, parse_metric
from fastreid.retrieval.query_values import QueryValues, stored_metrics

SHOWN_RANKS = (1, 5, 10)
_HOW = {
    "optimistic": "the evaluation must be asked for ties (ties=True)",
    "pessimistic": "the evaluation must be asked for ties (ties=True)",
    "max_bin_count": "the evaluation must say the largest number of gallery items of one identity",
    "graded": "the evaluation must be given the gains of columns (gains={'pids': 3, ...})",
}


@dataclass(frozen=True, eq=False, repr=False)
class RetrievalMetrics:
    """Ranks of the matches of every query, and any metric that follows from them; or the values of some metrics alone.

    Arrays of length V cover the queries that have a permitted match, in query order; a query without one is dropped,
    and counted in `dropped`. All arrays are read-only.

    Attributes:
        counts: int64 (Q,), number of permitted matches of each query.
        ranks: int64 (sum of counts,), 1-based ranks of the matches among the permitted items, ascending per query,
            query after query; ties by gallery row. ``None`` where they were not kept.
        max_rank: length of the CMC curve.
        optimistic, pessimistic: ranks like ``ranks``, with ties between matches and other items broken for and against
            the matches; ``None`` when not asked for.
        max_bin_count: largest number of gallery items of one query's identity, whatever the rule permits.
        graded: gains of the first items, for nDCG.
        kept: the values of some metrics in the place of the ranks.

    Raises:
        ValueError: arrays that do not fit together, ranks that do not ascend, or no match at all.
    """

    counts: np.ndarray = field(repr=False)
    ranks: np.ndarray | None = field(repr=False)
    max_rank: int
    optimistic: np.ndarray | None = field(default=None, repr=False)
    pessimistic: np.ndarray | None = field(default=None, repr=False)
    max_bin_count: int | None = None
    graded: Graded | None = None
    kept: QueryValues | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        shown = ", ".join(
            f"{name} {100 * value:.2f} %" for name, value in (("mAP", self.mAP), ("Rank-1", self.mean("hit@1")))
        )
        return f"RetrievalMetrics({shown}, {self.num_queries} queries, {self.dropped} of them dropped)"

    def __post_init__(self):
        for name in ("counts", "ranks", "optimistic", "pessimistic"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _read_only(getattr(self, name)))
        if self.max_rank < 1:
            raise ValueError(f"max_rank, the length of the CMC curve, must be at least 1; got {self.max_rank}")
        matches = len(self.ranks) if self.kept is None else self.counts.sum()
        if (self.counts < 0).any() or self.counts.sum() != matches or not matches:
            raise ValueError(
                f"{len(self.counts)} counts of matches, in sum {self.counts.sum()}, do not fit {matches} ranks "
                f"(at least one match is needed)"
            )
        for name in ("ranks", "optimistic", "pessimistic"):
            if getattr(self, name) is not None:
                self._check_ranks(name, getattr(self, name))
        if self.graded is not None and len(self.graded.gains) != len(self.counts):
            raise ValueError(f"graded covers {len(self.graded.gains)} queries; counts {len(self.counts)}")

    def _check_ranks(self, name: str, ranks: np.ndarray) -> None:
        if len(ranks) != len(self.ranks):
            raise ValueError(f"{name} must have {len(self.ranks)} entries, one per match; got {len(ranks)}")
        ascends = np.diff(ranks) > 0
        ascends[self._matches.starts[1:] - 1] = True  # the next query starts anew
        if not ascends.all() or ranks.min() < 1:
            raise ValueError(f"{name} must be 1-based and ascend within each query")
        if (name == "optimistic" and (ranks > self.ranks).any()) or (
            name == "pessimistic" and (ranks < self.ranks).any()
        ):
            raise ValueError(f"{name} ranks must not be {'worse' if name == 'optimistic' else 'better'} than the ranks")

    @classmethod
    def from_ranks(
        cls,
        counts: np.ndarray,
        ranks: np.ndarray,
        max_rank: int,
        *,
        optimistic: np.ndarray | None = None,
        pessimistic: np.ndarray | None = None,
        max_bin_count: int | None = None,
        graded: Graded | None = None,
    ) -> "RetrievalMetrics":
        """Make the value from ranks; arguments as the attributes of this class."""
        return cls(counts, ranks, max_rank, optimistic, pessimistic, max_bin_count, graded)

    def reduced(self, names: Iterable[str]) -> QueryValues:
        """The values of the metrics ``names`` and what `table` needs, without the ranks."""
        stored = stored_metrics(names).items()
        values = {metric: self._on_all(self._from_ranks(metric, name)) for metric, name in stored}
        return QueryValues(self.counts, self._on_all(self.first_hit), values)

    def _on_all(self, values: np.ndarray) -> np.ndarray:
        """The values (V,) as those of all queries, 0 for the dropped ones."""
        full = np.zeros(len(self.counts), dtype=values.dtype)
        full[self.rows] = values
        return full

    # ------------------------------------------------------------------------------------------ any metric by name

    def values(self, name: str) -> np.ndarray:
        """The metric ``name`` (see `metrics.parse_metric`) of each query with a match, float64 (V,).

        Raises:
            ValueError: an unknown name, or a metric whose input this evaluation lacks.
        """
        metric = parse_metric(name)
        if metric.name == "nDCG":
            return self._input("graded", name).ndcg(metric.k)[self.rows]
        if self.kept is None:
            return self._from_ranks(metric, name)
        values = self.kept.of(metric, self._k(metric, name), self.rows)
        if values is None:
            raise ValueError(
                f"metric '{name}' is not among those kept, and the ranks are gone: name it before (TEST.METRICS, or "
                f"keep=('{name}',))"
            )
        return values

    def _from_ranks(self, metric: Metric, name: str) -> np.ndarray:
        return metric.compute(self._matches_under(metric, name), self._k(metric, name))

    def _k(self, metric: Metric, name: str) -> int | None:
        return self._input("max_bin_count", name) if metric.k == MAX_BIN_COUNT else metric.k

    def mean(self, name: str) -> float:
        """Mean over the queries with a match (micro average)."""
        return float(self.values(name).mean())

    def by(self, name: str, column: np.ndarray) -> dict:
        """Mean and number of queries for each value of ``column``, as ``{value: (mean, count)}`` in order of value.

        Args:
            column: one value per query (length Q, dropped ones included) or per query with a match (length V).
        """
        groups, members = np.unique(self._of_valid(column), return_inverse=True)
        counts = np.bincount(members)
        means = np.bincount(members, weights=self.values(name)) / counts
        return dict(zip(groups.tolist(), zip(means.tolist(), counts.tolist(), strict=True), strict=True))

    def macro(self, name: str, column: np.ndarray) -> float:
        """Mean over the groups of ``column`` (as in `by`) of the mean of each group."""
        return float(np.mean([mean for mean, _ in self.by(name, column).values()]))

    def _of_valid(self, column: np.ndarray) -> np.ndarray:
        column = np.asarray(column)
        if len(column) == len(self.counts):
            return column[self.rows]
        if len(column) != len(self.rows):
            raise ValueError(
                f"a column to group by must have {len(self.counts)} rows (queries) or {len(self.rows)} (those with a "
                f"match); got {len(column)}"
            )
        return column

    def _input(self, attribute: str, name: str):
        value = getattr(self, attribute)
        if value is None:
            raise ValueError(f"metric '{name}' cannot be computed from ranks alone: {_HOW[attribute]}")
        return value

    def _matches_under(self, metric: Metric, name: str) -> Matches:
        if metric.ties is None:
            return self._matches
        return Matches(self.num_relevant, self._input(metric.ties, name))

    # ------------------------------------------------------------------------------------------- what is always there

    @cached_property
    def _matches(self) -> Matches:
        return Matches(self.num_relevant, self.ranks)

    @cached_property
    def rows(self) -> np.ndarray:
        """int64 (V,), the query row of each entry."""
        return _read_only(np.flatnonzero(self.counts))

    @cached_property
    def num_relevant(self) -> np.ndarray:
        """int64 (V,), permitted matches R."""
        return _read_only(self.counts[self.rows])

    @property
    def num_queries(self) -> int:
        """Number of queries, dropped ones included."""
        return len(self.counts)

    @property
    def dropped(self) -> int:
        """Number of queries without any permitted match."""
        return len(self.counts) - len(self.rows)

    @cached_property
    def first_hit(self) -> np.ndarray:
        """int64 (V,), 1-based rank of the first match."""
        return _read_only(self._matches.first if self.kept is None else self.kept.first[self.rows])

    @cached_property
    def ap(self) -> np.ndarray:
        """float64 (V,), average precision over the whole ranking."""
        return _read_only(self.values("AP"))

    @cached_property
    def inp(self) -> np.ndarray:
        """float64 (V,), inverse negative penalty."""
        return _read_only(self.values("INP"))

    @cached_property
    def ap10_min(self) -> np.ndarray:
        """float64 (V,), `ap10_R` with min(R, 10) in the place of R."""
        return _read_only(self.values("AP@10_min"))

    @cached_property
    def ap10_R(self) -> np.ndarray:
        """float64 (V,), precision summed over the matches in the first ten, divided by R."""
        return _read_only(self.values("AP@10_R"))

    @cached_property
    def cmc(self) -> np.ndarray:
        """float32 (max_rank,), share of queries with a match at rank <= k."""
        hits_at = np.bincount(np.minimum(self.first_hit, self.max_rank + 1), minlength=self.max_rank + 2)
        return _read_only((np.cumsum(hits_at[1 : self.max_rank + 1]) / len(self.rows)).astype(np.float32))

    @property
    def mAP(self) -> float:
        return float(self.ap.mean())

    def table(self) -> dict[str, float]:
        """Return averages in percent under fast-reid's names, then AP@10 and two counts (not in percent)."""
        table = {f"Rank-{k}": 100 * float(self.cmc[min(k, len(self.cmc)) - 1]) for k in SHOWN_RANKS}
        table["mAP"] = 100 * self.mAP
        table["mINP"] = 100 * float(self.inp.mean())
        table["metric"] = (table["mAP"] + table["Rank-1"]) / 2
        table["AP@10_min"] = 100 * float(self.ap10_min.mean())
        table["AP@10_R"] = 100 * float(self.ap10_R.mean())
        return {**table, "queries": self.num_queries, "dropped queries": self.dropped}


def _read_only(values) -> np.ndarray:
    """A view that cannot be written to."""
    view = np.asarray(values).view()
    view.flags.writeable = False
    return view
