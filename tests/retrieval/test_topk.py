import numpy as np
import pytest

from fastreid.retrieval.topk import topk
from tests.retrieval import reference


def expected(q, g, k, metric, mask):
    distances = reference.full_distances(q, g, metric)
    indices = np.full((len(q), min(k, len(g))), -1)
    for i, row in enumerate(distances):
        best = reference.ranking(row, mask[i])[:k]
        indices[i, : len(best)] = best
    return indices, distances


@pytest.mark.parametrize("k", [1, 5, 30, 100])
@pytest.mark.parametrize("block_mib", [1e-6, 256])
@pytest.mark.parametrize("seed", range(3))
def test_ties_go_to_the_lower_row(seed, block_mib, k):
    rng = np.random.default_rng(seed)
    q, g = reference.whole_numbers(rng, 9), reference.whole_numbers(rng, 30)
    indices, distances = topk(q, g, k, "euclidean", block_mib=block_mib)
    want, full = expected(q, g, k, "euclidean", np.ones((9, 30), dtype=bool))
    np.testing.assert_array_equal(indices, want)
    np.testing.assert_array_equal(distances, np.take_along_axis(full, indices, axis=1))
    assert (indices.dtype, distances.dtype) == (np.int64, np.float32)


@pytest.mark.parametrize("seed", range(3))
def test_rule_equals_a_search_among_the_permitted_items(seed):
    rng = np.random.default_rng(seed)
    q, g = reference.whole_numbers(rng, 9), reference.whole_numbers(rng, 30)
    columns = reference.ids(rng, 9), reference.ids(rng, 30)
    indices, distances = topk(q, g, 30, "euclidean", "camera", *columns)
    want, _ = expected(q, g, 30, "euclidean", reference.camera_mask(*columns))
    np.testing.assert_array_equal(indices, want)
    np.testing.assert_array_equal(np.isinf(distances), indices == -1)
    assert (indices == -1).any()


def test_nothing_permitted_and_nothing_there():
    q = np.ones((2, 3))
    columns = {"pids": np.zeros(2)}, {"pids": np.zeros(4)}
    indices, distances = topk(q, np.ones((4, 3)), 3, "cosine", "other_patent", *columns)
    assert (indices == -1).all()
    assert np.isposinf(distances).all()
    assert topk(q, np.ones((0, 3)), 3)[0].shape == (2, 0)
    assert topk(np.ones((0, 3)), q, 3)[0].shape == (0, 2)


def test_bad_input_is_named():
    q, g = np.ones((2, 3)), np.ones((4, 3))
    g[2, 1] = np.nan
    with pytest.raises(
        ValueError, match="2 distances are NaN or infinite, the first between query row 0 and gallery row 2"
    ):
        topk(q, g, 2)
    with pytest.raises(ValueError, match="k of a top-k search must be at least 1; got 0"):
        topk(q, q, 0)
