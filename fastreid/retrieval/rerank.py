"""k-reciprocal re-ranking (Zhong et al., CVPR 2017) with sparse rows instead of (N, N) tables.

Over the union of N = Q + G features: the k-reciprocal neighbours of an item, widened by the neighbours of
those, become its sparse encoding; encodings are averaged over the k2 nearest; the Jaccard distance of two
encodings is ``1 - S / (2 - S)`` with ``S = sum_c min(V_ic, V_jc)``. Two variants exist, as in fast-reid, and
differ by up to 0.13:

* `k_reciprocal` starts from features: what fast-reid's evaluator runs. Lists have k1 entries, weights are a
  softmax.
* `re_ranking` starts from the three distance matrices, as the paper's code. Lists have k1 + 1 entries, and
  distances are squared and divided by their largest value.
"""

from collections.abc import Callable

import numpy as np

from fastreid.retrieval.distance import as_features
from fastreid.retrieval.topk import nearest_items, topk


class JaccardDistances:
    """Jaccard distances from queries to gallery items, read by blocks of query rows.

    Args:
        queries, gallery: encodings, scipy.sparse CSR (Q, N) and (G, N), non-negative, rows of sum 1.
    """

    def __init__(self, queries, gallery):
        self.queries, self.gallery = queries, gallery.tocsc()

    def __call__(self, rows: slice) -> np.ndarray:
        """Return float32 (b, G)."""
        jaccard = np.empty((rows.stop - rows.start, self.gallery.shape[0]), dtype=np.float32)
        for row, query in zip(jaccard, range(rows.start, rows.stop), strict=True):
            shared = self._overlap(query)
            row[:] = np.maximum(1 - shared / (2 - shared), 0)
        return jaccard

    def _overlap(self, query: int) -> np.ndarray:
        """``sum_c min(V_query,c, V_j,c)`` for every gallery item j, by way of the columns c of the query."""
        entries = slice(*self.queries.indptr[query : query + 2])
        parts = []
        for column, weight in zip(self.queries.indices[entries], self.queries.data[entries], strict=True):
            others = slice(*self.gallery.indptr[column : column + 2])
            parts.append((self.gallery.indices[others], np.minimum(self.gallery.data[others], weight)))
        if not parts:
            return np.zeros(self.gallery.shape[0])
        items, weights = (np.concatenate(part) for part in zip(*parts, strict=True))
        return np.bincount(items, weights, minlength=self.gallery.shape[0])


def k_reciprocal(q, g, k1: int = 20, k2: int = 6, block_mib: float = 256) -> JaccardDistances:
    """Build the Jaccard distances of queries (Q, D) to gallery (G, D); neighbours by Euclidean distance.

    Normalise the features first when cosine is meant. Memory: about k1 * k2 entries per item, and one block.
    """
    queries, gallery = as_features(q, "queries"), as_features(g, "gallery")
    encodings = encode_features(np.concatenate([queries, gallery]), k1, k2, block_mib)
    return JaccardDistances(encodings[: len(queries)], encodings[len(queries) :])


def encode_features(features: np.ndarray, k1: int, k2: int, block_mib: float = 256):
    """Return the encodings of features (N, D), CSR float32 (N, N).

    The weights of a set are the softmax of minus the squared distances.
    """
    check_lists(k1, k2)
    neighbours, _ = topk(features, features, k1, "euclidean", block_mib=block_mib)

    def weights_of(item: int, others: np.ndarray) -> np.ndarray:
        distances = ((features[others] - features[item]) ** 2).sum(axis=1)
        return np.exp(distances.min() - distances)

    return encode(neighbours, k1, k2, weights_of)


