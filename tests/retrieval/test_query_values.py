"""Metrics kept per query are those of the ranks, to the last bit: in blocks, in parts, with ties, without matches."""

import itertools
import pickle
from functools import partial

import numpy as np
import pytest

from fastreid.retrieval import Search, counting, evaluate_search, evaluate_topk
from fastreid.retrieval.measured import Keep, join, measure, part_of
from fastreid.retrieval.postprocess import KReciprocal

OF_RANKS = (
    "AP", "INP", "R-precision", "MRR", "MRR@3", "hit@1", "hit@7", "recall@5", "capped_recall@5", "precision@10",
    "AP@10_min", "AP@10_R", "AP@5_hits", "AP@max_bin_count", "AP@max_bin_count_hits", "recall@max_bin_count",
    "AP_optimistic", "AP_pessimistic", "hit@1_pessimistic", "MRR_optimistic", "recall@3_optimistic",
)  # fmt: skip
NAMES = (*OF_RANKS, "nDCG@5", "nDCG@100")
OPTIONS = {"relevance": "pids", "ties": True, "gains": {"pids": 3.0, "camids": 1.0}}


def search(rule="camera", metric="cosine", queries=23, items=400, ids=5) -> Search:
    """Features on a grid, so that there are ties; the queries 3 to 5 have no match, query 6 has most."""
    rng = np.random.default_rng(1)
    q, g = (rng.integers(-2, 3, (rows, 4)).astype(np.float32) + 0.5 for rows in (queries, items))
    pids = (rng.integers(0, ids, rows) ** 2 // ids for rows in (queries, items))
    columns = [{"pids": own, "camids": rng.integers(0, 3, len(own))} for own in pids]
    for own in columns:
        own["dates"] = rng.integers(1, 9, len(own["pids"]))
    columns[0]["pids"][:7] = 1, 1, 1, 99, 99, 99, 0
    columns[0]["dates"][6] = 9
    return Search(q, g, *columns, metric, rule, block_mib=0.002)


def divided(work, search: Search, cuts=(1, 3, 6, 17)):
    """As some processes do it; the second one has no match at all."""
    spans = itertools.pairwise([0, *cuts, len(search.queries)])
    parts = [work(part_of(search, slice(*span))) for span in spans]
    return join(pickle.loads(pickle.dumps(parts)))


def same(found, expected, names=NAMES) -> None:
    for name in names:
        values, wanted = found.values(name), expected.values(name)
        assert values.dtype == wanted.dtype, name
        assert values.tobytes() == wanted.tobytes(), name
        assert found.mean(name) == expected.mean(name)
    assert found.table() == expected.table()
    assert repr(found) == repr(expected)
    for name in ("counts", "rows", "num_relevant", "first_hit", "ap", "inp", "cmc"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
        assert getattr(found, name).dtype == getattr(expected, name).dtype
    column = np.arange(found.num_queries) % 4
    for name in names:
        assert found.by(name, column) == expected.by(name, column)
        assert found.macro(name, column) == expected.macro(name, column)


@pytest.mark.parametrize("way", ["at once", "divided", "re-ranked"])
@pytest.mark.parametrize("rule", ["camera", "granted_before", "all"])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("most", [counting.MOST_MATCHES, 90])  # of a block; the latter makes many
def test_kept_values_are_those_of_the_ranks(monkeypatch, rule, metric, way, most):
    monkeypatch.setattr(counting, "MOST_MATCHES", most)
    whole = search(rule, metric)
    if way == "re-ranked":
        whole = KReciprocal(5, 2).apply(whole)
    expected = evaluate_search(whole, **OPTIONS)
    over = {"over": divided} if way == "divided" else {}
    found, items, distances = evaluate_topk(whole, 7, keep=NAMES, **OPTIONS, **over)
    same(found, expected)
    assert found.dropped == expected.dropped >= 3
    assert found.ranks is None
    assert (expected.optimistic != expected.pessimistic).any()
    for own, wanted in zip((items, distances), evaluate_topk(whole, 7, **OPTIONS)[1:], strict=True):
        assert own.dtype == wanted.dtype
        np.testing.assert_array_equal(own, wanted)


def test_sums_over_thousands_of_matches_do_not_depend_on_the_block(monkeypatch):
    whole = search("all", queries=9, items=20_000, ids=2)
    expected = evaluate_search(whole, **OPTIONS)
    assert expected.counts.max() > 9_000
    for most in (1, 15_000):
        monkeypatch.setattr(counting, "MOST_MATCHES", most)
        same(evaluate_search(whole, keep=NAMES, over=partial(divided, cuts=(2, 5)), **OPTIONS), expected)


def test_a_part_knows_the_largest_identity_of_all_queries():
    """Query 6 has it; ``same`` would notice a cutoff of the part's own."""
    whole = search("all")
    other = measure(part_of(whole, slice(0, 6)), "pids", False, 0).same.max()
    assert other < evaluate_search(whole).max_bin_count


def test_what_travels_does_not_grow_with_the_matches():
    def size(items: int, keep: Keep | None) -> int:
        return len(pickle.dumps(measure(search("all", items=items), "pids", True, 5, keep=keep)))

    keep = Keep(OF_RANKS, max_bin_count=400)
    assert size(400, keep) == size(4000, keep)
    assert size(4000, None) > size(400, None) + 100_000


def test_table_hits_and_reciprocal_ranks_are_always_kept():
    same(evaluate_search(search(), keep=()), evaluate_search(search()), ("AP", "mINP", "Rank-20", "CMC@2", "MRR@7"))


def test_a_metric_that_was_not_kept_is_named():
    found = evaluate_search(search(), keep=["recall@5"])
    with pytest.raises(ValueError, match=r"'recall@6' is not among those kept.*TEST\.METRICS, or keep=\('recall@6',\)"):
        found.values("recall@6")
    with pytest.raises(ValueError, match="'nDCG@5' cannot be computed from ranks alone: .*gains="):
        found.values("nDCG@5")


def test_what_a_kept_metric_lacks_is_named_as_for_ranks():
    with pytest.raises(ValueError, match=r"'AP_optimistic' cannot be computed from ranks alone: .*ties=True"):
        evaluate_search(search(), keep=["AP_optimistic"])
    with pytest.raises(ValueError, match="unknown metric 'APP'"):
        evaluate_search(search(), keep=["APP"])


def test_without_any_match_the_cause_is_said_as_before():
    lonely = part_of(search(), slice(3, 6))
    with pytest.raises(ValueError, match="none of the 3 queries has a match: the ids are disjoint"):
        evaluate_search(lonely, keep=())


def test_kept_values_cannot_be_changed():
    found = evaluate_search(search(), keep=())
    for array in (found.counts, found.ap, found.cmc, found.first_hit):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
