import numpy as np
import pytest

from fastreid.retrieval import Search
from fastreid.retrieval.roc import pair_scores, tpr_at_fpr
from tests.retrieval import reference

FPRS = (1e-2, 0.1, 0.5, 1.0)


def naive(genuine, impostors, fpr):
    """Largest true positive rate over all thresholds whose false positive rate is at most ``fpr``."""
    best = 0.0
    for threshold in [-1.0, *genuine, *impostors]:
        if np.mean(impostors <= threshold) <= fpr:
            best = max(best, np.mean(genuine <= threshold))
    return best


@pytest.mark.parametrize("block_mib", [1e-6, 256])
@pytest.mark.parametrize("rule", ["camera", "all"])
@pytest.mark.parametrize("seed", range(3))
def test_equals_trying_every_threshold(seed, rule, block_mib):
    rng = np.random.default_rng(seed)
    q, g = reference.whole_numbers(rng, 12), reference.whole_numbers(rng, 30)
    columns = reference.ids(rng, 12), reference.ids(rng, 30)
    distances = reference.full_distances(q, g, "euclidean")
    mask = reference.camera_mask(*columns) if rule == "camera" else np.ones(distances.shape, dtype=bool)
    same = columns[0]["pids"][:, None] == columns[1]["pids"]
    rates = tpr_at_fpr(Search(q, g, *columns, "euclidean", rule, block_mib), FPRS)
    want = {fpr: naive(distances[same & mask], distances[~same & mask], fpr) for fpr in FPRS}
    assert rates == pytest.approx(want)


def test_perfect_separation_is_one_at_every_rate():
    """fast-reid reports 0 here: it labels genuine pairs 0 and takes the first point of the curve."""
    q = np.eye(3)
    columns = {"pids": np.arange(3)}, {"pids": np.arange(3)}
    assert set(tpr_at_fpr(Search(q, q, *columns)).values()) == {1.0}


def test_first_impostor_that_must_stay_out_is_remembered():
    """1 % of 1098 impostors is 10, and so is 1 % of all 1099 pairs: the eleventh decides."""
    distances = np.r_[np.arange(1098), 5000.0][:, None]
    search = Search(
        np.zeros((1, 1)), np.sqrt(distances), {"pids": [1]}, {"pids": np.r_[np.zeros(1098), 1]}, "euclidean"
    )
    assert tpr_at_fpr(search, [1e-2]) == {1e-2: 0.0}
    assert tpr_at_fpr(search, [1.0]) == {1.0: 1.0}


def test_pairs_of_one_kind_only_are_refused():
    columns = {"pids": np.zeros(2)}, {"pids": np.zeros(2)}
    with pytest.raises(ValueError, match="pairs of both kinds; got 4 same, 0 different"):
        tpr_at_fpr(Search(np.eye(2), np.eye(2), *columns))


def test_pair_scores_put_same_ids_first_without_same_camera_pairs():
    columns = {"pids": [1], "camids": [0]}, {"pids": [1, 1, 2], "camids": [0, 1, 0]}
    scores, labels = pair_scores([[0.1, 0.2, 0.3]], *columns)
    assert (scores.tolist(), labels.tolist()) == ([0.2, 0.3], [0, 1])
