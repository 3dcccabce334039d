"""The k nearest permitted gallery items of every query."""

from collections.abc import Iterator

import numpy as np

from fastreid.retrieval.backends import backend_of
from fastreid.retrieval.candidates import Columns, Rule
from fastreid.retrieval.counting import in_scan_order, most_queries
from fastreid.retrieval.distance import as_given
from fastreid.retrieval.scan import Scan
from fastreid.retrieval.search import BLOCK_MIB, Search
from fastreid.retrieval.tables import nearest_rows
from fastreid.utils.errors import require_whole


def topk(
    q,
    g,
    k: int,
    metric: str = "cosine",
    rule: Rule | str | None = None,
    q_columns: Columns | None = None,
    g_columns: Columns | None = None,
    block_mib: float = BLOCK_MIB,
):
    """Return the ``k`` nearest gallery rows of each query, nearest first, ties by gallery row.

    The result is exact: an item is left out only when ``k`` others are proven to be nearer (see `scan`), and what
    remains is ordered by float64 distances. It does not depend on ``block_mib``.

    Args:
        q, g: features (Q, D) and (G, D), arrays or tensors; tensors give tensors on the device of ``q``.

    Returns:
        indices int64 (Q, min(k, G)) and distances float32 of the same shape. A query with fewer permitted
        items has -1 and +inf in the columns left over.
    """
    indices, distances = topk_search(Search(q, g, q_columns or {}, g_columns or {}, metric, rule, block_mib), k)
    return as_given(indices, q), as_given(distances, q)


def topk_search(search: Search, k: int) -> tuple[np.ndarray, np.ndarray]:
    """As `topk`, for a `Search` (which may be re-ranked); arrays."""
    k = require_whole("k of a top-k search", k, 1)
    shape = (len(search.queries), min(k, len(search.gallery)))
    indices, distances = np.full(shape, -1, dtype=np.int64), np.full(shape, np.inf, dtype=np.float32)
    if 0 in shape:
        return indices, distances
    if search.rescore is None:
        for rows, items, scores in nearest(search.scan(), shape[1]):
            indices[rows] = items
            distances[rows] = as_distances(scores, search.metric)
    else:
        for rows, block in search.blocks():
            indices[rows], distances[rows] = nearest_rows(block, rows, shape[1], search.candidates)
    return indices, distances


def as_distances(scores: np.ndarray, metric: str) -> np.ndarray:
    """Distances of `topk` from exact scores; +inf for the padding, -inf."""
    return -scores if metric == "euclidean" else 1 - scores


def nearest(scan: Scan, k: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield blocks of query rows, int64 (r,), with their ``k`` best gallery rows, int64 (r, k) padded with -1, and the
    exact scores of these, float64 padded with -inf. ``k`` is at most the number of gallery items.
    """
    backend = backend_of(scan)
    for rows in scan.query_blocks(most=most_queries(k)):
        hidden = in_scan_order(scan.candidates.excluded(rows), scan.candidates)
        selector = backend.Selector(scan, rows, k, hidden)
        scan.visit(rows, selector.see)
        items, scores, _ = selector.finish()
        yield rows, items, scores
