"""fast-reid's names for distance matrices (Q, G); prefer `fastreid.retrieval`, which streams."""

import numpy as np

from fastreid.retrieval.distance import METRICS, block_distances
from fastreid.retrieval.rerank import k_reciprocal, pairwise_jaccard
from fastreid.utils.errors import require_choice


def build_dist(feat_1, feat_2, metric: str = "euclidean", **kwargs) -> np.ndarray:
    """Return distances (Q, G) of features (Q, D) and (G, D), tensors or arrays.

    Args:
        metric: "euclidean" (squared), "cosine" or "jaccard" (with ``k1`` and ``k2``).
    """
    require_choice("metric of build_dist", metric, (*METRICS, "jaccard"))
    if metric == "jaccard":
        return _array(k_reciprocal(feat_1, feat_2, metric="euclidean", **kwargs)(slice(None)))
    return block_distances(_array(feat_1), _array(feat_2), metric)


def compute_euclidean_distance(features, others) -> np.ndarray:
    """Squared Euclidean distances (Q, G)."""
    return build_dist(features, others, "euclidean")


def compute_cosine_distance(features, others) -> np.ndarray:
    """``1 - cos``, (Q, G)."""
    return build_dist(features, others, "cosine")


def compute_jaccard_distance(features, k1=20, k2=6, search_option=0, fp16=False) -> np.ndarray:
    """k-reciprocal Jaccard distances (N, N) of features (N, D), computed where the features lie.

    ``search_option`` and ``fp16`` chose among fast-reid's GPU paths and change nothing here.
    """
    return _array(pairwise_jaccard(features, k1, k2)(slice(None)))


def _array(features) -> np.ndarray:
    return features.detach().cpu().numpy() if hasattr(features, "detach") else np.asarray(features)
