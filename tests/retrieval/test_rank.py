import importlib
import logging
import sys
import tracemalloc

import numpy as np
import pytest

from fastreid.retrieval import _rank_py, evaluate, evaluate_distances, rank
from tests.retrieval import reference

KERNELS = [
    pytest.param(
        True, marks=pytest.mark.skipif(not rank.HAS_CYTHON, reason="compiled part is not built"), id="cython"
    ),
    pytest.param(False, id="python"),
]


def table(seed, num_queries=12, num_gallery=40):
    rng = np.random.default_rng(seed)
    q, g = reference.whole_numbers(rng, num_queries), reference.whole_numbers(rng, num_gallery)
    return q, g, reference.ids(rng, num_queries, num_ids=6), reference.ids(rng, num_gallery)


def assert_same(metrics, q, g, qc, gc, mask, metric, max_rank):
    rows, values, cmc = reference.evaluate(reference.full_distances(q, g, metric), qc, gc, mask, max_rank)
    np.testing.assert_array_equal(metrics.rows, rows)
    found = (metrics.ap, metrics.inp, metrics.ap10_min, metrics.ap10_R, metrics.first_hit)
    np.testing.assert_allclose(np.stack(found, axis=1), values, rtol=1e-12)
    np.testing.assert_allclose(metrics.cmc, cmc, rtol=1e-6)
    assert metrics.dropped == len(q) - len(rows)


@pytest.mark.parametrize("use_cython", KERNELS)
@pytest.mark.parametrize("rule", ["camera", "all"])
@pytest.mark.parametrize("block_mib", [1e-6, 256])
@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_a_full_float64_sort(seed, block_mib, rule, use_cython):
    q, g, qc, gc = table(seed)
    distances = reference.full_distances(q, g, "euclidean").astype(np.float32)
    mask = reference.camera_mask(qc, gc) if rule == "camera" else np.ones((len(q), len(g)), dtype=bool)
    metrics = evaluate_distances(distances, qc, gc, rule, 20, block_mib, use_cython)
    assert_same(metrics, q, g, qc, gc, mask, "euclidean", 20)
    assert metrics.dropped  # two of the six query ids are not in the gallery
    assert_same(evaluate(q, g, qc, gc, "euclidean", rule, 20, block_mib), q, g, qc, gc, mask, "euclidean", 20)


@pytest.mark.skipif(not rank.HAS_CYTHON, reason="compiled part is not built")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(5, 1), (1, 9), (20, 200), (3, 3000)])
def test_compiled_kernel_equals_the_python_one(shape, dtype):
    rng = np.random.default_rng(shape[1])
    for levels in (2, 10, 10**6):  # from almost all tied to almost none
        distances = rng.integers(0, levels, shape).astype(dtype)
        for share in (0, 0.02, 0.5, 1):
            relevant, permitted = rng.random(shape) < share, rng.random(shape) < 0.8
            for mask in (None, permitted):
                compiled = rank._rank_cy.relevant_ranks(distances, relevant, mask)
                for ours, theirs in zip(
                    compiled, _rank_py.relevant_ranks(distances, relevant, mask), strict=True
                ):
                    assert ours.dtype == np.int64
                    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.skipif(not rank.HAS_CYTHON, reason="compiled part is not built")
def test_compiled_kernel_refuses_masks_of_another_shape():
    distances, mask = np.zeros((2, 3), dtype=np.float32), np.ones((2, 3), dtype=bool)
    with pytest.raises(ValueError, match=r"permitted must have the shape \(2, 3\)"):
        rank._rank_cy.relevant_ranks(distances, mask, mask[:, :2])
    with pytest.raises(ValueError, match=r"relevant must have the shape \(2, 3\)"):
        rank._rank_cy.relevant_ranks(distances, mask[:1])


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


@pytest.mark.parametrize("use_cython", KERNELS)
def test_cmc_longer_than_what_the_rule_leaves(use_cython):
    """fast-reid's compiled CMC keeps the previous query's tail here."""
    distances = np.sort(np.random.default_rng(1).random((2, 60)), axis=1).astype("f")
    qc = {"pids": np.array([9, 1]), "camids": np.zeros(2, int)}
    gc = {
        "pids": np.r_[np.full(48, 1), np.full(11, 9), 1],
        "camids": np.r_[np.zeros(48, int), np.ones(12, int)],
    }
    cmc = evaluate_distances(distances, qc, gc, "camera", 50, use_cython=use_cython).cmc
    # query 0 keeps 60 items and hits at 49; query 1 keeps 12 and hits at 12
    np.testing.assert_array_equal(cmc, np.r_[np.zeros(11), np.full(37, 0.5), [1, 1]].astype("f"))


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
    with pytest.raises(
        ValueError, match="2 queries have their id in the gallery, but rule OtherCamera excludes"
    ):
        evaluate(q, q, one, one)
    with pytest.raises(ValueError, match="the gallery have none"):
        evaluate(q, q[:0], one, {name: column[:0] for name, column in two.items()})
    with pytest.raises(ValueError, match="needs the column 'pids' of the queries; given: camids"):
        evaluate(q, q, {"camids": [0, 0]}, two, rule="all")
    with pytest.raises(ValueError, match="max_rank.*at least 1; got 0"):
        evaluate(q, q, one, one, rule="all", max_rank=0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_distances_that_are_not_finite_are_refused(value):
    distances = np.zeros((3, 4), dtype="f")
    distances[2, 1] = value
    columns = {"pids": np.zeros(3)}, {"pids": np.zeros(4)}
    with pytest.raises(ValueError, match="first between query row 2 and gallery row 1"):
        evaluate_distances(distances, *columns, "all", block_mib=1e-6)


@pytest.mark.parametrize("use_cython", KERNELS)
def test_memory_stays_within_the_block(use_cython):
    rng = np.random.default_rng(0)
    q, g = rng.normal(size=(400, 4)).astype("f"), rng.normal(size=(4000, 4)).astype("f")
    columns = reference.ids(rng, 400, 500), reference.ids(rng, 4000, 500)
    search = rank.Search(q, g, *columns, "euclidean", "camera", block_mib=2)
    search.prepared  # noqa: B018  the features themselves do not count
    tracemalloc.start()
    rank.evaluate_search(search, use_cython=use_cython)
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    assert peak < 2.5  # a whole float32 table would be 6.1 MiB, with its sorting index 18


def test_without_the_compiled_part_it_works_and_says_so_once(monkeypatch, caplog):
    q, g, qc, gc = table(0)
    want = evaluate(q, g, qc, gc, "euclidean").table()
    monkeypatch.setitem(sys.modules, "fastreid.retrieval._rank_cy", None)
    monkeypatch.delattr("fastreid.retrieval._rank_cy", raising=False)
    try:
        plain = importlib.reload(rank)
        assert not plain.HAS_CYTHON
        with caplog.at_level(logging.WARNING):
            assert plain.evaluate(q, g, qc, gc, "euclidean").table() == want
            plain.evaluate(q, g, qc, gc, "euclidean")
        assert [record.message for record in caplog.records if "slower" in record.message] == [
            "fastreid was installed without its compiled part; ranking is slower"
        ]
    finally:
        monkeypatch.undo()
        importlib.reload(rank)
