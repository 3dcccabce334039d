import numpy as np
import pytest

from fastreid.retrieval.distance import BYTES_PER_PAIR, block_distances, normalize, query_blocks
from tests.retrieval import reference


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_distances_agree_with_float64_loops(metric):
    rng = np.random.default_rng(0)
    q, g = rng.normal(size=(7, 16)).astype("f"), rng.normal(size=(11, 16)).astype("f")
    distances = block_distances(q, g, metric)
    assert distances.dtype == np.float32
    np.testing.assert_allclose(distances, reference.full_distances(q, g, metric), rtol=1e-5, atol=1e-5)


def test_squared_euclidean_distance_is_never_negative():
    x = np.full((3, 64), 1000.1, dtype=np.float32)
    assert (block_distances(x, x, "euclidean") >= 0).all()


def test_inputs_are_not_changed_and_a_zero_row_stays_zero():
    x = np.array([[3.0, 4.0], [0.0, 0.0]], dtype=np.float32)
    before = x.copy()
    np.testing.assert_allclose(normalize(x), [[0.6, 0.8], [0, 0]], rtol=1e-6)
    block_distances(x, x, "cosine")
    block_distances(x, x, "euclidean")
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("block_mib", [1e-6, 0.001, 0.1, 256])
def test_blocks_cover_every_query_once_within_the_budget(block_mib):
    blocks = list(query_blocks(103, 50, block_mib))
    assert [i for rows in blocks for i in range(rows.start, rows.stop)] == list(range(103))
    largest = max(rows.stop - rows.start for rows in blocks)
    assert largest == 1 or largest * 50 * BYTES_PER_PAIR <= block_mib * 2**20


def test_blocks_of_empty_sides():
    assert list(query_blocks(0, 10)) == []
    assert list(query_blocks(10, 0)) == [slice(0, 10)]


def test_bad_input_is_named():
    x = np.zeros((2, 3))
    with pytest.raises(ValueError, match="'cosin'.*Did you mean 'cosine'"):
        block_distances(x, x, "cosin")
    with pytest.raises(ValueError, match="queries have 3 feature columns but the gallery has 2"):
        block_distances(x, x[:, :2])
    with pytest.raises(ValueError, match=r"shape \(N, D\); got \(3,\)"):
        block_distances(x[0], x)
    with pytest.raises(ValueError, match="block_mib.*must be positive; got 0"):
        list(query_blocks(1, 1, 0))
