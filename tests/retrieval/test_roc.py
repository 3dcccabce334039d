import tracemalloc

import numpy as np
import pytest

from fastreid.retrieval import Search, order_statistics, roc
from fastreid.retrieval.roc import pair_scores, tpr_at_fpr
from tests.retrieval import reference

FPRS = (0.0, 1e-2, 0.1, 0.29, 0.5, 1.0)


def naive(genuine, impostors, fpr):
    """Largest true positive rate over all thresholds whose false positive rate is at most ``fpr``."""
    best = 0.0
    for threshold in [-np.inf, *genuine, *impostors]:
        if np.mean(impostors <= threshold) <= fpr:
            best = max(best, np.mean(genuine <= threshold))
    return best


def problem(seed, rule, tied):
    rng = np.random.default_rng(seed)
    make = reference.whole_numbers if tied else lambda rng, count: rng.normal(size=(count, 6)).astype(np.float32)
    q, g = make(rng, 12), make(rng, 30)
    columns = reference.ids(rng, 12), reference.ids(rng, 30)
    for side in columns:
        side["dates"] = rng.integers(20180102, 20180106, len(side["pids"]))
    mask = np.ones((12, 30), dtype=bool)
    if "camera" in rule:
        mask &= reference.camera_mask(*columns)
    if "granted_before" in rule:
        mask &= columns[1]["dates"] < columns[0]["dates"][:, None]
    return q, g, columns, mask, columns[0]["pids"][:, None] == columns[1]["pids"]


@pytest.mark.parametrize("block_mib", [1e-3, 32])
@pytest.mark.parametrize("rule", ["camera", "all", "granted_before", "camera+granted_before"])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_equals_trying_every_threshold(metric, rule, block_mib, monkeypatch):
    for seed in range(3):
        tied = metric == "euclidean" and seed < 2
        q, g, columns, mask, same = problem(seed, rule, tied)
        distances = reference.full_distances(q, g, metric)
        monkeypatch.setattr(order_statistics, "KEPT_VALUES", [2, 1 << 20][seed % 2])
        monkeypatch.setattr(roc, "CHUNK_PAIRS", [7, 1 << 18][seed % 2])
        monkeypatch.setattr(roc, "SAME_PAIRS", [3, 1 << 18][seed % 2])
        rates = tpr_at_fpr(Search(q, g, *columns, metric, rule, block_mib), FPRS)
        want = {fpr: naive(distances[same & mask], distances[~same & mask], fpr) for fpr in FPRS}
        assert rates == pytest.approx(want)


def test_a_re_ranked_search_is_judged_by_its_new_distances():
    q, g, columns, mask, same = problem(0, "camera", False)
    new = np.random.default_rng(1).random((12, 30))
    for distances in (new, new.astype(np.float32), np.round(4 * new)):
        search = Search(q, g, *columns, "cosine", "camera", rescore=lambda rows, _, new=distances: new[rows])
        want = {fpr: naive(distances[same & mask], distances[~same & mask], fpr) for fpr in FPRS}
        assert tpr_at_fpr(search, FPRS) == pytest.approx(want)


@pytest.mark.parametrize("kind", ["text", "object", "number"])
@pytest.mark.parametrize("block_mib", [1e-3, 32])
@pytest.mark.parametrize("reranked", [False, True])
def test_another_column_says_what_is_the_same_and_unknown_queries_take_no_part(kind, block_mib, reranked):
    for seed in (0, 3):
        q, g, columns, mask, _ = problem(seed, "granted_before", seed == 0)
        rng, values = np.random.default_rng(seed), np.array(["14-04", "14-02", ""])
        codes = [rng.integers(0, 3, len(side)) for side in (q, g)]
        if seed == 3:
            codes[0][:-1] = 2  # whole blocks of unknown queries
        same = (codes[0][:, None] == codes[1]) & (codes[0] < 2)[:, None]
        counted = mask & (codes[0] < 2)[:, None]
        labels = [{"number": np.where(c == 2, -1, c), "text": values[c], "object": values[c].astype(object)}[kind]
                  for c in codes]  # fmt: skip
        columns = [{**side, "subclass": label} for side, label in zip(columns, labels, strict=True)]
        distances = reference.full_distances(q, g, "cosine")
        rescore = (lambda rows, _, given=distances: given[rows]) if reranked else None
        search = Search(q, g, *columns, "cosine", "granted_before", block_mib, rescore)
        want = {fpr: naive(distances[same & counted], distances[~same & counted], fpr) for fpr in FPRS}
        assert tpr_at_fpr(search, FPRS, "subclass") == pytest.approx(want)


