import subprocess
import sys

import numpy as np
import pytest
import torch

from fastreid.retrieval import backends, counting, evaluate, scan, sides, topk
from tests.retrieval import reference

RULES = ["all", "camera", "granted_before", "same_class", "camera+granted_before", "camera+same_class+granted_before"]
RULES += ["no_opposite_view", "camera+no_opposite_view"]
BLOCKS = [1e-6, 4e-3, 4e-3, 0.02, 0.02, 1, 32]
BACKENDS = ["torch", *["compiled"] * backends.HAS_CYTHON]


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def any_way(monkeypatch, threads):
    """Make the next scans go by a backend, a precision and a number of threads, however small they are."""

    def choose(rng, ways=BACKENDS):
        way, precision = rng.choice(ways), rng.choice(scan.PRECISIONS)
        monkeypatch.setattr(backends, "HAS_CYTHON", way == "compiled")
        monkeypatch.setattr(sides, "HAS_CYTHON", way == "compiled")
        monkeypatch.setenv("FASTREID_SCAN", precision)
        threads(int(rng.integers(1, 3)))
        return way, precision

    monkeypatch.setattr(scan, "LOW_PRECISION_PAIRS", 1)
    monkeypatch.setattr(scan, "has_fast_bfloat16", lambda: True)
    monkeypatch.setattr(scan, "PROBE_ROWS", 2)
    monkeypatch.setattr(scan, "FEWEST_ROWS", 2)
    monkeypatch.setattr(sides, "over_rows", over_few_rows := _over_few_rows)
    if backends.HAS_CYTHON:
        from fastreid.retrieval import backend_compiled

        monkeypatch.setattr(backend_compiled, "over_rows", over_few_rows)
    return choose


def _over_few_rows(work, count, smallest=1):
    from fastreid.retrieval import threads as module

    return module.over_rows(work, count, 1)


def random_table(rng, kind):
    num_queries, num_gallery = int(rng.integers(1, 14)), int(rng.choice([1, 2, 9, 40, 131]))
    dim = int(rng.choice([1, 3, 16, 37]))
    both = reference.features_of(rng, kind, num_queries + num_gallery, dim)
    both = both.astype(rng.choice([np.float32, np.float64]))
    columns = reference.columns_of(rng, num_queries), reference.columns_of(rng, num_gallery)
    return both[:num_queries], both[num_queries:], *columns


def relevance_of(q, g, column):
    known = (q[column] != -1) if column == "series" else np.ones(len(q[column]), dtype=bool)
    return (q[column][:, None] == g[column][None]) & known[:, None]


def check_table(rng, kind, choose):
    """One random table, evaluated and searched in three ways, against whole rows sorted by the definition."""
    (q, g, qc, gc), metric = random_table(rng, kind), str(rng.choice(["cosine", "euclidean"]))
    rule, column = str(rng.choice(RULES)), str(rng.choice(["pids", "series"]))
    ways = BACKENDS if kind not in reference.ROUNDED else BACKENDS[1:]
    scores, mask = reference.exact_scores(q, g, metric), reference.permitted_pairs(rule, qc, gc)
    relevant, k = relevance_of(qc, gc, column), int(rng.choice([1, 3, 10, 200]))
    want, best = reference.ranks_by_sorting(scores, relevant, mask), reference.best_by_sorting(scores, mask, k)
    bounds = [reference.ranks_by_sorting(scores, relevant, mask, side)[1] for side in ("optimistic", "pessimistic")]
    for _ in range(3 if ways else 0):
        way, block_mib = choose(rng, ways), float(rng.choice(BLOCKS))
        what = f"{kind} {q.dtype} {q.shape} x {g.shape} {metric} {rule} {column} {way} {block_mib}"
        items, distances = topk(q, g, k, metric, rule, qc, gc, block_mib)
        np.testing.assert_array_equal(items, best[0], err_msg=what)
        far = -best[1] if metric == "euclidean" else 1 - best[1]
        np.testing.assert_allclose(
            distances, far.astype(np.float32), *([1e-6, 1e-15] if way[0] == "torch" else [0]), err_msg=what
        )
        if not len(want[1]):
            with pytest.raises(ValueError, match=r"none of the \d+ queries has a match"):
                evaluate(q, g, qc, gc, metric, rule, 10, block_mib, relevance=column)
            continue
        found = evaluate(q, g, qc, gc, metric, rule, 10, block_mib, relevance=column, ties=True)
        for name, expected in zip(("counts", "ranks", "optimistic", "pessimistic"), (*want, *bounds), strict=True):
            np.testing.assert_array_equal(getattr(found, name), expected, err_msg=f"{name} {what}")


