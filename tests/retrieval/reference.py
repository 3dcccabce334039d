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


def fixed_order_sum(products):
    """Sum the last axis as the definition of the exact score does: 16 running sums, then these from first to last."""
    lanes = np.zeros((*products.shape[:-1], 16))
    for start in range(0, products.shape[-1], 16):
        part = products[..., start : start + 16]
        lanes[..., : part.shape[-1]] += part
    total = np.zeros(products.shape[:-1])
    for lane in range(16):
        total = total + lanes[..., lane]
    return total


def exact_scores(q, g, metric):
    """The definition: float64 (Q, G), the cosine or minus the squared distance; a zero row has cosine 0."""
    q, g = np.asarray(q, dtype=np.float64), np.asarray(g, dtype=np.float64)
    if metric == "euclidean":
        return -fixed_order_sum((q[:, None] - g[None]) ** 2)
    lengths = [np.sqrt(fixed_order_sum(x * x)) for x in (q, g)]
    product = lengths[0][:, None] * lengths[1][None]
    return np.divide(fixed_order_sum(q[:, None] * g[None]), product, out=np.zeros(product.shape), where=product > 0)


def columns_of(rng, count):
    """Columns for every rule; unknown are a date of 0, a Locarno code of "" and a "series" of -1."""
    return {
        "pids": rng.integers(0, 5, count),
        "camids": rng.integers(0, 2, count),
        "dates": rng.choice([0, 20180109, 20180110, 20190507, 20200101], count),
        "taxonomy": rng.choice(["", "14-04", "14-02", "06-01"], count),
        "views": rng.choice(["", "front", "rear", "left", "right"], count),
        "series": rng.integers(-1, 3, count),
    }


def permitted_pairs(rule, q, g):
    """Bool (Q, G): what the rules joined by "+" in ``rule`` permit, said again."""
    pairs = {name: (q[name][:, None], g[name][None]) for name in q}
    klass = [np.array([code[:2] for code in side["taxonomy"]], dtype="U2") for side in (q, g)]
    (query, item), same_pid = pairs["dates"], pairs["pids"][0] == pairs["pids"][1]
    masks = {
        "all": np.ones(query.shape[:1] + item.shape[1:], dtype=bool),
        "camera": ~(same_pid & (pairs["camids"][0] == pairs["camids"][1])),
        "other_patent": ~same_pid,
        "no_opposite_view": ~same_pid
        | ~np.isin(np.char.add(*pairs["views"]), ["frontrear", "rearfront", "leftright", "rightleft"]),
        "granted_before": (item > 0) & (item < query),
        "same_class": (klass[0][:, None] == klass[1][None]) & (klass[1] != "")[None],
    }
    return np.logical_and.reduce([masks[name] for name in rule.split("+")])


def ranks_by_sorting(scores, relevant, mask, ties=None):
    """Counts (Q,) of the matches and their ranks, query after query, from whole sorted rows."""
    hits = [hits_of(-row, match, permitted, ties) for row, match, permitted in zip(scores, relevant, mask, strict=True)]
    return np.array([sum(row) for row in hits]), np.concatenate([np.flatnonzero(row) + 1 for row in hits])


def best_by_sorting(scores, mask, k):
    """Gallery rows (Q, min(k, G)) padded with -1 and their scores padded with -inf, from whole sorted rows."""
    items = np.full((len(scores), min(k, scores.shape[1])), -1)
    values = np.full(items.shape, -np.inf)
    for i, row in enumerate(scores):
        best = ranking(-row, mask[i])[:k]
        items[i, : len(best)], values[i, : len(best)] = best, row[best]
    return items, values


FEATURES = ("normal", "whole", "repeated", "common", "zeros", "tiny", "huge", "collapsed", "mixed")
ROUNDED = ("collapsed", "mixed")  # the last bit of a float64 sum decides between items


def features_of(rng, kind, count, dim):
    """Features of a kind that is difficult for a scan, float64 (count, dim)."""
    x = rng.normal(size=(count, dim))
    if kind in ("whole", "tiny", "huge"):  # powers of two: ties stay exact, and the lengths vary with the row
        scale = {"whole": 1.0, "tiny": 2.0**-66, "huge": 2.0**50}[kind]
        return rng.integers(-1, 2, (count, dim)) * scale
    if kind == "repeated":
        return x[rng.integers(0, max(1, count // 3), count)]
    if kind == "common":
        return x + 30.0
    if kind == "zeros":
        return x * (rng.random((count, 1)) < 0.7)
    if kind == "collapsed":
        return 1 + 1e-7 * x
    return x * 10.0 ** rng.integers(-20, 15, (count, 1)) if kind == "mixed" else x
