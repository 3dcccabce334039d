"""Ranks of the matches by sorting: the reference of `_rank_cy`, and its stand-in where it is not compiled."""

import numpy as np


def relevant_ranks(
    distances: np.ndarray, relevant: np.ndarray, permitted: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Rank the permitted matches of each query among its permitted items, ties by gallery row.

    Args:
        distances: float (q, G), smaller is nearer.
        relevant, permitted: bool (q, G); ``None`` permits everything.

    Returns:
        counts int64 (q,) and the 1-based ranks int64 (sum of counts,), ascending per query.
    """
    counts, ranks = np.zeros(len(distances), dtype=np.int64), []
    for i, row in enumerate(distances):
        order = np.argsort(row, kind="stable")
        if permitted is not None:
            order = order[permitted[i, order]]
        ranks.append(np.flatnonzero(relevant[i, order]) + 1)
        counts[i] = len(ranks[-1])
    return counts, np.concatenate(ranks, dtype=np.int64) if ranks else np.zeros(0, dtype=np.int64)
