"""What a protocol found: metrics after each post-processor, averages by group, and the first items of each query."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastreid.evaluation.text_retrieval import TextRetrieval
from fastreid.retrieval import RetrievalMetrics


@dataclass(frozen=True)
class Stage:
    """One row of the result: the features as they are, or after one more post-processor.

    Attributes:
        name: "plain", then "+AQE", "+RERANK", ...: each row adds to the one above it.
        metrics: ``None`` when the data set has no labels.
        extra: the further metrics that were asked for, in percent.
        levels: the metrics where another column makes a match, for each of ``TEST.LEVELS``.
        groups: per column ``{"macro": {metric: percent}, "values": {value: {"queries": n, metric: percent}}}``.
    """

    name: str
    metrics: RetrievalMetrics | None
    extra: Mapping[str, float] = field(default_factory=dict)
    groups: Mapping[str, Any] = field(default_factory=dict)
    levels: Mapping[str, RetrievalMetrics] = field(default_factory=dict)

    def table(self) -> dict[str, float]:
        """All averages in percent and the two counts, `RetrievalMetrics.table` first; empty without labels."""
        return {**self.metrics.table(), **self.extra} if self.metrics else {}


@dataclass(frozen=True)
class Evaluation:
    """Result of a protocol on one feature file.

    Attributes:
        stages: the plain features first, then after each post-processor.
        indices, distances: int64 and float32 (Q, min(topk, G)), the first gallery rows of each query after the last
            stage, nearest first; -1 and +inf where a query has fewer candidates.
        settings: metric, rule, relevance and post-processors as plain values.
        roc: true-positive rates of the last stage in percent; empty unless asked for.
        labels: what queries (Q,) and gallery (G,) have in the column that makes a match; ``None`` without labels.
        texts: text-to-image and image-to-text retrieval, where it was asked for.
        table: that of the protocol named in ``TEST.PROTOCOL``, with ``text()`` and ``as_json()``, where it has one.
    """

    stages: tuple[Stage, ...]
    indices: np.ndarray
    distances: np.ndarray
    settings: dict[str, Any] = field(default_factory=dict)
    roc: dict[str, float] = field(default_factory=dict)
    labels: tuple[np.ndarray, np.ndarray] | None = None
    texts: TextRetrieval | None = None
    table: Any = None

    @property
    def metrics(self) -> RetrievalMetrics | None:
        """Metrics after the last stage."""
        return self.stages[-1].metrics

    @property
    def labelled(self) -> bool:
        return self.metrics is not None


def level_metric(level: str) -> str:
    """Name of the mean average precision where the column ``level`` makes the match."""
    return f"mAP@{level}"


def by_group(metrics: RetrievalMetrics, names: Iterable[str], column: np.ndarray) -> dict[str, Any]:
    """Averages of the queries per value of ``column`` (length Q), and the mean of these averages."""
    values: dict[str, dict[str, float]] = {}
    for name in names:
        for value, (mean, count) in metrics.by(name, column).items():
            values.setdefault(str(value), {"queries": count})[name] = 100 * mean
    return {"macro": {name: 100 * metrics.macro(name, column) for name in names}, "values": values}
