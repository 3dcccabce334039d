"""Feature expansion: a feature becomes a weighted mean of its neighbours, without an (N, N) similarity table.

Three kinds that papers confuse: `joint_aqe` (what the DIRA 2022 system and fast-reid run: queries and gallery
expand each other), `alpha_qe` (queries only) and `dba` (gallery only). The weight of a neighbour is its
cosine similarity to the power ``alpha`` (Radenovic et al., TPAMI 2019).
"""

import numpy as np

from fastreid.retrieval.candidates import Columns, Rule
from fastreid.retrieval.distance import as_features, normalize
from fastreid.retrieval.topk import topk


def joint_aqe(
    q, g, k: int = 5, alpha: float = 3.0, times: int = 1, block_mib: float = 256
) -> tuple[np.ndarray, np.ndarray]:
    """Average every feature over its ``k`` nearest in the UNION of queries and gallery, itself included.

    ``x_i' = (1/k) sum_j cos(x_i, x_j)^alpha x_j`` over the k largest cosines; x_j is the raw feature and the
    sum is divided by k, not by the weights. The gallery changes with the queries, so the result depends on
    all of them.

    Args:
        q, g: features (Q, D) and (G, D).
        times: how often the whole step is repeated.

    Returns:
        The new queries (Q, D) and gallery (G, D).
    """
    queries, gallery = as_features(q, "queries"), as_features(g, "gallery")
    features = np.concatenate([queries, gallery])
    for _ in range(times):
        indices, distances = topk(features, features, k, block_mib=block_mib)
        weights = similarity_weights(1 - distances, alpha) / indices.shape[1]
        features = weighted_sum(features, indices, weights)
    return features[: len(queries)], features[len(queries) :]


def alpha_qe(
    q,
    g,
    k: int = 5,
    alpha: float = 3.0,
    rule: Rule | str | None = None,
    q_columns: Columns | None = None,
    g_columns: Columns | None = None,
    block_mib: float = 256,
) -> np.ndarray:
    """Add to every query its ``k`` nearest permitted gallery items.

    ``q' = unit(q + sum_j cos(q, g_j)^alpha g_j)``. All features count with unit length. With a rule that
    permits only the past, the result is causal too.

    Returns:
        The new queries, (Q, D), rows of unit length.
    """
    queries, gallery = normalize(q), normalize(g)
    indices, distances = topk(queries, gallery, k, "cosine", rule, q_columns, g_columns, block_mib)
    return normalize(queries + weighted_sum(gallery, indices, similarity_weights(1 - distances, alpha)))


def dba(g, k: int = 5, alpha: float = 3.0, block_mib: float = 256) -> np.ndarray:
    """Database-side augmentation: as `alpha_qe`, for every gallery item over the other gallery items.

    Returns:
        The new gallery, (G, D), rows of unit length.
    """
    gallery = normalize(g)
    rows = {"rows": np.arange(len(gallery))}
    return alpha_qe(gallery, gallery, k, alpha, _OtherRow(), rows, rows, block_mib)


class _OtherRow:
    """Rule: not the item itself."""

    needs = ("rows",)
    within = "rows"

    def permits(self, query: Columns, item: Columns) -> np.ndarray:
        return query["rows"] != item["rows"]


def similarity_weights(similarity: np.ndarray, alpha: float) -> np.ndarray:
    """Return ``similarity ** alpha``, and 0 for the padding (-inf) of a short neighbour list.

    A negative similarity counts as 0 when ``alpha`` is not an integer (the power would be NaN). An integer
    ``alpha`` keeps fast-reid's values, in which an even power makes a negative similarity positive.
    """
    if alpha < 0:
        raise ValueError(f"alpha, the power of a similarity, must not be negative; got {alpha}")
    padding = np.isneginf(similarity)
    similarity = np.where(padding, 0, similarity)
    if alpha != int(alpha):
        similarity = np.maximum(similarity, 0)
    return np.where(padding, 0, similarity**alpha)


def weighted_sum(features: np.ndarray, indices: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return (N, D): row i = ``sum_j weights[i, j] * features[indices[i, j]]``; -1 counts for nothing."""
    from scipy.sparse import csr_matrix

    starts = np.arange(len(indices) + 1) * indices.shape[1]
    columns, values = np.maximum(indices, 0).ravel(), weights.astype(features.dtype).ravel()
    return csr_matrix((values, columns, starts), shape=(len(indices), len(features))) @ features
