"""fast-reid's names for ranking metrics; the work is done in `fastreid.retrieval`."""

import numpy as np

from fastreid.retrieval.cuhk03 import evaluate_single_shot
from fastreid.retrieval.rank import evaluate_distances


def evaluate_rank(
    distmat, q_pids, g_pids, q_camids, g_camids, max_rank=50, use_metric_cuhk03=False, use_cython=True
) -> tuple[np.ndarray, ...]:
    """Return CMC float32 (max_rank,), AP (V,), INP (V,) of the V queries with a match; distances (Q, G).

    ``use_cython`` chose between fast-reid's two implementations and changes nothing here.
    """
    if use_metric_cuhk03:
        return eval_cuhk03(distmat, q_pids, g_pids, q_camids, g_camids, max_rank)
    columns = _columns(q_pids, q_camids), _columns(g_pids, g_camids)
    metrics = evaluate_distances(distmat, *columns, "camera", max_rank)
    return metrics.cmc, metrics.ap, metrics.inp


def evaluate_py(distmat, q_pids, g_pids, q_camids, g_camids, max_rank, use_metric_cuhk03=False):
    """`evaluate_rank`."""
    return evaluate_rank(distmat, q_pids, g_pids, q_camids, g_camids, max_rank, use_metric_cuhk03)


def evaluate_cy(distmat, q_pids, g_pids, q_camids, g_camids, max_rank, use_metric_cuhk03=False):
    """`evaluate_rank`; fast-reid's compiled one, without the tail of an earlier query in its CMC."""
    return evaluate_rank(distmat, q_pids, g_pids, q_camids, g_camids, max_rank, use_metric_cuhk03)


def eval_market1501(distmat, q_pids, g_pids, q_camids, g_camids, max_rank):
    """`evaluate_rank` under the metric of Market-1501."""
    return evaluate_rank(distmat, q_pids, g_pids, q_camids, g_camids, max_rank)


def eval_cuhk03(distmat, q_pids, g_pids, q_camids, g_camids, max_rank):
    """Return CMC (max_rank,) over random single-shot galleries, and AP (V,)."""
    return evaluate_single_shot(distmat, _columns(q_pids, q_camids), _columns(g_pids, g_camids), max_rank)


def _columns(pids, camids) -> dict[str, np.ndarray]:
    return {"pids": np.asarray(pids), "camids": np.asarray(camids)}
