"""Plain implementations to compare with: NumPy over full similarity tables, and the torch library calls alone.

They are written from the papers' formulas as one would without this package, and serve as the baseline of the ratios
and as a check of the results. ``table`` is a `data.Table`, or anything with its attributes.
"""

import numpy as np

from benchmarks.compare import DROPPED

TOPK_BLOCK = 4096  # gallery items


# ---- evaluation
def full_sort(table, rule: str = "all", block: int = 256) -> dict:
    """AP of every query: distances, argsort of the whole gallery, precision at the matches; float32."""
    q_pids, g_pids = table.q_columns["pids"], table.g_columns["pids"]
    ap = np.full(len(q_pids), DROPPED)
    for start in range(0, len(ap), block):
        distances = 1 - table.queries[start : start + block] @ table.gallery.T
        for row, order in enumerate(np.argsort(distances, axis=1), start=start):
            same = g_pids[order] == q_pids[row]
            if rule == "camera":
                same = same[~(same & (table.g_columns["camids"][order] == table.q_columns["camids"][row]))]
            ap[row] = average_precision(same)
    return {"ap": ap}


def average_precision(same: np.ndarray) -> float:
    """AP of a ranking, given as bool (n,): is the item a match?"""
    found = np.cumsum(same)[same]
    return float(np.mean(found / (np.flatnonzero(same) + 1))) if len(found) else DROPPED


def referee_ap(table, rule: str = "all", every: int = 50) -> dict:
    """As `full_sort` for every n-th query, from float64 cosines of the features as they are."""
    gallery, rows = unit64(table.gallery), np.arange(0, len(table.queries), every)
    ap = []
    for row, query in zip(rows, unit64(table.queries[rows]), strict=True):
        order = np.argsort(-(gallery @ query), kind="stable")
        same = (table.g_columns["pids"] == table.q_columns["pids"][row])[order]
        if rule == "camera":
            same = same[~(same & (table.g_columns["camids"] == table.q_columns["camids"][row])[order])]
        ap.append(average_precision(same))
    return {"ap": np.array(ap), "rows": rows}


def unit64(features: np.ndarray) -> np.ndarray:
    features = features.astype(np.float64)
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def gemm(table, dtype: str = "float32") -> dict:
    """The scores alone, in the blocks of our scan, into one buffer: the floor of whatever uses a library GEMM."""
    import torch

    from fastreid.retrieval import Search

    side = Search(table.queries[:1], table.gallery[:1]).scan().side
    queries, gallery = (torch.as_tensor(x).to(getattr(torch, dtype)) for x in (table.queries, table.gallery))
    buffer = torch.empty(side * side, dtype=queries.dtype, device=queries.device)
    for rows in queries.split(side):
        for items in gallery.split(side):
            block = buffer[: len(rows) * len(items)].view(len(rows), len(items))
            torch.mm(rows, items.T, out=block)
    return {}


# ---- top-k
def torch_topk(table, k: int = 100) -> dict:
    """Scores of gallery blocks, and a running top-k."""
    import torch

    queries, gallery = torch.as_tensor(table.queries), torch.as_tensor(table.gallery)
    best = torch.empty(len(queries), 0, device=queries.device)
    items = torch.empty(len(queries), 0, dtype=torch.int64, device=queries.device)
    for start in range(0, len(gallery), TOPK_BLOCK):
        block = gallery[start : start + TOPK_BLOCK]
        scores, rows = torch.topk(queries @ block.T, min(k, len(block)))
        best, items = torch.cat([best, scores], 1), torch.cat([items, rows + start], 1)
        best, kept = torch.topk(best, min(k, best.shape[1]))
        items = items.gather(1, kept)
    return {"indices": items}


def referee_topk(table, k: int = 100, every: int = 8) -> dict:
    """The exact lists of every n-th query, from float64 cosines."""
    gallery, rows = unit64(table.gallery), np.arange(0, len(table.queries), every)
    lists = [np.argsort(-(gallery @ query), kind="stable")[:k] for query in unit64(table.queries[rows])]
    return {"indices": np.array(lists), "rows": rows}


