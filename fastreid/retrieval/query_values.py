"""Metrics of each query without the ranks that they came from.

Ranks take 8 bytes for every match of every query. What a metric needs of them is reduced to numbers per query while the
next block of queries is ranked, or where another process ranks them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from fastreid.retrieval.metrics import Matches, Metric, parse_metric

OF_TABLE = ("AP", "INP", "AP@10_min", "AP@10_R")  # what `RetrievalMetrics.table` shows, besides hits


@dataclass(frozen=True, eq=False)
class QueryValues:
    """Values for Q queries; 0 for one that has no match.

    Attributes:
        counts: int64 (Q,), number of permitted matches.
        first: int64 (Q,), 1-based rank of the first match. Hits and reciprocal ranks follow from it.
        values: float64 (Q,) of each other metric.
    """

    counts: np.ndarray = field(repr=False)
    first: np.ndarray = field(repr=False)
    values: Mapping[Metric, np.ndarray] = field(repr=False)

    @classmethod
    def empty(cls, num_queries: int, names: Iterable[str]) -> "QueryValues":
        """Zeros for the metrics ``names``, to be filled by `put`."""
        values = {metric: np.zeros(num_queries) for metric in stored_metrics(names)}
        return cls(np.zeros(num_queries, dtype=np.int64), np.zeros(num_queries, dtype=np.int64), values)

    @classmethod
    def join(cls, parts: Sequence["QueryValues"]) -> "QueryValues":
        """Those of consecutive queries together."""
        values = {metric: np.concatenate([part.values[metric] for part in parts]) for metric in parts[0].values}
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("counts", "first")), values)

    def put(self, rows: np.ndarray, part: "QueryValues") -> None:
        """Take over the values of the query rows ``rows``."""
        self.counts[rows], self.first[rows] = part.counts, part.first
        for metric, values in self.values.items():
            values[rows] = part.values[metric]

    def of(self, metric: Metric, k: int | None, rows: np.ndarray) -> np.ndarray | None:
        """A metric of the query rows ``rows``, which have a match, with its ``k`` as a number; ``None``: not kept."""
        if _from_first(metric):
            return metric.compute(Matches(np.ones(len(rows), dtype=np.int64), self.first[rows]), k)
        found = self.values.get(metric)
        return None if found is None else found[rows]


def stored_metrics(names: Iterable[str]) -> dict[Metric, str]:
    """Those of the metrics ``names`` and `OF_TABLE` that need an array of their own, with their names."""
    metrics = {parse_metric(name): name for name in (*OF_TABLE, *names)}
    return {metric: name for metric, name in metrics.items() if metric.name != "nDCG" and not _from_first(metric)}


def _from_first(metric: Metric) -> bool:
    return metric.name in ("hit", "MRR") and metric.ties is None