@pytest.mark.parametrize("kind", reference.FEATURES)
def test_random_tables_rank_as_their_whole_rows_sorted(kind, any_way):
    rng = np.random.default_rng(reference.FEATURES.index(kind))
    for _ in range(40):
        check_table(rng, kind, any_way)


def test_every_metric_is_that_of_a_user_reading_the_sorted_list():
    rng = np.random.default_rng(1)
    for _ in range(60):
        q, g, qc, gc = random_table(rng, "whole")
        mask, relevant = reference.permitted_pairs("camera", qc, gc), relevance_of(qc, gc, "pids")
        hits = [
            reference.hits_of(-row, match, free)
            for row, match, free in zip(reference.exact_scores(q, g, "euclidean"), relevant, mask, strict=True)
        ]
        kept, k = [i for i, row in enumerate(hits) if any(row)], int(rng.integers(1, 20))
        if not kept:
            continue
        found = evaluate(q, g, qc, gc, "euclidean", "camera", 10, ties=True)
        want = [reference.query_metrics(hits[i], k, relevant.sum(axis=1).max()) for i in kept]
        for name in want[0]:
            np.testing.assert_allclose(found.values(name), [row[name] for row in want], rtol=1e-12, err_msg=name)
        assert found.rows.tolist() == kept
        assert found.dropped == len(q) - len(kept)
        curve = [np.mean([any(hits[i][: rank + 1]) for i in kept]) for rank in range(min(10, len(g)))]
        np.testing.assert_allclose(found.cmc, curve, rtol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_lists_for_gains_come_out_of_the_same_pass(backend, precision, monkeypatch):
    rng = np.random.default_rng(2)
    monkeypatch.setattr(backends, "HAS_CYTHON", backend == "compiled")
    monkeypatch.setenv("FASTREID_SCAN", precision)
    for _ in range(10):
        q, g, qc, gc = random_table(rng, "whole")
        gains = {"pids": 3.0, "series": 1.0}
        mask = reference.permitted_pairs("camera", qc, gc)
        if not (relevance_of(qc, gc, "pids") & mask).any():
            continue
        found = evaluate(q, g, qc, gc, "cosine", "camera", gains=gains)
        rows = reference.exact_scores(q, g, "cosine")
        want = [
            reference.ndcg(
                [reference.gain(qc, gc, i, item, gains) for item in reference.ranking(-rows[i], mask[i])], 10
            )
            for i in found.rows
        ]
        np.testing.assert_allclose(found.values("nDCG@10"), want, rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_tensors_rank_as_the_numbers_they_hold(dtype):
    rng = np.random.default_rng(3)
    q, g = (torch.from_numpy(rng.normal(size=(n, 20))).to(dtype).requires_grad_() for n in (11, 90))
    qc, gc = reference.columns_of(rng, 11), reference.columns_of(rng, 90)
    exact = (q.detach().double().numpy(), g.detach().double().numpy())
    for metric in ("cosine", "euclidean"):
        found = evaluate(q, g, qc, gc, metric, "all")
        scores, every = reference.exact_scores(*exact, metric), np.ones((11, 90), dtype=bool)
        np.testing.assert_array_equal(
            found.ranks, reference.ranks_by_sorting(scores, relevance_of(qc, gc, "pids"), every)[1]
        )
        items, distances = topk(q, g, 7, metric)
        assert isinstance(items, torch.Tensor)
        np.testing.assert_array_equal(items.numpy(), reference.best_by_sorting(scores, every, 7)[0])
        assert distances.dtype == torch.float32


def test_sides_of_two_precisions_are_both_read_in_the_finer_one():
    rng = np.random.default_rng(4)
    q, g = rng.normal(size=(9, 5)), rng.normal(size=(50, 5)).astype(np.float32)
    want = reference.best_by_sorting(reference.exact_scores(q, g, "cosine"), np.ones((9, 50), dtype=bool), 5)[0]
    np.testing.assert_array_equal(topk(q, g, 5)[0], want)
    np.testing.assert_array_equal(topk(q, torch.from_numpy(g), 5)[0], want)


def test_few_matches_at_a_time_change_nothing(monkeypatch):
    rng = np.random.default_rng(5)
    q, g, qc, gc = rng.normal(size=(30, 4)), rng.normal(size=(80, 4)), *map(reference.columns_of, [rng, rng], [30, 80])
    want = evaluate(q, g, qc, gc, "cosine", "granted_before")
    monkeypatch.setattr(counting, "MOST_MATCHES", 3)
    np.testing.assert_array_equal(evaluate(q, g, qc, gc, "cosine", "granted_before").ranks, want.ranks)


def test_average_precision_is_that_of_scikit_learn():
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    q, g = rng.normal(size=(20, 8)), rng.normal(size=(90, 8))
    qc, gc = reference.ids(rng, 20), reference.ids(rng, 90)
    metrics, mask = evaluate(q, g, qc, gc, "cosine", "camera"), reference.camera_mask(qc, gc)
    for row, ap in zip(metrics.rows, metrics.ap, strict=True):
        scores = -reference.full_distances(q, g, "cosine")[row][mask[row]]
        truth = (gc["pids"] == qc["pids"][row])[mask[row]]
        assert ap == pytest.approx(sklearn.average_precision_score(truth, scores), rel=1e-9)


def test_tied_items_rank_by_gallery_row():
    columns = {"pids": np.array([1])}, {"pids": np.array([0, 1, 0, 1])}
    metrics = evaluate(np.ones((1, 2)), np.ones((4, 2)), *columns, rule="all")
    assert metrics.first_hit.tolist() == [2]
    assert metrics.ap.tolist() == [(1 / 2 + 2 / 4) / 2]


def test_gallery_of_one_item_and_rank_ten_beyond_it():
    metrics = evaluate(np.ones((1, 2)), np.ones((1, 2)), {"pids": [3]}, {"pids": [3]}, rule="all")
    assert metrics.cmc.tolist() == [1.0]
    assert metrics.table()["Rank-10"] == 100


def test_errors_name_the_likely_cause():
    q = np.ones((2, 3))
    one, two = (
        {"pids": np.array([1, 2]), "camids": np.array([0, 0])},
        {"pids": np.array([3, 4]), "camids": np.array([0, 0])},
    )
    with pytest.raises(ValueError, match=r"none of the 2 queries has a match: the ids are disjoint"):
        evaluate(q, q, one, two)
    with pytest.raises(ValueError, match="2 queries have their id in the gallery, but rule OtherCamera excludes"):
        evaluate(q, q, one, one)
    with pytest.raises(ValueError, match="there are none among the gallery"):
        evaluate(q, q[:0], one, {name: column[:0] for name, column in two.items()})
    with pytest.raises(ValueError, match="needs the column 'pids' of the queries; given: camids"):
        evaluate(q, q, {"camids": [0, 0]}, two, rule="all")
    with pytest.raises(ValueError, match="max_rank.*at least 1; got 0"):
        evaluate(q, q, one, one, rule="all", max_rank=0)
    with pytest.raises(ValueError, match="queries have 3 feature columns but the gallery has 2"):
        evaluate(q, q[:, :2], one, one)
    with pytest.raises(ValueError, match=r"queries must have shape \(N, D\); got \(3,\)"):
        evaluate(q[0], q, one, one)
    with pytest.raises(ValueError, match="block_mib.*must be positive; got 0"):
        evaluate(q, q, one, one, rule="all", block_mib=0)


WITHOUT_COMPILED_PART = """
import logging, sys
sys.modules["fastreid.retrieval._kernels"] = None
import numpy as np
from fastreid.retrieval import HAS_CYTHON, evaluate, topk
assert not HAS_CYTHON
said = []
handler = logging.Handler()
handler.emit = lambda record: said.append(record.getMessage())
logging.getLogger("fastreid.retrieval.backends").addHandler(handler)
rng = np.random.default_rng(0)
q, g = rng.integers(0, 3, (9, 4)).astype("f"), rng.integers(0, 3, (50, 4)).astype("f")
columns = {"pids": rng.integers(0, 3, 9)}, {"pids": rng.integers(0, 3, 50)}
for _ in range(2):
    found = evaluate(q, g, *columns, "euclidean", "all")
print(found.ranks.tolist(), topk(q, g, 5)[0].tolist())
assert said == ["fastreid was installed without its compiled part; ranking is slower"], said
"""


def test_without_the_compiled_part_it_works_and_says_so_once():
    process = subprocess.run([sys.executable, "-c", WITHOUT_COMPILED_PART], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    rng = np.random.default_rng(0)
    q, g = rng.integers(0, 3, (9, 4)).astype("f"), rng.integers(0, 3, (50, 4)).astype("f")
    columns = {"pids": rng.integers(0, 3, 9)}, {"pids": rng.integers(0, 3, 50)}
    ranks = evaluate(q, g, *columns, "euclidean", "all").ranks
    assert process.stdout.strip() == f"{ranks.tolist()} {topk(q, g, 5)[0].tolist()}"