def test_differences_below_float32_decide():
    """The genuine pair is nearer than the impostor by 1e-9, which float32 cannot see."""
    g = np.array([[1, 1e-3], [1, 1e-3 + 1e-6]])
    columns = {"pids": [1]}, {"pids": [1, 0]}
    assert tpr_at_fpr(Search([[1.0, 0.0]], g, *columns), [0.0]) == {0.0: 1.0}
    assert tpr_at_fpr(Search([[1.0, 0.0]], g[::-1].copy(), *columns), [0.0]) == {0.0: 0.0}


def test_memory_does_not_grow_with_the_table():
    rng = np.random.default_rng(0)
    q, g = rng.normal(size=(600, 8)).astype(np.float32), rng.normal(size=(20_000, 8)).astype(np.float32)
    search = Search(q, g, {"pids": rng.integers(0, 4000, 600)}, {"pids": rng.integers(0, 4000, 20_000)})
    tpr_at_fpr(Search(q[:9], g, {"pids": search.q_columns["pids"][:9]}, search.g_columns), [0.5])  # imports
    tracemalloc.start()
    tpr_at_fpr(search)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40 * 2**20, "12 million pairs take 48 MB as float32"


def test_perfect_separation_is_one_at_every_rate():
    """fast-reid reports 0 here: it labels genuine pairs 0 and takes the first point of the curve."""
    q = np.eye(3)
    columns = {"pids": np.arange(3)}, {"pids": np.arange(3)}
    assert set(tpr_at_fpr(Search(q, q, *columns)).values()) == {1.0}


def test_first_impostor_that_must_stay_out_is_remembered():
    """1 % of 1098 impostors is 10, and so is 1 % of all 1099 pairs: the eleventh decides."""
    distances = np.r_[np.arange(1098), 5000.0][:, None]
    search = Search(
        np.zeros((1, 1)), np.sqrt(distances), {"pids": [1]}, {"pids": np.r_[np.zeros(1098), 1]}, "euclidean"
    )
    assert tpr_at_fpr(search, [1e-2]) == {1e-2: 0.0}
    assert tpr_at_fpr(search, [1.0]) == {1.0: 1.0}


def test_a_share_that_rounding_puts_below_a_whole_number():
    """0.29 x 100 is 28.999999999999996, but 29 of 100 are no more than the share 0.29."""
    distances = np.r_[np.arange(100), 28.5][:, None]
    search = Search(np.zeros((1, 1)), np.sqrt(distances), {"pids": [1]}, {"pids": np.r_[np.zeros(100), 1]}, "euclidean")
    assert tpr_at_fpr(search, [0.28, 0.29]) == {0.28: 0.0, 0.29: 1.0}


def test_pairs_of_one_kind_only_are_refused():
    columns = {"pids": np.zeros(2)}, {"pids": np.zeros(2)}
    with pytest.raises(ValueError, match="pairs of both kinds; got 4 same, 0 different"):
        tpr_at_fpr(Search(np.eye(2), np.eye(2), *columns))
    with pytest.raises(ValueError, match=r"false positive rate \(fprs\) must lie in 0..1; got 2"):
        tpr_at_fpr(Search(np.eye(2), np.eye(2), *columns), [2])


def test_pair_scores_put_same_ids_first_without_same_camera_pairs():
    columns = {"pids": [1], "camids": [0]}, {"pids": [1, 1, 2], "camids": [0, 1, 0]}
    scores, labels = pair_scores([[0.1, 0.2, 0.3]], *columns)
    assert (scores.tolist(), labels.tolist()) == ([0.2, 0.3], [0, 1])
    with pytest.raises(ValueError, match=r"shape \(1, 3\), queries by gallery; got \(1, 2\)"):
        pair_scores([[0.1, 0.2]], *columns)
