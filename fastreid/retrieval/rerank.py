"""k-reciprocal re-ranking (Zhong et al., CVPR 2017) with sparse rows instead of (N, N) tables.

Over the union of N = Q + G features: the k-reciprocal neighbours of an item, widened by the neighbours of those,
become its sparse encoding, a softmax of minus their distances; encodings are averaged over the k2 nearest; the
Jaccard distance of two encodings is ``1 - S / (2 - S)`` with ``S = sum_c min(V_ic, V_jc)``. Two variants exist, as in
fast-reid, and differ by up to 0.13:

* `k_reciprocal` starts from features: what fast-reid's evaluator runs. Lists have k1 entries, distances are squared.
* `re_ranking` starts from the three distance matrices, as the paper's code. Lists have k1 + 1 entries, and distances
  are squared and divided by the largest of their row.

Neighbours are in the order (distance, row of the union). The work is done by `_rerank_cpu` (compiled) or, for CUDA
tensors and without a compiler, by `_rerank_torch`; both give the same distances to 1e-6.
"""

from collections.abc import Callable

import numpy as np

from fastreid.retrieval._rerank_rows import Rows
from fastreid.retrieval._rerank_union import UnionDistances
from fastreid.retrieval.distance import METRICS, as_given, to_array
from fastreid.retrieval.topk import topk
from fastreid.utils.errors import require_choice

try:
    from fastreid.retrieval import _rerank_cy as _compiled  # noqa: F401
except ImportError:  # installed without a compiler
    _rerank_cpu = None
else:
    from fastreid.retrieval import _rerank_cpu


class JaccardDistances:
    """Jaccard distances from queries to gallery items, read by blocks of query rows.

    Args:
        queries, gallery: encodings (Q, N) and (G, N): rows of sum 1, no weight negative.
        num_columns: N.
        backend: the module that made the encodings.
    """

    def __init__(self, queries: Rows, gallery: Rows, num_columns: int, backend):
        self.shape = (len(queries.starts) - 1, len(gallery.starts) - 1)
        self._queries, self._columns, self._backend = queries, backend.invert(gallery, num_columns), backend

    def __call__(self, rows: slice):
        """Return float32 (b, G): an array, or a tensor where the encodings lie on a GPU."""
        start, stop, _ = rows.indices(self.shape[0])
        block = self._backend.empty(self._queries.weights, stop - start, self.shape[1])
        block[:] = 0
        self._backend.blend(self._queries, self._columns, block, start, 0.0)
        return block if _on_gpu(block) else to_array(block)

    def blend(self, rows: slice, distances, share: float):
        """Return ``(1 - share) * jaccard + share * distance`` for the query rows ``rows``.

        Args:
            distances: float32 or float64 (b, G), array or tensor; written over where that is possible.
        """
        start, stop, _ = rows.indices(self.shape[0])
        if tuple(distances.shape) != (stop - start, self.shape[1]):
            wanted = (stop - start, self.shape[1])
            raise ValueError(f"distances to re-rank must have shape {wanted}; got {tuple(distances.shape)}")
        if isinstance(distances, np.ndarray) and not distances.flags.writeable:
            distances = distances.copy()
        block = self._backend.as_array(distances, self._queries.weights)
        self._backend.blend(self._queries, self._columns, block, start, share)
        return as_given(block, distances)


def k_reciprocal(q, g, k1: int = 20, k2: int = 6, block_mib: float = 32, metric: str = "cosine") -> JaccardDistances:
    """Build the Jaccard distances of queries (Q, D) to gallery (G, D), arrays or tensors.

    Memory beside the union of the features: the neighbour lists (8 k1 bytes per item), the encodings (about 50 entries
    of 8 bytes per item at the usual k1 and k2), and one block.

    Args:
        metric: "cosine", which is Euclidean between unit rows, or "euclidean" between the features as they are. The
            weights are a softmax of squared distances: features whose distances are far above 1 give one neighbour
            all of it, as in fast-reid.

    Raises:
        ValueError: k1 or k2 below 1, an unknown metric, shapes that do not fit, or features with NaN.
    """
    require_choice("metric of k-reciprocal re-ranking", metric, METRICS)
    backend = _backend_for(q, g)
    queries = backend.as_array(q)
    gallery = backend.as_array(g, queries)
    if queries.ndim != 2 or gallery.ndim != 2 or queries.shape[1] != gallery.shape[1]:
        shapes = f"{tuple(queries.shape)} and {tuple(gallery.shape)}"
        raise ValueError(f"k-reciprocal re-ranking needs features (Q, D) and (G, D); got {shapes}")
    union = backend.concatenate([queries, gallery])
    if metric == "cosine":
        backend.to_unit_rows(union)
    encodings, count = encode_features(union, k1, k2, block_mib), len(queries)
    parts = encodings.part(slice(0, count)), encodings.part(slice(count, len(union)))
    return JaccardDistances(*parts, len(union), backend)


