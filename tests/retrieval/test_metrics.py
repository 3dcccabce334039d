import numpy as np
import pytest

from fastreid.retrieval import evaluate
from fastreid.retrieval.metrics import Metric, parse_metric
from fastreid.retrieval.results import RetrievalMetrics
from tests.retrieval import reference

TIES = (None, "optimistic", "pessimistic")


def random_table(rng):
    """Distances with many ties, matches from none to all, junk; as small as one query and one item."""
    shape = rng.integers(1, 5), rng.integers(1, 25)
    distances = rng.integers(0, rng.integers(1, 20), shape)
    relevant = rng.random(shape) < rng.choice([0.0, 0.1, 0.5, 1.0], p=[0.05, 0.45, 0.4, 0.1])
    mask = rng.random(shape) < rng.choice([0.6, 1.0])
    return distances, relevant, mask


def ranked(distances, relevant, mask, max_bin_count):
    """Hit lists per kind of ties, and the value under test made of the ranks in them."""
    table = list(zip(distances, relevant, mask, strict=True))
    lists = {ties: [reference.hits_of(*row, ties) for row in table] for ties in TIES}
    ranks = {ties: np.concatenate([np.flatnonzero(hits) + 1 for hits in rows]) for ties, rows in lists.items()}
    counts = (relevant & mask).sum(axis=1)
    value = RetrievalMetrics.from_ranks(
        counts, ranks[None], 50, optimistic=ranks["optimistic"], pessimistic=ranks["pessimistic"],
        max_bin_count=max_bin_count,
    )  # fmt: skip
    return lists, value


@pytest.mark.parametrize("seed", range(4))
def test_every_metric_equals_sorting_and_looping(seed):
    rng, compared = np.random.default_rng(seed), 0
    for _ in range(500):
        distances, relevant, mask = random_table(rng)
        if not (relevant & mask).any():
            with pytest.raises(ValueError, match="at least one match"):
                ranked(distances, relevant, mask, 1)
            continue
        k, max_bin_count = int(rng.integers(1, 30)), int(rng.integers(1, 30))  # also beyond the candidates
        lists, value = ranked(distances, relevant, mask, max_bin_count)
        assert value.dropped == sum(not any(hits) for hits in lists[None])
        for ties, rows in lists.items():
            expected = [reference.query_metrics(hits, k, max_bin_count) for hits in rows if any(hits)]
            for name in expected[0]:
                got = value.values(f"{name}_{ties}" if ties else name)
                want = np.array([query[name] for query in expected])
                np.testing.assert_allclose(got, want, rtol=1e-14, atol=0, err_msg=f"{name} {ties}")
                compared += 1
    assert compared > 10_000


@pytest.mark.parametrize("rule", ["all", "camera"])
def test_from_features_to_every_metric(rule):
    """Whole-number features: Euclidean distances are exact, and many are tied."""
    gains = {"pids": 3, "camids": 1}
    for seed in range(40):
        rng = np.random.default_rng(seed)
        q, g = (reference.whole_numbers(rng, rng.integers(1, 30), dim=2) for _ in range(2))
        columns = reference.ids(rng, len(q)), reference.ids(rng, len(g))
        relevant = columns[0]["pids"][:, None] == columns[1]["pids"]
        mask = reference.camera_mask(*columns) if rule == "camera" else np.ones_like(relevant)
        if not (relevant & mask).any():
            continue
        distances, k = reference.full_distances(q, g, "euclidean"), int(rng.integers(1, 40))
        value = evaluate(q, g, *columns, "euclidean", rule, ties=True, gains=gains)
        bins = int(relevant.sum(axis=1).max())
        for ties in TIES:
            lists = [reference.hits_of(*row, ties) for row in zip(distances, relevant, mask, strict=True)]
            expected = [reference.query_metrics(hits, k, bins) for hits in lists if any(hits)]
            for name in expected[0]:
                if "max_bin_count" not in name or value.max_bin_count == bins:
                    got, want = value.values(f"{name}_{ties}" if ties else name), [query[name] for query in expected]
                    np.testing.assert_allclose(got, want, rtol=1e-14, atol=0, err_msg=f"{name} {ties} {seed}")
        worth = [
            [reference.gain(*columns, row, item, gains) for item in reference.ranking(distances[row], mask[row])]
            for row in value.rows
        ]
        np.testing.assert_allclose(value.values(f"nDCG@{k}"), [reference.ndcg(row, k) for row in worth], rtol=1e-13)


def test_ties_bracket_the_order_of_the_rows():
    rng = np.random.default_rng(0)
    spread = []
    for _ in range(200):
        table = random_table(rng)
        if (table[1] & table[2]).any():
            _, value = ranked(*table, 1)
            best, by_row, worst = (value.values(name) for name in ("AP_optimistic", "AP", "AP_pessimistic"))
            assert (best >= by_row - 1e-15).all()
            assert (by_row >= worst - 1e-15).all()
            spread.append((best - worst).max())
    assert max(spread) > 0.3


@pytest.mark.parametrize(
    ("text", "metric"),
    [
        ("AP", Metric("AP")),
        ("mAP", Metric("AP")),
        ("AP@all", Metric("AP")),
        ("AP@10_min", Metric("AP", 10, "min")),
        ("AP@10_R_pessimistic", Metric("AP", 10, "R", "pessimistic")),
        ("AP@max_bin_count", Metric("AP", "max_bin_count", "R")),
        ("AP@max_bin_count_hits", Metric("AP", "max_bin_count", "hits")),
        ("AP_optimistic", Metric("AP", ties="optimistic")),
        ("Rank-5", Metric("hit", 5)),
        ("CMC@5", Metric("hit", 5)),
        ("capped_recall@20", Metric("capped_recall", 20)),
        ("hit@1_pessimistic", Metric("hit", 1, ties="pessimistic")),
        ("R-precision", Metric("R-precision")),
        ("mINP", Metric("INP")),
        ("MRR", Metric("MRR")),
        ("MRR@10", Metric("MRR", 10)),
        ("nDCG@10", Metric("nDCG", 10)),
    ],
)
def test_names(text, metric):
    assert parse_metric(text) == metric


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("recal@10", r"unknown metric 'recal@10'; allowed: AP, MRR, .*recall@k.*Did you mean 'recall@10'\?"),
        ("ndcg@7", "Did you mean 'nDCG@7'"),
        ("AP@10", r"say what AP@10 is divided by: AP@10_min, AP@10_R, AP@10_hits"),
        ("recall", "recall needs the number of items that count, as in recall@10"),
        ("recall@all", "recall needs the number"),
        ("INP@5", "INP looks at all items and takes no @5"),
        ("recall@10_min", "_min belongs to AP@k only"),
        ("AP_R", "_R belongs to AP@k only, as in AP@10_R"),
        ("recall@0", "unknown metric"),
        ("nDCG@10_optimistic", "nDCG is computed from one list"),
        ("", "unknown metric ''; allowed"),
    ],
)
def test_wrong_names_say_what_is_allowed(text, message):
    with pytest.raises(ValueError, match=message):
        parse_metric(text)


def test_averages_of_pytorch_metric_learning():
    """20 % of the matches are missed: its old reading counts only the hits, its present one all matches."""
    value = RetrievalMetrics.from_ranks(np.array([5]), np.array([1, 2, 3, 4, 1000]), 50, max_bin_count=5)
    assert value.mean("AP@max_bin_count") == pytest.approx(0.8)
    assert value.mean("AP@max_bin_count_hits") == 1.0
    assert value.mean("AP") == pytest.approx((4 + 5 / 1000) / 5)
