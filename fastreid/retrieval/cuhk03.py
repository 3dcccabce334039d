"""The CMC of CUHK03 (Li et al., CVPR 2014): one random gallery image per identity."""

import numpy as np

from fastreid.retrieval.candidates import Columns
from fastreid.retrieval.rank import evaluate_distances

REPEATS = 10


def evaluate_single_shot(
    distances,
    q_columns: Columns,
    g_columns: Columns,
    max_rank: int = 50,
    rng: np.random.Generator | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the CMC (max_rank,), averaged over 10 random single-shot galleries, and the AP (V,).

    The AP is over the whole gallery. ``rng`` draws the single-shot galleries; the default is seeded with 0,
    so the result is the same every time.
    """
    metrics = evaluate_distances(distances, q_columns, g_columns, "camera", max_rank)
    rng = rng or np.random.default_rng(0)
    curves = [
        _single_shot_cmc(np.asarray(distances)[row], row, q_columns, g_columns, len(metrics.cmc), rng)
        for row in metrics.rows
    ]
    return np.mean(curves, axis=0, dtype=np.float32), metrics.ap


def _single_shot_cmc(
    distances: np.ndarray,
    row: int,
    q_columns: Columns,
    g_columns: Columns,
    max_rank: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """CMC (max_rank,) of one query: its id's random representative against those of the other ids."""
    pid, camid = q_columns["pids"][row], q_columns["camids"][row]
    kept = (g_columns["pids"] != pid) | (g_columns["camids"] != camid)
    order = np.flatnonzero(kept)[np.argsort(distances[kept], kind="stable")]
    pids, hits = g_columns["pids"][order], np.zeros(max_rank)
    for _ in range(REPEATS):
        shuffled = rng.permutation(len(pids))
        _, first = np.unique(pids[shuffled], return_index=True)
        chosen = np.sort(shuffled[first])
        rank = int(np.flatnonzero(pids[chosen] == pid)[0])
        hits[rank:] += 1
    return hits / REPEATS
