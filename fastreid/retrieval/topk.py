"""The k nearest permitted gallery items of every query."""

import numpy as np

from fastreid.retrieval.candidates import Columns, Rule
from fastreid.retrieval.search import Search


def topk(
    q,
    g,
    k: int,
    metric: str = "cosine",
    rule: Rule | str | None = None,
    q_columns: Columns | None = None,
    g_columns: Columns | None = None,
    block_mib: float = 256,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ``k`` nearest gallery rows of each query, nearest first, ties by gallery row.

    Args:
        q, g: features (Q, D) and (G, D).

    Returns:
        indices int64 (Q, min(k, G)) and distances float32 of the same shape. A query with fewer permitted
        items has -1 and +inf in the columns left over.
    """
    return topk_search(Search(q, g, q_columns or {}, g_columns or {}, metric, rule, block_mib), k)


def topk_search(search: Search, k: int) -> tuple[np.ndarray, np.ndarray]:
    """As `topk`, for a `Search` (which may be re-ranked)."""
    if k < 1:
        raise ValueError(f"k of a top-k search must be at least 1; got {k}")
    shape = (len(search.queries), min(k, len(search.gallery)))
    indices, values = np.full(shape, -1, dtype=np.int64), np.full(shape, np.inf, dtype=np.float32)
    if shape[1] == 0:
        return indices, values
    for rows, distances in search.blocks():
        permitted = search.permitted(rows)
        if permitted is not None:
            distances = np.where(permitted, distances, np.inf)
        for offset, row in enumerate(distances, start=rows.start):
            nearest = nearest_items(row, shape[1])
            indices[offset, : len(nearest)] = nearest
            values[offset, : len(nearest)] = row[nearest]
    return indices, values


def nearest_items(row: np.ndarray, k: int) -> np.ndarray:
    """Positions of the ``k`` smallest finite values of one row, in order of (value, position).

    Everything not above the k-th value is sorted stably, so a tie at the edge goes to the lower position.
    """
    edge = np.partition(row, k - 1)[k - 1]
    candidates = np.flatnonzero(row <= edge if np.isfinite(edge) else np.isfinite(row))
    return candidates[np.argsort(row[candidates], kind="stable")][:k]
