import dataclasses

import numpy as np
import pytest

from fastreid.retrieval.results import RetrievalMetrics


def from_ranks(*queries, max_rank=50):
    counts = np.array([len(ranks) for ranks in queries], dtype=np.int64)
    return RetrievalMetrics.from_ranks(counts, np.concatenate(queries).astype(np.int64), max_rank)


def test_hand_computed_query():
    metrics = from_ranks([1, 4, 12])
    assert metrics.ap[0] == pytest.approx((1 + 2 / 4 + 3 / 12) / 3)
    assert metrics.inp[0] == pytest.approx(3 / 12)
    assert metrics.ap10_min[0] == metrics.ap10_R[0] == pytest.approx((1 + 2 / 4) / 3)


def test_both_normalisations_of_ap_at_ten_differ_beyond_ten_matches():
    metrics = from_ranks(np.arange(1, 13))
    assert metrics.ap10_min[0] == pytest.approx(1)
    assert metrics.ap10_R[0] == pytest.approx(10 / 12)
    assert from_ranks([11, 12]).ap10_min[0] == 0


def test_table_of_two_queries_and_a_dropped_one():
    metrics = from_ranks([1, 2], [], [4])
    assert metrics.rows.tolist() == [0, 2]
    assert metrics.table() == pytest.approx(
        {
            "Rank-1": 50,
            "Rank-5": 100,
            "Rank-10": 100,
            "mAP": 62.5,
            "mINP": 62.5,
            "metric": 56.25,
            "AP@10_min": 62.5,
            "AP@10_R": 62.5,
            "queries": 3,
            "dropped queries": 1,
        }
    )


def test_result_cannot_be_changed_and_must_fit_together():
    metrics = from_ranks([1])
    with pytest.raises(dataclasses.FrozenInstanceError):
        metrics.cmc = None
    with pytest.raises(ValueError, match="lengths"):
        dataclasses.replace(metrics, ap=np.zeros(2))
