"""Ranking by distances that are given."""

import numpy as np
import pytest

from fastreid.retrieval import Search, backends, evaluate_distances, evaluate_topk, tables, topk_search
from fastreid.retrieval.cuhk03 import evaluate_single_shot
from tests.retrieval import reference

BACKENDS = [pytest.param(True, marks=pytest.mark.skipif(not backends.HAS_CYTHON, reason="not built")), False]


@pytest.fixture(params=BACKENDS, ids=["compiled", "plain"], autouse=True)
def backend(request, monkeypatch):
    monkeypatch.setattr(tables, "HAS_CYTHON", request.param)


def random_distances(rng, shape, levels, dtype):
    """From almost all tied to almost none; negative ones, and some that float32 cannot tell apart."""
    distances = rng.integers(-levels, levels, shape) * 1.0
    return (distances * (1 + 1e-12 * rng.integers(0, 3, shape))).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("levels", [1, 10, 10**6])
def test_random_tables_rank_as_their_rows_sorted(levels, dtype):
    rng = np.random.default_rng(levels)
    for _ in range(25):
        shape = int(rng.integers(1, 8)), int(rng.choice([1, 2, 9, 64, 150]))
        distances = random_distances(rng, shape, levels, dtype)
        qc, gc = (reference.columns_of(rng, n) for n in shape)
        rule, k = (
            str(rng.choice(["all", "camera", "granted_before+camera", "same_class"])),
            int(rng.choice([1, 5, 300])),
        )
        mask, relevant = reference.permitted_pairs(rule, qc, gc), qc["pids"][:, None] == gc["pids"][None]
        scores, block_mib = -distances.astype(np.float64), float(rng.choice([1e-6, 0.01, 32]))
        if (relevant & mask).any():
            found = evaluate_distances(distances, qc, gc, rule, 10, block_mib, ties=True)
            for name, side in (("ranks", None), ("optimistic", "optimistic"), ("pessimistic", "pessimistic")):
                want = reference.ranks_by_sorting(scores, relevant, mask, side)
                np.testing.assert_array_equal(getattr(found, name), want[1])
            np.testing.assert_array_equal(found.counts, want[0])
        search = Search(
            np.zeros((shape[0], 2)), np.zeros((shape[1], 2)), qc, gc, "cosine", rule, block_mib,
            rescore=lambda rows, _, table=distances: table[rows],
        )  # fmt: skip
        items, far = topk_search(search, k)
        want, best = reference.best_by_sorting(scores, mask, k)
        np.testing.assert_array_equal(items, want)
        np.testing.assert_array_equal(far, (-best).astype(np.float32))
        if (relevant & mask).any():
            np.testing.assert_array_equal(evaluate_topk(search, k)[1], want)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_distances_at_the_ends_of_float32(dtype):
    distances = np.array([[1e-300, 0.0, 3e38, 2e-300, 1e-45, -1e-300]], dtype=dtype)
    columns = {"pids": np.array([1])}, {"pids": np.array([1, 0, 1, 1, 0, 1])}
    found = evaluate_distances(distances, *columns, "all")
    want = reference.ranks_by_sorting(
        -distances.astype(np.float64), columns[1]["pids"][None] == 1, np.ones((1, 6), bool)
    )
    np.testing.assert_array_equal(found.ranks, want[1])


def test_cmc_longer_than_what_the_rule_leaves():
    """fast-reid's compiled CMC keeps the previous query's tail here."""
    distances = np.sort(np.random.default_rng(1).random((2, 60)), axis=1).astype("f")
    qc = {"pids": np.array([9, 1]), "camids": np.zeros(2, int)}
    gc = {"pids": np.r_[np.full(48, 1), np.full(11, 9), 1], "camids": np.r_[np.zeros(48, int), np.ones(12, int)]}
    cmc = evaluate_distances(distances, qc, gc, "camera", 50).cmc
    # query 0 keeps 60 items and hits at 49; query 1 keeps 12 and hits at 12
    np.testing.assert_array_equal(cmc, np.r_[np.zeros(11), np.full(37, 0.5), [1, 1]].astype("f"))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_distances_that_are_not_finite_are_refused(value):
    distances = np.zeros((3, 4), dtype="f")
    distances[2, 1] = value
    columns = {"pids": np.zeros(3)}, {"pids": np.zeros(4)}
    with pytest.raises(ValueError, match="first between query row 2 and gallery row 1"):
        evaluate_distances(distances, *columns, "all", block_mib=1e-6)


def test_a_table_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"distances must have shape \(Q, G\); got \(3,\)"):
        evaluate_distances(np.zeros(3), {"pids": np.zeros(3)}, {"pids": np.zeros(1)}, "all")
    with pytest.raises(ValueError, match="column 'pids' of the gallery has 4 rows; expected 5"):
        evaluate_distances(np.zeros((3, 5)), {"pids": np.zeros(3)}, {"pids": np.zeros(4)}, "all")


def test_single_shot_galleries_of_one_image_per_identity():
    """With one image per identity and other camera nothing is left to chance: the CMC is the ordinary one."""
    rng = np.random.default_rng(2)
    distances = rng.permutation(8 * 8).reshape(8, 8).astype("f")
    qc = {"pids": np.arange(8), "camids": np.zeros(8, dtype=int)}
    gc = {"pids": np.arange(8), "camids": np.ones(8, dtype=int)}
    cmc, ap = evaluate_single_shot(distances, qc, gc, 8)
    want = evaluate_distances(distances, qc, gc, "camera", 8)
    np.testing.assert_array_equal(cmc, want.cmc)
    np.testing.assert_array_equal(ap, want.ap)
