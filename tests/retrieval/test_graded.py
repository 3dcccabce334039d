import numpy as np
import pytest

from fastreid.retrieval import graded
from fastreid.retrieval.candidates import Candidates
from fastreid.retrieval.graded import GAINS, Graded, grade, graded_gains, ideal_counts
from fastreid.retrieval.results import RetrievalMetrics
from tests.retrieval import reference

CROSSED = {"pids": 3, "subclass": 1, "class": 2, "dates": 2}  # columns that do not nest, two with the same gain


def columns(rng, count, nested):
    classes = rng.choice(["", "06", "07", "26"], count)
    subclasses = np.array([text and text + str(rng.integers(3)) for text in classes])
    if not nested:
        rng.shuffle(subclasses)
    return {
        "pids": rng.integers(-1, 5, count),
        "camids": rng.integers(0, 2, count),
        "dates": rng.integers(20180102, 20180106, count),
        "subclass": subclasses,
        "class": classes,
    }


def problem(seed, rule):
    """Columns of both sides, the permitted pairs, and each query's permitted items in a random order of ranking."""
    rng = np.random.default_rng(seed)
    gains = GAINS if seed % 2 else CROSSED
    q, g = (columns(rng, count, seed % 2) for count in (rng.integers(1, 8), rng.integers(1, 30)))
    candidates = Candidates(rule, q, g, len(q["pids"]), len(g["pids"]))
    permitted = np.ones((len(q["pids"]), len(g["pids"])), dtype=bool)
    if candidates.permitted(slice(None)) is not None:
        permitted = candidates.permitted(slice(None))
    rankings = [rng.permutation(np.flatnonzero(row)) for row in permitted]
    return rng, q, g, candidates, gains, rankings


def first(rankings, k):
    return np.array([[*ranking[:k], *[-1] * (k - len(ranking))] for ranking in rankings])


@pytest.mark.parametrize("rule", ["all", "camera", "granted_before", "other_patent+granted_before"])
def test_equals_looping_over_every_pair(rule, monkeypatch):
    for seed in range(60):
        monkeypatch.setattr(graded, "PAIRS_PER_CHUNK", [3, 2**21][seed // 2 % 2])
        rng, q, g, candidates, gains, rankings = problem(seed, rule)
        width = int(rng.integers(1, len(g["pids"]) + 1))
        value = grade(first(rankings, width), candidates, q, g, gains)
        assert value.levels.tolist() == [3, 2, 1]
        worth = [[reference.gain(q, g, i, item, gains) for item in ranking] for i, ranking in enumerate(rankings)]
        for i, row in enumerate(worth):
            assert value.gains[i].tolist() == [*row[:width], *[0.0] * (width - len(row))]
            assert value.counts[i].tolist() == [row.count(level) for level in (3, 2, 1)]
        k = int(rng.integers(1, (40 if value.complete else width) + 1))
        np.testing.assert_allclose(value.ndcg(k), [reference.ndcg(row, k) for row in worth], rtol=1e-13, atol=0)


def test_hand_computed():
    """Found: subclass, nothing, patent. Best: patent, subclass, class."""
    value = Graded(np.array([[2.0, 0, 3]]), np.array([3.0, 2, 1]), np.array([[1, 1, 1]]))
    expected = (2 + 3 / np.log2(4)) / (3 + 2 / np.log2(3) + 1 / np.log2(4))
    assert value.ndcg(3) == pytest.approx([expected])
    assert value.ndcg(1) == pytest.approx([2 / 3])


@pytest.mark.parametrize("kind", [str, object])
def test_unknown_values_agree_with_nothing(kind):
    q = {"pids": np.array([-1]), "class": np.array([""], dtype=kind)}
    gains = {"pids": 3, "class": 1}
    assert graded_gains(np.array([[0, -1]]), q, q, gains).tolist() == [[0, 0]]
    assert ideal_counts(Candidates("all", q, q, 1, 1), q, q, gains).tolist() == [[0, 0]]
    assert Graded(np.zeros((1, 2)), np.array([3.0]), np.zeros((1, 1), dtype=int)).ndcg(2).tolist() == [0]


def test_through_the_result_only_queries_with_a_match_count():
    value = Graded(np.array([[3.0], [2.0], [2.0]]), np.array([3.0, 2.0]), np.array([[1, 0], [0, 1], [1, 1]]))
    metrics = RetrievalMetrics.from_ranks(np.array([1, 0, 1]), np.array([1, 2]), 10, graded=value)
    assert metrics.values("nDCG@1") == pytest.approx([1, 2 / 3])
    with pytest.raises(ValueError, match="nDCG@2 needs the first 2 items of each query; the gains given cover 1"):
        metrics.values("nDCG@2")
    with pytest.raises(ValueError, match="graded covers 3 queries; counts 1"):
        RetrievalMetrics.from_ranks(np.array([1]), np.array([1]), 10, graded=value)


@pytest.mark.parametrize(
    ("gains", "message"),
    [
        ({}, "must name at least one column"),
        ({"pids": 0}, "must be positive; got 0 for column 'pids'"),
        ({"pids": float("nan")}, "must be positive; got nan"),
        ({"pid": 3}, "name column 'pid', which the queries lack; given: pids. Did you mean 'pids'"),
    ],
)
def test_wrong_gains_are_refused(gains, message):
    q = {"pids": np.array([1])}
    with pytest.raises(ValueError, match=message):
        grade(np.array([[0]]), Candidates("all", q, q, 1, 1), q, q, gains)


def test_parts_must_fit_together():
    with pytest.raises(ValueError, match=r"shape \(Q, L\) = \(1, 2\); got \(2, 1\)"):
        Graded(np.zeros((1, 3)), np.array([2.0, 1]), np.zeros((2, 1)))
    with pytest.raises(ValueError, match="positive and falling"):
        Graded(np.zeros((1, 3)), np.array([1.0, 2]), np.zeros((1, 2)))
