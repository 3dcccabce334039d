"""Metrics and lists out of one pass equal those of two."""

import numpy as np
import pytest

from fastreid.retrieval import Search, evaluate_search, evaluate_topk, topk_search
from fastreid.retrieval.postprocess import KReciprocal
from fastreid.retrieval.scan import Scan
from tests.retrieval import reference

GAINS = {"pids": 3, "camids": 1}


def table(seed, rule="camera", metric="euclidean", queries=12, items=150):
    rng = np.random.default_rng(seed)
    features = reference.whole_numbers(rng, queries), reference.whole_numbers(rng, items)
    columns = reference.ids(rng, queries), reference.ids(rng, items)
    return Search(*features, *columns, metric, rule, block_mib=0.01)


@pytest.mark.parametrize("k", [1, 10, 120, 1000])
@pytest.mark.parametrize("gains", [None, GAINS])
@pytest.mark.parametrize("reranked", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_equals_two_passes(seed, reranked, gains, k):
    search = table(seed, metric="cosine" if seed else "euclidean")
    search = KReciprocal(5, 2).apply(search) if reranked else search
    metrics, *lists = evaluate_topk(search, k, ties=True, gains=gains)
    expected = evaluate_search(search, ties=True, gains=gains)
    assert metrics.table() == expected.table()
    for name in ("AP", "AP_optimistic", "AP_pessimistic", *(["nDCG@10", "nDCG@100"] if gains else [])):
        np.testing.assert_array_equal(metrics.values(name), expected.values(name))
    for own, wanted in zip(lists, topk_search(search, k), strict=True):
        np.testing.assert_array_equal(own, wanted)
        assert (own.dtype, own.shape, own.flags.c_contiguous) == (wanted.dtype, wanted.shape, True)
    assert (lists[0][:, -1] == -1).any() == (k > 150)  # short lists were among them


def test_the_scores_are_computed_once(monkeypatch):
    seen, visit = [], Scan.visit

    def counted(scan, rows, see):
        seen.extend(rows.tolist())
        return visit(scan, rows, see)

    monkeypatch.setattr(Scan, "visit", counted)
    search = table(0)
    evaluate_topk(search, 10, gains=GAINS)
    assert sorted(seen) == list(range(len(search.queries)))


def test_bad_k_is_named():
    with pytest.raises(ValueError, match="k of a top-k search must be at least 1; got 0"):
        evaluate_topk(table(0), 0)
