"""Old import paths give the core's results in fast-reid's shapes."""

import numpy as np
import pytest
import torch

from fastreid.evaluation.query_expansion import aqe
from fastreid.evaluation.rank import eval_cuhk03, eval_market1501, evaluate_cy, evaluate_py, evaluate_rank
from fastreid.evaluation.rank_cylib import rank_cy, roc_cy
from fastreid.evaluation.rerank import re_ranking
from fastreid.evaluation.roc import evaluate_roc, evaluate_roc_py
from fastreid.retrieval import evaluate, joint_aqe
from fastreid.utils.compute_dist import (
    build_dist,
    compute_cosine_distance,
    compute_euclidean_distance,
    compute_jaccard_distance,
)
from tests.retrieval import reference


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    return (
        rng.normal(size=(9, 5)).astype("f"),
        rng.normal(size=(30, 5)).astype("f"),
        reference.ids(rng, 9),
        reference.ids(rng, 30),
    )


def test_ranking_functions(table):
    q, g, qc, gc = table
    arguments = (build_dist(q, g, "cosine"), qc["pids"], gc["pids"], qc["camids"], gc["camids"])
    metrics = evaluate(q, g, qc, gc, "cosine", "camera", 7)
    for result in (
        evaluate_rank(*arguments, 7),
        evaluate_py(*arguments, 7, False),
        evaluate_cy(*arguments, 7),
        rank_cy.evaluate_cy(*arguments, 7, False),
        eval_market1501(*arguments, 7),
    ):
        for ours, want in zip(result, (metrics.cmc, metrics.ap, metrics.inp), strict=True):
            np.testing.assert_allclose(ours, want)
    cmc, ap = evaluate_rank(*arguments, 7, use_metric_cuhk03=True)
    np.testing.assert_allclose(ap, metrics.ap)
    assert cmc.shape == (7,)
    np.testing.assert_array_equal(cmc, eval_cuhk03(*arguments, 7)[0])
    for ours, want in zip(evaluate_roc(*arguments), evaluate_roc_py(*arguments), strict=True):
        np.testing.assert_array_equal(ours, want)
    for ours, want in zip(roc_cy.evaluate_roc_cy(*arguments), evaluate_roc(*arguments), strict=True):
        np.testing.assert_array_equal(ours, want)


def test_single_shot_cmc_by_hand():
    """Two images of the right id, at ranks 1 and 3: the drawn one is first, or second after the other id."""
    distances = np.array([[0.1, 0.2, 0.3]])
    columns = np.array([1]), np.array([1, 2, 1]), np.array([0]), np.array([1, 1, 1])
    cmc, ap = eval_cuhk03(distances, *columns, 3)
    assert 0 < cmc[0] < 1
    assert cmc[1:].tolist() == [1, 1]
    assert ap[0] == pytest.approx((1 + 2 / 3) / 2)


def test_expansion_returns_tensors_like_its_inputs(table):
    q, g = (torch.from_numpy(x).double() for x in table[:2])
    for ours, want in zip(
        aqe(q, g, 2, 3, 2.0), joint_aqe(table[0], table[1], k=3, alpha=2.0, times=2), strict=True
    ):
        assert ours.dtype == torch.float64
        np.testing.assert_allclose(ours.numpy(), want, rtol=1e-4, atol=1e-6)


def test_distances_of_tensors_that_need_a_gradient(table):
    q, g = (torch.from_numpy(x).requires_grad_() for x in table[:2])
    np.testing.assert_array_equal(build_dist(q, g), compute_euclidean_distance(q, g))
    np.testing.assert_allclose(
        compute_cosine_distance(q, g), reference.full_distances(*table[:2], "cosine"), atol=1e-6
    )
    with pytest.raises(ValueError, match="metric of build_dist must be one of .*got 'euclid'.*'euclidean'"):
        build_dist(q, g, "euclid")


def test_jaccard_distances_and_reranking(table):
    q, g, *_ = table
    union = np.concatenate(table[:2])
    whole = compute_jaccard_distance(torch.from_numpy(union), 6, 3)
    np.testing.assert_allclose(whole, whole.T, atol=1e-6)
    np.testing.assert_allclose(build_dist(q, g, "jaccard", k1=6, k2=3), whole[:9, 9:], atol=1e-6)
    distances = np.sqrt(build_dist(union, union))
    result = re_ranking(distances[:9, 9:], distances[:9, :9], distances[9:, 9:], k1=6, k2=3, lambda_value=1.0)
    np.testing.assert_allclose(
        result, distances[:9, 9:] ** 2 / distances[:9].max(axis=1, keepdims=True) ** 2, rtol=1e-5
    )
