"""Verification view of a ranking: is this pair the same identity?"""

from collections.abc import Sequence

import numpy as np

from fastreid.retrieval.candidates import Columns, get_rule
from fastreid.retrieval.rank import relevant_pairs
from fastreid.retrieval.search import Search, check_columns, permitted_pairs


def tpr_at_fpr(search: Search, fprs: Sequence[float] = (1e-4, 1e-3, 1e-2)) -> dict[float, float]:
    """Return the true positive rate at each false positive rate, over all permitted pairs.

    A pair is accepted when its distance is at most a threshold; the threshold of a rate f is the largest that
    accepts no more than the share f of the pairs of different ids. Only the nearest such pairs are kept, not
    the (Q, G) table.
    """
    budget = 1 + int(max(fprs) * len(search.queries) * len(search.gallery))
    genuine, impostors, num_impostors = [], np.zeros(0, dtype=np.float32), 0
    for rows, distances in search.blocks():
        relevant = relevant_pairs(search.q_columns, search.g_columns, rows)
        permitted = search.permitted(rows)
        permitted = np.ones_like(relevant) if permitted is None else permitted
        genuine.append(distances[relevant & permitted])
        different = distances[~relevant & permitted]
        num_impostors += len(different)
        impostors = _smallest(np.concatenate([impostors, different]), budget)
    genuine, impostors = np.concatenate(genuine), np.sort(impostors)
    if not len(genuine) or not num_impostors:
        raise ValueError(
            f"TPR at FPR needs pairs of both kinds; got {len(genuine)} same, {num_impostors} different"
        )
    # The first impostor beyond the allowed ones must stay out: accept what is strictly nearer than it.
    first_out = {fpr: int(fpr * num_impostors) for fpr in fprs}
    thresholds = {fpr: impostors[i] if i < len(impostors) else np.inf for fpr, i in first_out.items()}
    return {fpr: float(np.mean(genuine < threshold)) for fpr, threshold in thresholds.items()}


def _smallest(values: np.ndarray, count: int) -> np.ndarray:
    return values if len(values) <= count else np.partition(values, count - 1)[:count]


def pair_scores(distances, q_columns: Columns, g_columns: Columns) -> tuple[np.ndarray, np.ndarray]:
    """Return fast-reid's (scores, labels) of all pairs under the camera rule.

    Scores are the distances (n,), same ids first; label 0 is the same id, 1 a different one. Beware:
    fast-reid fed them to a ROC curve as if 1 were the same id.
    """
    distances, rule = np.asarray(distances), get_rule("camera")
    q_columns = check_columns(q_columns, distances.shape[0], rule, "queries")
    g_columns = check_columns(g_columns, distances.shape[1], rule, "gallery")
    everything = slice(0, len(distances))
    permitted = permitted_pairs(rule, q_columns, g_columns, everything)
    relevant = relevant_pairs(q_columns, g_columns, everything)
    same, different = distances[relevant & permitted], distances[~relevant & permitted]
    return np.concatenate([same, different]), np.repeat([0.0, 1.0], [len(same), len(different)])
