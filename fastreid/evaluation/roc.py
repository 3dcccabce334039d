"""fast-reid's names for verification scores; the right TPR at FPR is `fastreid.retrieval.roc.tpr_at_fpr`."""

import numpy as np

from fastreid.retrieval.roc import pair_scores


def evaluate_roc(
    distmat, q_pids, g_pids, q_camids, g_camids, use_cython=True
) -> tuple[np.ndarray, np.ndarray]:
    """Return (scores, labels) of all pairs but same-camera ones: label 0 is the same id, 1 another."""
    return pair_scores(distmat, {"pids": q_pids, "camids": q_camids}, {"pids": g_pids, "camids": g_camids})


def evaluate_roc_py(distmat, q_pids, g_pids, q_camids, g_camids):
    """`evaluate_roc`."""
    return evaluate_roc(distmat, q_pids, g_pids, q_camids, g_camids)
