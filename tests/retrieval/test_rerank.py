import numpy as np
import pytest

from fastreid.retrieval.rerank import k_reciprocal, re_ranking
from tests.retrieval import reference


def clustered(seed, num_queries, num_gallery, dim=6):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(5, dim))
    count = num_queries + num_gallery
    x = centres[rng.integers(0, 5, count)] + 0.4 * rng.normal(size=(count, dim))
    return x[:num_queries].astype("f"), x[num_queries:].astype("f")


CASES = [(20, 6, 8, 40), (6, 1, 8, 40), (7, 3, 5, 30), (50, 6, 4, 10), (1, 2, 4, 10), (3, 2, 1, 1)]


@pytest.mark.parametrize("block_mib", [1e-6, 256])
@pytest.mark.parametrize(("k1", "k2", "num_queries", "num_gallery"), CASES)
def test_from_features_equals_dense_loops(k1, k2, num_queries, num_gallery, block_mib):
    q, g = clustered(k1, num_queries, num_gallery)
    union = np.concatenate([q, g])
    distances = reference.full_distances(union, union, "euclidean")
    ranks = np.argsort(distances, axis=1, kind="stable")[:, :k1].tolist()
    want = reference.jaccard(distances, ranks, k1, k2)[:num_queries, num_queries:]
    jaccard = k_reciprocal(q, g, k1, k2, block_mib)
    np.testing.assert_allclose(jaccard(slice(0, num_queries)), want, atol=1e-5)
    np.testing.assert_allclose(jaccard(slice(num_queries - 1, num_queries)), want[-1:], atol=1e-5)


@pytest.mark.parametrize("lambda_value", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(("k1", "k2", "num_queries", "num_gallery"), CASES)
def test_from_distances_equals_dense_loops(k1, k2, num_queries, num_gallery, lambda_value):
    q, g = clustered(k1, num_queries, num_gallery)
    union = np.concatenate([q, g])
    plain = np.sqrt(reference.full_distances(union, union, "euclidean"))
    scaled = plain**2 / (plain**2).max(axis=1, keepdims=True)
    ranks = np.argsort(scaled, axis=1, kind="stable")[:, : k1 + 1].tolist()
    want = (1 - lambda_value) * reference.jaccard(scaled, ranks, k1, k2) + lambda_value * scaled
    n = num_queries
    ours = re_ranking(plain[:n, n:], plain[:n, :n], plain[n:, n:], k1, k2, lambda_value)
    np.testing.assert_allclose(ours, want[:n, n:], atol=1e-5)
    assert ours.dtype == np.float32


def test_equal_features_give_distance_zero_and_no_nan():
    x = np.ones((12, 4), dtype="f")
    assert np.isfinite(k_reciprocal(x[:3], x[3:], 4, 2)(slice(0, 3))).all()
    zero = np.zeros
    assert np.isfinite(re_ranking(zero((3, 9)), zero((3, 3)), zero((9, 9)), 4, 2, 0.3)).all()


def test_bad_input_is_named():
    x = np.ones((4, 2))
    with pytest.raises(ValueError, match="k1 and k2.*got k1=0, k2=6"):
        k_reciprocal(x, x, 0)
    with pytest.raises(ValueError, match=r"needs distances \(Q, G\), \(Q, Q\) and \(G, G\); got \(4, 2\)"):
        re_ranking(x, x, x)
