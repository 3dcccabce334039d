import dataclasses

import numpy as np
import pytest

from fastreid.retrieval.results import RetrievalMetrics


def from_ranks(*queries, max_rank=50, **inputs):
    counts = np.array([len(ranks) for ranks in queries], dtype=np.int64)
    return RetrievalMetrics.from_ranks(counts, np.concatenate(queries).astype(np.int64), max_rank, **inputs)


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


def test_cmc_ends_at_max_rank_also_when_matches_come_later():
    assert from_ranks([2], [9], max_rank=3).cmc.tolist() == [0, 0.5, 0.5]


def test_micro_macro_and_groups():
    metrics = from_ranks([1], [2], [], [4])
    drawers = np.array(["a", "b", "b", "a"])
    groups = {"a": (0.625, 2), "b": (0.5, 1)}
    assert metrics.mean("MRR") == pytest.approx((1 + 0.5 + 0.25) / 3)
    assert metrics.by("MRR", drawers) == groups
    assert metrics.by("MRR", drawers[metrics.rows]) == groups, "a column of the queries that count, too"
    assert metrics.macro("MRR", drawers) == pytest.approx((0.625 + 0.5) / 2)
    assert metrics.by("hit@1", np.array([7, 7, 8, 9])) == {7: (0.5, 2), 9: (0.0, 1)}
    with pytest.raises(ValueError, match=r"must have 4 rows \(queries\) or 3 \(those with a match\); got 2"):
        metrics.by("AP", np.zeros(2))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("AP_optimistic", r"'AP_optimistic' cannot be computed from ranks alone: .*ties=True"),
        ("hit@1_pessimistic", "ties=True"),
        ("AP@max_bin_count", "largest number of gallery items of one identity"),
        ("nDCG@10", "gains="),
        ("APP", "unknown metric 'APP'"),
    ],
)
def test_a_metric_without_its_input_is_an_error(name, message):
    with pytest.raises(ValueError, match=message):
        from_ranks([1]).values(name)


def test_result_cannot_be_changed():
    ranks = np.array([1, 3])
    metrics = RetrievalMetrics.from_ranks(np.array([2]), ranks, 5)
    with pytest.raises(dataclasses.FrozenInstanceError):
        metrics.max_rank = 3
    for array in (metrics.ranks, metrics.counts, metrics.ap, metrics.cmc, metrics.rows):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    ranks[0] = 2  # the caller's own array stays its own


@pytest.mark.parametrize(
    ("counts", "ranks", "inputs", "message"),
    [
        ([2], [1], {}, "1 counts of matches, in sum 2, do not fit 1 ranks"),
        ([0, 0], [], {}, "at least one match is needed"),
        ([3, -1], [1, 2], {}, "do not fit"),
        ([2], [2, 2], {}, "ranks must be 1-based and ascend within each query"),
        ([1, 2], [5, 3, 1], {}, "ascend"),
        ([1], [0], {}, "1-based"),
        ([1], [2], {"optimistic": [1, 2]}, "optimistic must have 1 entries, one per match; got 2"),
        ([1], [2], {"optimistic": [3]}, "optimistic ranks must not be worse"),
        ([1], [2], {"pessimistic": [1]}, "pessimistic ranks must not be better"),
    ],
)
def test_arrays_must_fit_together(counts, ranks, inputs, message):
    inputs = {name: np.array(values) for name, values in inputs.items()}
    with pytest.raises(ValueError, match=message):
        RetrievalMetrics.from_ranks(np.array(counts), np.array(ranks, dtype=np.int64), 5, **inputs)


def test_max_rank_is_at_least_one():
    with pytest.raises(ValueError, match="max_rank, the length of the CMC curve, must be at least 1; got 0"):
        from_ranks([1], max_rank=0)
