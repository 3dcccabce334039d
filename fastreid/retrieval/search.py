"""One retrieval problem as a value: queries against a gallery under a metric and a rule, by blocks."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from fastreid.retrieval.candidates import Candidates, Columns, Rule, get_rule
from fastreid.retrieval.distance import METRICS, as_features, check_finite, prepare, prepared_distances, query_blocks
from fastreid.retrieval.rules import name_of, parts_of
from fastreid.retrieval.scan import Scan
from fastreid.utils.errors import require_choice

BLOCK_MIB = 32  # no block of scores, with what it is made from, takes more
Rescore = Callable[[slice, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Search:
    """Queries (Q, D) against a gallery (G, D). Post-processors turn one Search into another.

    Attributes:
        q_columns, g_columns: columns of length Q and G, such as "pids", "camids" (int64) and "dates" (int64,
            yyyymmdd).
        metric: "cosine" (1 - cos) or "euclidean" (squared L2).
        rule: a rule of `candidates`, its name, or ``None`` for all items.
        block_mib: memory for one block of queries, MiB.
        rescore: ``f(rows, distances (b, G)) -> distances (b, G)``, set by re-ranking.

    Raises:
        ValueError: shapes that do not fit, an unknown metric, or a column which the rule needs and nobody
        gave.
    """

    queries: np.ndarray
    gallery: np.ndarray
    q_columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    g_columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    metric: str = "cosine"
    rule: Rule | str | None = None
    block_mib: float = BLOCK_MIB
    rescore: Rescore | None = None

    def __post_init__(self):
        require_choice("metric of a search", self.metric, METRICS)
        queries, gallery = as_features(self.queries, "queries"), as_features(self.gallery, "gallery")
        if queries.shape[1] != gallery.shape[1]:
            raise ValueError(
                f"queries have {queries.shape[1]} feature columns but the gallery has {gallery.shape[1]}"
            )
        if queries.dtype != gallery.dtype:
            queries, gallery = (as_features(np.asarray(x, dtype=np.float64)) for x in (queries, gallery))
        rule = get_rule(self.rule)
        values = {
            "queries": queries,
            "gallery": gallery,
            "q_columns": check_columns(self.q_columns, len(queries), rule, "queries"),
            "g_columns": check_columns(self.g_columns, len(gallery), rule, "gallery"),
            "rule": rule,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @cached_property
    def prepared(self) -> tuple[np.ndarray, np.ndarray]:
        """Queries and gallery as the metric reads them (unit rows for cosine)."""
        return prepare(self.queries, self.metric), prepare(self.gallery, self.metric)

    def distances(self, rows: slice) -> np.ndarray:
        """Finite distances (b, G) of the query rows ``rows``; a NaN or infinite one raises ``ValueError``."""
        queries, gallery = self.prepared
        distances = prepared_distances(queries[rows], gallery, self.metric)
        if self.rescore is not None:
            distances = self.rescore(rows, distances)
        check_finite(distances, rows)
        return distances

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield (query rows, their distances (b, G)) from the first query to the last."""
        for rows in query_blocks(len(self.queries), len(self.gallery), self.block_mib):
            yield rows, self.distances(rows)

    @cached_property
    def candidates(self) -> Candidates:
        """The rule applied to the columns."""
        return Candidates(self.rule, self.q_columns, self.g_columns, len(self.queries), len(self.gallery))

    def permitted(self, rows: slice) -> np.ndarray | None:
        """Mask (b, G) of the permitted pairs of some query rows; ``None`` when the rule excludes nothing."""
        return self.candidates.permitted(rows)

    def scan(self) -> Scan:
        """The scores of this search, tile by tile, before any re-ranking."""
        return Scan(self.queries, self.gallery, self.metric, self.candidates, self.block_mib)

    def with_features(self, queries: np.ndarray, gallery: np.ndarray) -> "Search":
        """The same search over other features; refused after re-ranking, which belongs to the old ones."""
        if self.rescore is not None:
            raise ValueError("feature expansion must run before re-ranking, not after it")
        return replace(self, queries=queries, gallery=gallery)


def check_columns(columns: Columns, length: int, rule: Rule, side: str) -> dict[str, np.ndarray]:
    """Return the columns as arrays, after checking their length and that the rule finds what it needs."""
    if not isinstance(columns, Mapping):
        raise TypeError(f"columns of the {side} must be a mapping, as in {{'pids': ids}}; got {type(columns).__name__}")
    columns = {name: np.asarray(column) for name, column in columns.items()}
    for name, column in columns.items():
        if column.ndim != 1:
            raise ValueError(f"column '{name}' of the {side} must have shape ({length},); got {column.shape}")
        if len(column) != length:
            raise ValueError(f"column '{name}' of the {side} has {len(column)} rows; expected {length}")
    for part in parts_of(rule):
        missing = [name for name in part.needs if name not in columns]
        if missing:
            given = ", ".join(columns) or "none"
            raise ValueError(f"rule {name_of(part)} needs column {missing} of the {side}; given: {given}")
    return columns
