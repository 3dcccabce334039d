import numpy as np
import pytest

from fastreid.retrieval.expansion import alpha_qe, dba, joint_aqe, similarity_weights
from tests.retrieval import reference


def features(seed=0, counts=(9, 25), dim=6):
    rng = np.random.default_rng(seed)
    return tuple(rng.normal(size=(count, dim)).astype("f") for count in counts)


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def expand(x, others, mask, k, alpha):
    """Loops: x plus its k most similar permitted others, weighted, all of unit length."""
    x, others, new = unit(x.astype(float)), unit(others.astype(float)), []
    for i, row in enumerate(x @ others.T):
        nearest = reference.ranking(-row, mask[i])[:k]
        weights = row[nearest] if float(alpha).is_integer() else np.maximum(row[nearest], 0)
        new.append(x[i] + sum(w**alpha * others[j] for w, j in zip(weights, nearest, strict=True)))
    return unit(np.array(new))


@pytest.mark.parametrize("block_mib", [1e-6, 256])
@pytest.mark.parametrize(
    ("k", "alpha", "times"), [(5, 2.0, 1), (1, 3.0, 1), (4, 1.0, 3), (5, 2.5, 2), (7, 0, 1), (99, 2.0, 1)]
)
def test_joint_expansion_equals_loops_over_the_full_table(k, alpha, times, block_mib):
    q, g = features()
    for ours, theirs in zip(
        joint_aqe(q, g, k, alpha, times, block_mib), reference.joint_aqe(q, g, k, alpha, times), strict=True
    ):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_joint_expansion_with_itself_alone_changes_nothing():
    q, g = features()
    for ours, before in zip(joint_aqe(q, g, k=1), (q, g), strict=True):
        np.testing.assert_allclose(ours, before, rtol=1e-5)


@pytest.mark.parametrize("alpha", [1.0, 2.0, 2.5])
@pytest.mark.parametrize("k", [1, 4, 99])
def test_query_expansion_follows_the_rule(k, alpha):
    q, g = features()
    rng = np.random.default_rng(1)
    columns = {"dates": rng.integers(1, 5, 9)}, {"dates": rng.integers(0, 5, 25)}
    mask = (columns[1]["dates"] < columns[0]["dates"][:, None]) & (columns[1]["dates"] > 0)
    ours = alpha_qe(q, g, k, alpha, "granted_before", *columns)
    np.testing.assert_allclose(ours, expand(q, g, mask, k, alpha), rtol=1e-4, atol=1e-5)
    assert not mask[
        columns[0]["dates"] == 1
    ].any()  # nothing before the first day: those queries stay as they were
    np.testing.assert_allclose(ours[columns[0]["dates"] == 1], unit(q)[columns[0]["dates"] == 1], atol=1e-6)


def test_query_expansion_under_a_causal_rule_ignores_later_items():
    q, g = features()
    dates = np.arange(1, 26)
    columns = {"dates": np.full(9, 13)}, {"dates": dates}
    changed = np.where((dates >= 13)[:, None], -g, g)
    np.testing.assert_array_equal(
        alpha_qe(q, g, 5, 3.0, "granted_before", *columns),
        alpha_qe(q, changed, 5, 3.0, "granted_before", *columns),
    )


@pytest.mark.parametrize("block_mib", [1e-6, 256])
@pytest.mark.parametrize("k", [1, 4, 99])
def test_database_augmentation_equals_loops(k, block_mib):
    _, g = features()
    mask = ~np.eye(len(g), dtype=bool)
    np.testing.assert_allclose(dba(g, k, 3.0, block_mib), expand(g, g, mask, k, 3.0), rtol=1e-4, atol=1e-5)


def test_negative_similarity_never_gives_nan():
    similarity = np.array([-0.5, 0.0, 0.5, -np.inf], dtype="f")
    np.testing.assert_allclose(similarity_weights(similarity, 2.5), [0, 0, 0.5**2.5, 0], rtol=1e-6)
    np.testing.assert_allclose(similarity_weights(similarity, 2), [0.25, 0, 0.25, 0])
    np.testing.assert_allclose(similarity_weights(similarity, 3), [-0.125, 0, 0.125, 0])
    np.testing.assert_allclose(similarity_weights(similarity, 0), [1, 1, 1, 0])
    with pytest.raises(ValueError, match="alpha.*must not be negative; got -1"):
        similarity_weights(similarity, -1)


def test_inputs_are_not_changed():
    q, g = features()
    before = q.copy(), g.copy()
    joint_aqe(q, g), alpha_qe(q, g), dba(g)
    np.testing.assert_array_equal(q, before[0])
    np.testing.assert_array_equal(g, before[1])
