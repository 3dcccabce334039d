"""Slow, obvious versions of what the retrieval core computes, and tables to try them on."""

import numpy as np


def whole_numbers(rng, count, dim=4, high=3):
    """Small integer features: squared Euclidean distances are exact in float32, and many are tied."""
    return rng.integers(0, high, (count, dim)).astype(np.float32)


def ids(rng, count, num_ids=4, num_cameras=3):
    return {"pids": rng.integers(0, num_ids, count), "camids": rng.integers(0, num_cameras, count)}


def camera_mask(q, g):
    return np.array(
        [
            [not (qp == gp and qc == gc) for gp, gc in zip(g["pids"], g["camids"], strict=True)]
            for qp, qc in zip(q["pids"], q["camids"], strict=True)
        ]
    ).reshape(len(q["pids"]), len(g["pids"]))


def full_distances(q, g, metric):
    q, g = q.astype(np.float64), g.astype(np.float64)
    if metric == "euclidean":
        return ((q[:, None] - g[None]) ** 2).sum(-1)
    q, g = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in (q, g))
    return 1 - q @ g.T


def ranking(row, mask):
    """Permitted items by (distance, gallery row)."""
    return sorted(np.flatnonzero(mask), key=lambda item: (row[item], item))


def evaluate(distances, q, g, mask, max_rank):
    """Per query with a match: ap, inp, ap10_min, ap10_R, first hit; and the CMC."""
    rows, values, curves = [], [], []
    for i, row in enumerate(distances):
        hits = [g["pids"][item] == q["pids"][i] for item in ranking(row, mask[i])]
        if not any(hits):
            continue
        relevant, found, total, ten, last = sum(hits), 0, 0.0, 0.0, 0
        for rank, hit in enumerate(hits, start=1):
            if hit:
                found, last = found + 1, rank
                total += found / rank
                ten += found / rank if rank <= 10 else 0
        first = hits.index(True) + 1
        rows.append(i)
        values.append((total / relevant, relevant / last, ten / min(relevant, 10), ten / relevant, first))
        curves.append([float(first <= k) for k in range(1, max_rank + 1)])
    return np.array(rows), np.array(values), np.mean(curves, axis=0)


def joint_aqe(q, g, k, alpha, times):
    features = np.concatenate([q, g]).astype(np.float64)
    for _ in range(times):
        similarity = 1 - full_distances(features, features, "cosine")
        new = []
        for row in similarity:
            nearest = np.argsort(-row, kind="stable")[:k]
            weights = row[nearest] if float(alpha).is_integer() else np.maximum(row[nearest], 0)
            new.append((weights[:, None] ** alpha * features[nearest]).mean(axis=0))
        features = np.array(new)
    return features[: len(q)], features[len(q) :]


def reciprocal(ranks, item, k):
    return [other for other in ranks[item][:k] if item in ranks[other][:k]]


def jaccard(distances, ranks, k1, k2):
    """Dense k-reciprocal Jaccard distances (N, N) by loops; ``distances`` give the weights of a set."""
    count = len(ranks)
    codes = np.zeros((count, count))
    for i in range(count):
        base = set(reciprocal(ranks, i, k1 + 1))
        wide = set(base)
        for c in base:
            half = set(reciprocal(ranks, c, int(np.around(k1 / 2)) + 1))
            if 3 * len(half & base) > 2 * len(half):
                wide |= half
        for j in wide:
            codes[i, j] = np.exp(-distances[i, j])
        if wide:
            codes[i] /= codes[i].sum()
    if k2 > 1:
        codes = np.array([codes[list(ranks[i][:k2])].mean(axis=0) for i in range(count)])
    result = np.zeros((count, count))
    for i in range(count):
        for j in range(count):
            shared = np.minimum(codes[i], codes[j]).sum()
            result[i, j] = max(0, 1 - shared / (2 - shared))
    return result


def hits_of(distances, relevant, mask, ties=None):
    """The list that a user reads, as booleans: is the item at each rank a match? Permitted items only.

    ``ties``: equal distances go by gallery row, or matches first ("optimistic"), or last ("pessimistic").
    """
    turn = {None: 0, "optimistic": -1, "pessimistic": 1}[ties]
    order = sorted(np.flatnonzero(mask), key=lambda item: (distances[item], turn * int(relevant[item]), item))
    return [bool(relevant[item]) for item in order]


def query_metrics(hits, k, max_bin_count):
    """Every metric of one query with a match, by its name, from the list of its hits; ``k`` cuts."""

    def precision_sum(end):
        return sum(sum(hits[: rank + 1]) / (rank + 1) for rank in range(min(end, len(hits))) if hits[rank])

    total, first = sum(hits), hits.index(True) + 1
    last = len(hits) - hits[::-1].index(True)
    found, binned = sum(hits[:k]), sum(hits[:max_bin_count])
    return {
        "AP": precision_sum(len(hits)) / total,
        f"AP@{k}_min": precision_sum(k) / min(total, k),
        f"AP@{k}_R": precision_sum(k) / total,
        f"AP@{k}_hits": precision_sum(k) / found if found else 0.0,
        "AP@max_bin_count": precision_sum(max_bin_count) / total,
        "AP@max_bin_count_hits": precision_sum(max_bin_count) / binned if binned else 0.0,
        f"hit@{k}": float(any(hits[:k])),
        f"recall@{k}": found / total,
        f"capped_recall@{k}": found / min(k, total),
        f"precision@{k}": found / k,
        "MRR": 1 / first,
        f"MRR@{k}": 1 / first if first <= k else 0.0,
        "INP": total / last,
        "R-precision": sum(hits[:total]) / total,
    }


def gain(q, g, query, item, gains):
    """Largest gain of the columns in which two items agree; an unknown value ("" or -1) agrees with nothing."""
    agreeing = [0.0]
    for column, worth in gains.items():
        value = q[column][query]
        if value == g[column][item] and value not in ("", -1):
            agreeing.append(worth)
    return max(agreeing)


def ndcg(gains_in_order, k):
    """nDCG@k of one query from the gains of ALL its permitted items, in the order of the ranking."""

    def dcg(gains):
        return sum(worth / np.log2(rank + 1) for rank, worth in enumerate(gains[:k], start=1))

    ideal = dcg(sorted(gains_in_order, reverse=True))
    return dcg(gains_in_order) / ideal if ideal else 0.0