def pairwise_jaccard(features, k1: int = 20, k2: int = 6, block_mib: float = 32) -> JaccardDistances:
    """Build the Jaccard distances (N, N) among features (N, D)."""
    encodings = encode_features(features, k1, k2, block_mib)
    return JaccardDistances(encodings, encodings, len(encodings.starts) - 1, _backend_for(features))


def encode_features(features, k1: int, k2: int, block_mib: float = 32) -> Rows:
    """Return the encodings (N, N) of features (N, D); the neighbours of an item are the k1 nearest."""
    check_lists(k1, k2)
    backend = _backend_for(features)
    features = backend.as_array(features)
    lists, _ = topk(features, features, k1, "euclidean", block_mib=block_mib)
    lists = backend.as_lists(lists, features)
    return encode(backend, lists, k1, k2, lambda rows, items: backend.squared_distances(features, rows, items))


def encode(backend, lists, k1: int, k2: int, distances_of: Callable) -> Rows:
    """Return the encodings V (N, N), float32.

    Args:
        lists: int64 (N, k), the neighbours of each item, nearest first, no item twice.
        distances_of: ``f(rows (n,), items (n,)) -> float32 (n,)``, the distances whose softmax weighs a set.
    """
    if len(lists) and not 0 <= int(lists.min()) <= int(lists.max()) < len(lists):
        raise ValueError(f"neighbour lists of {len(lists)} items must hold rows 0..{len(lists) - 1}, without padding")
    return backend.encode(lists, k1, k2, distances_of)


def re_ranking(q_g_dist, q_q_dist, g_g_dist, k1: int = 20, k2: int = 6, lambda_value: float = 0.3) -> np.ndarray:
    """Re-rank from distances (Q, G), (Q, Q) and (G, G); float32 array (Q, G), smaller is nearer.

    Args:
        lambda_value: share l of the original distance (squared, over its largest) in
            ``(1 - l) * jaccard + l * original``.

    Raises:
        ValueError: k1 or k2 below 1, shapes that do not fit, or a NaN or infinite distance.
    """
    check_lists(k1, k2)
    backend = _backend_for(q_g_dist, q_q_dist, g_g_dist)
    q_g = backend.as_array(q_g_dist)
    union = UnionDistances(backend, q_g, backend.as_array(q_q_dist, q_g), backend.as_array(g_g_dist, q_g))
    queries, gallery = union.shape
    width = min(max(k1 + 1, k2), queries + gallery)
    if not queries or not gallery:
        return np.empty(union.shape, dtype=np.float32)
    lists = [backend.smallest(union.block(rows), width) for rows in union.blocks(queries + gallery)]
    encodings = encode(backend, backend.concatenate(lists), k1, k2, union.pairs)
    parts = encodings.part(slice(0, queries)), encodings.part(slice(queries, queries + gallery))
    jaccard = JaccardDistances(*parts, queries + gallery, backend)
    result = np.empty(union.shape, dtype=np.float32)
    for rows in union.blocks(queries):
        result[rows] = to_array(jaccard.blend(rows, union.block(rows)[:, queries:], lambda_value))
    return result


def check_lists(k1: int, k2: int) -> None:
    if k1 < 1 or k2 < 1:
        raise ValueError(f"k1 and k2 of k-reciprocal re-ranking must be at least 1; got k1={k1}, k2={k2}")


def _backend_for(*arrays):
    if _rerank_cpu is not None and not any(_on_gpu(x) for x in arrays):
        return _rerank_cpu
    from fastreid.retrieval import _rerank_torch

    return _rerank_torch


def _on_gpu(x) -> bool:
    return hasattr(x, "detach") and x.device.type != "cpu"
