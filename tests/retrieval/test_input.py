"""What users hand over by mistake, and number types that must not be rounded."""

import numpy as np
import pytest
import torch

from fastreid.data.feature_file import FeatureFile
from fastreid.retrieval import alpha_qe, dba, evaluate, evaluate_distances, joint_aqe, topk
from fastreid.retrieval.metrics import parse_metric
from fastreid.retrieval.rules import OtherPatent

RNG = np.random.default_rng(0)
Q, G = RNG.normal(size=(6, 4)), RNG.normal(size=(20, 4))
QC, GC = {"pids": np.arange(6) % 3}, {"pids": np.arange(20) % 3}


@pytest.mark.parametrize("dtype", [np.int64, np.longdouble, np.uint32])
def test_wide_numbers_are_not_rounded_to_float32(dtype):
    big = np.array([[2**24 + 1, 0], [2**24, 0]], dtype=dtype)
    assert topk(big[:1], big[::-1], 1, "euclidean")[0].tolist() == [[1]]
    distances = np.array([[2**24 + 1, 2**24]], dtype=dtype)
    assert evaluate_distances(distances, {"pids": [1]}, {"pids": [0, 1]}, "all").first_hit.tolist() == [1]


def test_distances_may_be_tensors_of_any_precision():
    distances = torch.tensor([[2.0, 1.0]], requires_grad=True)
    columns = {"pids": [1]}, {"pids": [0, 1]}
    for given in (distances, distances.bfloat16(), distances.double().T.contiguous().T):
        assert evaluate_distances(given, *columns, "all").first_hit.tolist() == [1]


@pytest.mark.parametrize(
    "features, error, message",
    [
        (np.ma.masked_less(Q, 0), TypeError, "queries are a masked array"),
        (Q + 1j, TypeError, "queries must be real numbers; got an array of complex128"),
        (np.array([["a", "b", "c", "d"]]), TypeError, "queries must be real numbers"),
        (Q[:, :0], ValueError, "queries must have at least one column"),
        (Q[0], ValueError, r"queries must have shape \(N, D\); got \(4,\)"),
        (Q * 1e-170, ValueError, "queries row 0 is not zero, but too small to square"),
    ],
)
def test_features_that_are_none(features, error, message):
    with pytest.raises(error, match=message):
        topk(features, G, 3)


def test_a_side_is_named_as_the_caller_knows_it():
    bad = G.copy()
    bad[5, 1] = np.nan
    with pytest.raises(ValueError, match="features row 5 is not finite"):
        dba(bad)
    with pytest.raises(ValueError, match="metric of a search must be one of 'cosine', 'euclidean'; got 'cosin'"):
        topk(Q, G, 3, "cosin")


def test_wrong_arguments_are_named():
    with pytest.raises(TypeError, match="columns of the queries must be a mapping"):
        evaluate(Q, G, QC["pids"], GC["pids"])
    with pytest.raises(ValueError, match=r"column 'pids' of the queries must have shape \(6,\); got \(\)"):
        evaluate(Q, G, {"pids": 3}, GC)
    for k, error in ((1.5, TypeError), ("5", TypeError), (0, ValueError)):
        with pytest.raises(error, match="k of a top-k search must be"):
            topk(Q, G, k)
    with pytest.raises(TypeError, match="max_rank.*must be a whole number; got 1.5"):
        evaluate(Q, G, QC, GC, rule="all", max_rank=1.5)
    with pytest.raises(ValueError, match="times.*must be at least 1; got 0"):
        joint_aqe(Q, G, times=0)
    with pytest.raises(ValueError, match="alpha.*must be a number"):
        alpha_qe(Q, G, alpha=float("nan"))
    with pytest.raises(TypeError, match=r"must be an object; got the class OtherPatent \(write OtherPatent\(\)\)"):
        topk(Q, G, 3, rule=OtherPatent, q_columns=QC, g_columns=GC)
    with pytest.raises(ValueError, match="unknown metric 'hit@0'.*Did you mean 'hit@10'"):
        parse_metric("hit@0")


def test_no_match_says_why():
    unknown = {"pids": np.full(6, -1)}
    with pytest.raises(ValueError, match="none of them has a known id"):
        evaluate(Q, G, unknown, {"pids": np.full(20, -1)}, rule="all")
    with pytest.raises(
        ValueError, match="6 queries have their id in the gallery, but rule OtherPatent excludes all of them$"
    ):
        evaluate(Q, G, QC, GC, rule="other_patent")


def test_tensors_give_tensors():
    q, g = torch.from_numpy(Q), torch.from_numpy(G)
    results = [*joint_aqe(q, g), alpha_qe(q, g), dba(g), *topk(q, g, 3)]
    assert all(isinstance(result, torch.Tensor) for result in results)
    assert all(isinstance(result, np.ndarray) for result in joint_aqe(Q, G))


def test_a_result_shows_what_it_found():
    text = repr(evaluate(Q, G, QC, GC, rule="all"))
    assert text.startswith("RetrievalMetrics(mAP ")
    assert text.endswith("6 queries, 0 of them dropped)")


def test_a_feature_file_keeps_ids_apart():
    columns = {"pids": np.array([1.0, 2.0]), "camids": [True, False]}
    file = FeatureFile(Q[:2], 1, columns, ["a.png", "b.png"])
    assert file.columns["pids"].dtype == np.int64
    for pids in ([1.5, 1.0], ["a8", "b"]):
        with pytest.raises(TypeError, match="column 'pids' of a FeatureFile must hold whole numbers"):
            FeatureFile(Q[:2], 1, {**columns, "pids": np.array(pids)}, ["a.png", "b.png"])
