"""What an evaluation found for each query, as JSON lines."""

import json
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from fastreid.data.feature_file import FeatureFile
from fastreid.evaluation.protocol import Protocol
from fastreid.evaluation.stages import Evaluation, level_metric
from fastreid.retrieval import RetrievalMetrics
from fastreid.retrieval.graded import agrees
from fastreid.utils.files import atomic_write


def write_queries(protocol: Protocol, features: FeatureFile, evaluation: Evaluation, path: str | os.PathLike) -> None:
    """Write a line per query of the last stage, in their order.

    Each has ``query``, the path; ``matches``, how many permitted ones there are; ``metrics`` in percent: AP and those
    of ``TEST.METRICS``, empty for a query without a match, and AP of each of ``TEST.LEVELS``; ``items``, the first
    gallery images with path, distance and whether they are right (null without labels).
    """
    with atomic_write(path, "w") as file:
        for line in query_lines(protocol, features, evaluation):
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def query_lines(protocol: Protocol, features: FeatureFile, evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    """Yield the lines of `write_queries` as plain values."""
    stage, query, gallery = evaluation.stages[-1], features.query, features.gallery
    values = [] if stage.metrics is None else [_by_row(stage.metrics, ("AP", *protocol.metrics))]
    values += [_by_row(found, ("AP",), level_metric(level)) for level, found in stage.levels.items()]
    for row, path in enumerate(query.paths):
        items = evaluation.indices[row][evaluation.indices[row] >= 0]
        right = _right(evaluation, row, items)
        listed = zip(items.tolist(), evaluation.distances[row].tolist(), right, strict=False)
        yield {
            "query": path,
            "matches": int(stage.metrics.counts[row]) if stage.metrics is not None else None,
            "metrics": {name: value for found in values for name, value in found.get(row, {}).items()},
            "items": [{"path": gallery.paths[item], "distance": d, "right": hit} for item, d, hit in listed],
        }


def _by_row(metrics: RetrievalMetrics, names: tuple[str, ...], only: str = "") -> dict[int, dict[str, float]]:
    """Percent of each query with a match, by its row; ``only`` renames the only metric."""
    columns = {only or name: (100 * metrics.values(name)).tolist() for name in names}
    return {row: {name: column[at] for name, column in columns.items()} for at, row in enumerate(metrics.rows.tolist())}


def _right(evaluation: Evaluation, row: int, items: np.ndarray) -> list[bool | None]:
    if evaluation.labels is None:
        return [None] * len(items)
    query, gallery = evaluation.labels
    return agrees(query[row : row + 1], gallery[items]).tolist()
