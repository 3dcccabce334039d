import numpy as np
import pytest

from fastreid.retrieval import backends, expansion, search
from fastreid.retrieval.expansion import alpha_qe, dba, joint_aqe, similarity_weights, unit_rows
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
    assert not mask[columns[0]["dates"] == 1].any()  # nothing before the first day: those queries stay as they were
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


@pytest.mark.parametrize("k", [1, 4, 99])
def test_augmentation_under_a_rule_equals_loops(k):
    _, g = features()
    dates = np.random.default_rng(3).integers(0, 5, 25)
    earlier = (dates < dates[:, None]) & (dates > 0)
    ours = dba(g, k, 3.0, rule="granted_before", columns={"dates": dates})
    np.testing.assert_allclose(ours, expand(g, g, earlier, k, 3.0), rtol=1e-4, atol=1e-5)
    same_day = dba(g, k, 3.0, rule="other_patent", columns={"pids": dates})
    np.testing.assert_allclose(same_day, expand(g, g, dates != dates[:, None], k, 3.0), rtol=1e-4, atol=1e-5)


def tied(seed, counts=(30, 170), dim=5):
    """Whole numbers: equal rows, opposite rows, rows of another length, zero rows."""
    rng = np.random.default_rng(seed)
    return tuple(rng.integers(-1, 2, (count, dim)) * rng.choice([1.0, 30.0], (count, 1)) for count in counts)


@pytest.mark.parametrize("seed", range(5))
def test_ties_go_to_the_lower_row(seed):
    """Sums of whole numbers have no rounding, so the scores that are equal by definition are equal here too."""
    q, g = tied(seed)
    ours, lengths = alpha_qe(q, g, 7, 3.0), np.linalg.norm(g, axis=1)
    directions = np.divide(g, lengths[:, None], out=np.zeros_like(g), where=lengths[:, None] > 0)
    for new, row in zip(ours, q, strict=True):
        norms = np.linalg.norm(row) * lengths
        similarity = np.divide(g @ row, norms, out=np.zeros(len(g)), where=norms > 0)
        best = np.argsort(-similarity, kind="stable")[:7]
        want = (row / np.linalg.norm(row) if row.any() else row) + similarity[best] ** 3 @ directions[best]
        np.testing.assert_allclose(new * np.linalg.norm(want), want, atol=1e-12)


def every_kind(q, g, **options):
    """All three, with the gallery's dates among the rows."""
    columns = {"dates": np.arange(len(g)) % 9}
    return [
        *joint_aqe(q, g, 6, 3.0, times=2, **options),
        alpha_qe(q, g, 6, 2.5, **options),
        dba(g, 6, 3.0, **options),
        dba(g, 6, 3.0, rule="granted_before", columns=columns, **options),
    ]


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_nothing_depends_on_blocks_precision_threads_or_backend(monkeypatch, dtype):
    import torch

    q, g = (x.astype(dtype) for x in features(5, (100, 400), 67))
    want = every_kind(q, g)
    threads = torch.get_num_threads()

    def compare(**options):
        for ours, theirs in zip(every_kind(q, g, **options), want, strict=True):
            np.testing.assert_array_equal(ours, theirs)
            assert ours.dtype == dtype

    compare(block_mib=0.3)
    monkeypatch.setenv("FASTREID_SCAN", "bf16")
    compare()
    monkeypatch.setattr(expansion, "SUM_NUMBERS", 1)
    compare(block_mib=0.01 if dtype == "f4" else 0.3)
    torch.set_num_threads(3)
    try:
        compare(block_mib=0.3)
    finally:
        torch.set_num_threads(threads)


def test_tensors_on_a_device_stay_there(monkeypatch):
    """As on a GPU: features that are not arrays, and no compiled loops. The CPU plays the device."""
    import torch

    monkeypatch.setattr(backends, "HAS_CYTHON", False)
    q, g = features(6, (40, 90), 20)
    want = [*every_kind(q, g), unit_rows(g)]
    for module in (search, expansion):
        monkeypatch.setattr(module, "as_features", lambda x, name="features": x.detach())
    tensors = torch.from_numpy(q), torch.from_numpy(g)
    for ours, theirs in zip([*every_kind(*tensors), unit_rows(tensors[1])], want, strict=True):
        assert isinstance(ours, torch.Tensor)
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-5, atol=1e-6)


def test_nothing_to_expand_with():
    q, g = features()
    empty = q[:0]
    np.testing.assert_allclose(alpha_qe(q, empty), unit(q), rtol=1e-6)
    assert alpha_qe(empty, g).shape == (0, 6)
    assert dba(empty).shape == (0, 6)
    np.testing.assert_allclose(dba(g[:1]), unit(g[:1]), rtol=1e-6)
    assert [part.shape for part in joint_aqe(empty, empty)] == [(0, 6), (0, 6)]
    np.testing.assert_array_equal(joint_aqe(empty, g)[1], joint_aqe(g, empty)[0])


def test_rows_without_direction_stay_zero():
    zeros = np.zeros((3, 6), dtype="f")
    np.testing.assert_array_equal(unit_rows(zeros), zeros)
    np.testing.assert_array_equal(dba(zeros), zeros)
    np.testing.assert_array_equal(joint_aqe(zeros, zeros)[0], zeros)
    assert unit_rows(np.full((1, 4), 1e-30)).tolist() == [[0.5] * 4]


def test_bad_input_is_named():
    q, g = features()
    with pytest.raises(ValueError, match="queries have 6 feature columns but the gallery has 5"):
        joint_aqe(q, g[:, :5])
    with pytest.raises(ValueError, match="needs column \\['dates'\\]"):
        dba(g, rule="granted_before")
    for expand_it in (joint_aqe, alpha_qe):
        with pytest.raises(ValueError, match="k, the number of neighbours, must be at least 1; got 0"):
            expand_it(q, g, k=0)
    g[3, 1] = np.inf
    with pytest.raises(ValueError, match="row 3 is not finite"):
        dba(g)


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


@pytest.mark.parametrize("count", [0, 1, 7, 18])
def test_two_parts_of_one_array_need_no_union(count):
    whole = np.random.default_rng(0).standard_normal((19, 4)).astype(np.float32)
    first, second, before = whole[:count], whole[count:], whole.copy()
    assert np.shares_memory(expansion._union(first, second), whole)
    own, expected = joint_aqe(first, second, 3, 2.0), joint_aqe(first.copy(), second.copy(), 3, 2.0)
    assert [part.tobytes() for part in own] == [part.tobytes() for part in expected]
    assert whole.tobytes() == before.tobytes()


@pytest.mark.parametrize("rows", [(0, 7, 8, 19), (0, 7, 0, 12), (0, 7, 7, 18), (1, 7, 7, 19)])
def test_other_parts_of_one_array_are_joined_as_they_are(rows):
    whole = np.random.default_rng(0).standard_normal((19, 4)).astype(np.float32)
    first, second = whole[slice(*rows[:2])], whole[slice(*rows[2:])]
    assert expansion._union(first, second).tolist() == first.tolist() + second.tolist()