# ---- expansion
def joint_aqe(table, k: int = 10, alpha: float = 3.0) -> dict:
    """``x_i' = (1/k) sum_j cos(x_i, x_j)^alpha x_j`` over the k nearest of the union, by a full similarity table."""
    features = np.concatenate([table.queries, table.gallery])
    similarity = features @ features.T
    expanded = np.empty_like(features)
    for row, values in enumerate(similarity):
        nearest = np.argsort(-values)[:k]
        expanded[row] = values[nearest] ** alpha @ features[nearest] / k
    return {"features": expanded}


def dba(table, k: int = 10, alpha: float = 3.0) -> dict:
    """``g_i' = unit(g_i + sum_j cos(g_i, g_j)^alpha g_j)`` over the k nearest others, by a full similarity table."""
    gallery = table.gallery
    similarity = gallery @ gallery.T
    np.fill_diagonal(similarity, -np.inf)
    expanded = np.empty_like(gallery)
    for row, values in enumerate(similarity):
        nearest = np.argsort(-values)[:k]
        expanded[row] = gallery[row] + values[nearest] ** alpha @ gallery[nearest]
    return {"features": expanded / np.linalg.norm(expanded, axis=1, keepdims=True)}


# ---- re-ranking
def k_reciprocal(table, k1: int = 20, k2: int = 6, lambda_: float = 0.3) -> dict:
    """k-reciprocal re-ranking (Zhong et al., CVPR 2017) with dense (N, N) tables, lists of k1 items (self included).

    As in the paper's own program: dense encodings V, an index of the non-zero entries of each column, and a sum of
    minima per query. Returns the final distances (Q, G).
    """
    features = np.concatenate([table.queries, table.gallery])
    num_queries, count = len(table.queries), len(features)
    similarity = features @ features.T
    nearest = np.stack([first_items(row, k1) for row in similarity])
    encodings = encode(similarity, nearest, k1)
    averaged = np.stack([encodings[rows].mean(axis=0) for rows in nearest[:, :k2]])
    del encodings
    users = [np.flatnonzero(averaged[num_queries:, column]) for column in range(count)]
    gallery = averaged[num_queries:]
    distances = np.empty((num_queries, count - num_queries), dtype=np.float32)
    for query, row in enumerate(distances):
        shared = np.zeros(len(row), dtype=np.float32)
        for column in np.flatnonzero(averaged[query]):
            rows = users[column]
            shared[rows] += np.minimum(averaged[query, column], gallery[rows, column])
        row[:] = 1 - shared / (2 - shared)
    return {"distances": (1 - lambda_) * distances + lambda_ * (1 - similarity[:num_queries, num_queries:])}


def first_items(similarity: np.ndarray, k: int) -> np.ndarray:
    """The k largest of a row, largest first."""
    nearest = np.argpartition(-similarity, k)[:k] if k < len(similarity) else np.arange(len(similarity))
    return nearest[np.argsort(-similarity[nearest], kind="stable")]


def encode(similarity: np.ndarray, nearest: np.ndarray, k1: int) -> np.ndarray:
    """Dense encodings (N, N): Gaussian weights of the expanded k1-reciprocal neighbours, rows of sum 1."""
    full = reciprocal_sets(nearest, k1 + 1)
    half = reciprocal_sets(nearest, int(np.around(k1 / 2)) + 1)
    encodings = np.zeros_like(similarity)
    for item, members in enumerate(full):
        near = [half[c] for c in members if 3 * len(np.intersect1d(half[c], members)) > 2 * len(half[c])]
        expanded = np.unique(np.concatenate([members, *near]))
        weights = np.exp(2 * similarity[item, expanded] - 2)  # exp(-squared distance) of unit features
        encodings[item, expanded] = weights / weights.sum()
    return encodings


def reciprocal_sets(nearest: np.ndarray, k: int) -> list[np.ndarray]:
    """Per item, the members of its first k that have it among their own first k."""
    lists = nearest[:, :k]
    return [row[(lists[row] == item).any(axis=1)] for item, row in enumerate(lists)]