def re_ranking(
    q_g_dist, q_q_dist, g_g_dist, k1: int = 20, k2: int = 6, lambda_value: float = 0.3
) -> np.ndarray:
    """Re-rank from distances (Q, G), (Q, Q) and (G, G); float32 (Q, G), smaller is nearer.

    Args:
        lambda_value: share l of the original distance (squared, over its largest) in
            ``(1 - l) * jaccard + l * original``.
    """
    check_lists(k1, k2)
    q_g, q_q, g_g = (np.asarray(d, dtype=np.float32) for d in (q_g_dist, q_q_dist, g_g_dist))
    num_queries, num_gallery = q_g.shape
    if q_q.shape != (num_queries, num_queries) or g_g.shape != (num_gallery, num_gallery):
        shapes = f"{q_g.shape}, {q_q.shape}, {g_g.shape}"
        raise ValueError(f"re_ranking needs distances (Q, G), (Q, Q) and (G, G); got {shapes}")

    def scaled(item: int) -> np.ndarray:
        """Squared distances from one item to all N, over the largest."""
        if item < num_queries:
            row = np.concatenate([q_q[item], q_g[item]]) ** 2
        else:
            row = np.concatenate([q_g[:, item - num_queries], g_g[item - num_queries]]) ** 2
        return row / max(row.max(), np.finfo(np.float32).tiny)

    count = num_queries + num_gallery
    neighbours = np.stack([nearest_items(scaled(item), min(k1 + 1, count)) for item in range(count)])
    encodings = encode(neighbours, k1, k2, lambda item, others: np.exp(-scaled(item)[others]))
    jaccard = JaccardDistances(encodings[:num_queries], encodings[num_queries:])(slice(0, num_queries))
    original = np.stack([scaled(item)[num_queries:] for item in range(num_queries)])
    return (1 - lambda_value) * jaccard + lambda_value * original


def check_lists(k1: int, k2: int) -> None:
    if k1 < 1 or k2 < 1:
        raise ValueError(f"k1 and k2 of k-reciprocal re-ranking must be at least 1; got k1={k1}, k2={k2}")


def encode(neighbours: np.ndarray, k1: int, k2: int, weights_of: Callable[[int, np.ndarray], np.ndarray]):
    """Return the encodings V, CSR float32 (N, N).

    Args:
        neighbours: int64 (N, k), nearest first.
        weights_of: ``f(item, others) -> weights (len(others),)``, before division by their sum.
    """
    from scipy.sparse import csr_matrix

    sets = expanded_sets(neighbours, k1)
    values = []
    for item in range(len(neighbours)):
        weights = weights_of(item, others) if len(others := _entries(sets, item)) else np.zeros(0)
        values.append(weights / max(weights.sum(), np.finfo(np.float32).tiny))
    encodings = csr_matrix(
        (np.concatenate(values).astype(np.float32), sets.indices, sets.indptr), shape=sets.shape
    )
    if k2 == 1:
        return encodings
    nearest = membership(neighbours[:, :k2])
    return (nearest.astype(np.float32) / nearest.sum(axis=1).max()).tocsr() @ encodings


def expanded_sets(neighbours: np.ndarray, k1: int):
    """Return the expanded k1-reciprocal neighbours R*, CSR (N, N), non-zero where an item belongs.

    R* is R and, for each member c of R, the k1/2-reciprocal neighbours of c when over two thirds are in R.
    """
    reciprocal = reciprocal_sets(neighbours[:, : k1 + 1])
    halves = reciprocal_sets(neighbours[:, : int(np.around(k1 / 2)) + 1])
    accepted = (reciprocal @ halves.T).multiply(reciprocal).tocsr()
    half_sizes = np.asarray(halves.sum(axis=1)).ravel()
    accepted.data = (3 * accepted.data > 2 * half_sizes[accepted.indices]).astype(np.int32)
    accepted.eliminate_zeros()
    sets = (reciprocal + accepted @ halves).tocsr()
    sets.sort_indices()
    return sets


def reciprocal_sets(neighbours: np.ndarray):
    """Return CSR (N, N): 1 where each of two items is in the other's list."""
    lists = membership(neighbours)
    return lists.multiply(lists.T).tocsr()


def membership(neighbours: np.ndarray):
    """Return CSR int32 (N, N): 1 where an item is in a row's list (N, k)."""
    from scipy.sparse import csr_matrix

    count, k = neighbours.shape
    ones = np.ones(neighbours.size, dtype=np.int32)
    return csr_matrix((ones, neighbours.ravel(), np.arange(count + 1) * k), shape=(count, count))


def _entries(rows, item: int) -> np.ndarray:
    return rows.indices[rows.indptr[item] : rows.indptr[item + 1]]
