"""The single-shot CMC against the mean over all galleries that could be drawn."""

import itertools

import numpy as np
import pytest

from fastreid.evaluation import Protocol
from fastreid.retrieval import Search
from fastreid.retrieval.cuhk03 import evaluate_single_shot, single_shot_cmc
from tests.evaluation.stand_ins import feature_file
from tests.retrieval.reference import camera_mask, full_distances, ids, whole_numbers


def expected_cmc(distances, q, g, max_rank):
    """The CMC averaged over every choice of one permitted image per identity; ties by gallery row."""
    curves = []
    for row, pid, mask in zip(distances, q["pids"], camera_mask(q, g), strict=True):
        shown = {other: np.flatnonzero(mask & (g["pids"] == other)) for other in np.unique(g["pids"][mask])}
        if pid not in shown:
            continue
        names, curve, galleries = list(shown), np.zeros(max_rank), list(itertools.product(*shown.values()))
        for gallery in galleries:
            best = sorted(gallery, key=lambda item: (row[item], item))
            rank = [names[gallery.index(item)] for item in best].index(pid)
            curve[rank:] += 1
        curves.append(curve / len(galleries))
    return np.mean(curves, axis=0)


@pytest.fixture
def table():
    rng = np.random.default_rng(5)
    return whole_numbers(rng, 9), whole_numbers(rng, 14), ids(rng, 9, num_ids=5), ids(rng, 14)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_the_mean_over_many_draws_is_that_over_all_galleries(table, metric):
    q, g, qc, gc = table
    search = Search(q, g, qc, gc, metric, "camera")
    cmc = single_shot_cmc(search, 4, repeats=4000)
    want = expected_cmc(full_distances(q, g, metric).astype("f"), qc, gc, 4)
    np.testing.assert_allclose(cmc, want, atol=0.01)
    assert want[0] < want[1] < want[2]
    from_distances, _ = evaluate_single_shot(full_distances(q, g, metric).astype("f"), qc, gc, 4)
    np.testing.assert_allclose(from_distances, want, atol=0.1)  # ten draws


def test_draws_depend_on_the_seed_alone(table):
    q, g, qc, gc = table
    whole, small = (Search(q, g, qc, gc, "cosine", "camera", block_mib) for block_mib in (32, 1e-6))
    assert len(list(small.blocks())) > 1
    cmc = single_shot_cmc(whole, 4)
    np.testing.assert_array_equal(single_shot_cmc(small, 4), cmc)
    np.testing.assert_array_equal(single_shot_cmc(whole, 4), cmc)
    assert (single_shot_cmc(whole, 4, rng=np.random.default_rng(1)) != cmc).any()


def test_any_rule_and_labels_that_are_unknown(table):
    """Without a rule each query's own identity is always shown; an identity of -1 is nobody."""
    q, g, _, _ = table
    columns = {"pids": np.arange(9), "camids": np.zeros(9)}, {"pids": np.arange(14), "camids": np.zeros(14)}
    q = g[:9] + 0.01
    assert single_shot_cmc(Search(q, g, *columns, "euclidean", None), 1)[0] == 1
    nobody = [{**side, "pids": np.full(len(side["pids"]), -1)} for side in columns]
    with pytest.raises(ValueError, match="no query has a permitted match"):
        single_shot_cmc(Search(q, g, *nobody, "euclidean", None))


def test_the_protocol_reports_it_beside_the_other_metrics():
    file = feature_file()
    plain, single = Protocol(metrics=("MRR",)).evaluate(file), Protocol(metrics=("MRR",), single_shot=10).evaluate(file)
    table, more = plain.stages[0].table(), single.stages[0].table()
    search = next(Protocol().searches(file))[1]
    cmc = single_shot_cmc(search, 10)
    added = {f"single-shot Rank-{k}": pytest.approx(100 * cmc[min(k, len(cmc)) - 1]) for k in (1, 5, 10)}
    assert more == {**table, **added}
    assert more["single-shot Rank-5"] != more["Rank-5"]
    assert single.settings["single-shot galleries"] == 10
    with pytest.raises(ValueError, match=r"TEST\.SINGLE_SHOT must be at least 0; got -1"):
        Protocol(single_shot=-1)
