"""Both variants against dense loops, with the compiled loops and with the tensor operations."""

import numpy as np
import pytest
import torch

from fastreid.retrieval import Search, _rerank_torch, rerank, topk, topk_search
from fastreid.retrieval.postprocess import KReciprocal
from fastreid.retrieval.rerank import encode, k_reciprocal, pairwise_jaccard, re_ranking
from tests.retrieval import reference

BACKENDS = [module for module in (rerank._rerank_cpu, _rerank_torch) if module is not None]


@pytest.fixture(params=BACKENDS, ids=lambda module: module.__name__.rsplit("_", 1)[-1])
def backend(request, monkeypatch):
    """Run a test on each backend that is installed."""
    if request.param is _rerank_torch:
        monkeypatch.setattr(rerank, "_rerank_cpu", None)
    return request.param


def clustered(seed, num_queries, num_gallery, dim=6):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(5, dim))
    count = num_queries + num_gallery
    x = centres[rng.integers(0, 5, count)] + 0.4 * rng.normal(size=(count, dim))
    return x[:num_queries].astype("f"), x[num_queries:].astype("f")


def from_features(q, g, k1, k2):
    """Dense Jaccard distances (Q, G) of the feature variant, whose lists have k1 entries."""
    union = np.concatenate([q, g])
    distances = reference.full_distances(union, union, "euclidean")
    ranks = np.argsort(distances, axis=1, kind="stable")[:, :k1].tolist()
    return reference.jaccard(distances, ranks, k1, k2)[: len(q), len(q) :]


def from_distances(q_g, q_q, g_g, k1, k2, lambda_value):
    """Dense distances (Q, G) of the variant that starts from matrices; its lists hold all items."""
    table = np.block([[q_q, q_g], [q_g.T, g_g]]).astype(np.float64) ** 2
    largest = table.max(axis=0)
    scaled = (table / np.where(largest > 0, largest, 1)).T
    ranks = np.argsort(scaled, axis=1, kind="stable").tolist()
    mixed = (1 - lambda_value) * reference.jaccard(scaled, ranks, k1, k2) + lambda_value * scaled
    return mixed[: len(q_g), len(q_g) :]


CASES = [(20, 6, 8, 40), (6, 1, 8, 40), (7, 3, 5, 30), (50, 6, 4, 10), (1, 2, 4, 10), (3, 2, 1, 1), (2, 9, 3, 20)]


@pytest.mark.parametrize("block_mib", [1e-6, 32])
@pytest.mark.parametrize(("k1", "k2", "num_queries", "num_gallery"), CASES)
def test_from_features_equals_dense_loops(backend, k1, k2, num_queries, num_gallery, block_mib):
    q, g = clustered(k1, num_queries, num_gallery)
    want = from_features(q, g, k1, k2)
    jaccard = k_reciprocal(q, g, k1, k2, block_mib, metric="euclidean")
    assert jaccard(slice(None)).dtype == np.float32
    np.testing.assert_allclose(jaccard(slice(0, num_queries)), want, atol=1e-5)
    np.testing.assert_array_equal(jaccard(slice(num_queries - 1, num_queries)), jaccard(slice(None))[-1:])


@pytest.mark.parametrize("lambda_value", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(("k1", "k2", "num_queries", "num_gallery"), CASES)
def test_from_distances_equals_dense_loops(backend, k1, k2, num_queries, num_gallery, lambda_value):
    q, g = clustered(k1, num_queries, num_gallery)
    union = np.concatenate([q, g])
    plain, n = np.sqrt(reference.full_distances(union, union, "euclidean")), num_queries
    matrices = plain[:n, n:], plain[:n, :n], plain[n:, n:]
    ours = re_ranking(*matrices, k1, k2, lambda_value)
    np.testing.assert_allclose(ours, from_distances(*matrices, k1, k2, lambda_value), atol=1e-5)
    assert ours.dtype == np.float32
    assert isinstance(ours, np.ndarray)


def random_table(seed):
    """A small problem with many ties: few feature columns of few values, so that items repeat."""
    rng = np.random.default_rng(seed)
    num_queries, num_gallery = rng.integers(1, 6), rng.integers(1, 20)
    values = reference.whole_numbers(rng, num_queries + num_gallery, rng.integers(1, 5), rng.integers(2, 4))
    k1, k2 = rng.integers(1, 13), rng.integers(1, 8)
    return rng, values[:num_queries], values[num_queries:], int(k1), int(k2)


@pytest.mark.parametrize("first", range(0, 500, 100))
def test_random_tables_with_repeated_items(backend, first):
    for seed in range(first, first + 100):
        _, q, g, k1, k2 = random_table(seed)
        ours = k_reciprocal(q, g, k1, k2, metric="euclidean")(slice(None))
        np.testing.assert_allclose(ours, from_features(q, g, k1, k2), atol=1e-5, err_msg=f"seed {seed}")


@pytest.mark.parametrize("first", range(0, 500, 100))
def test_random_matrices_with_ties(backend, first):
    """Whole-number matrices, not symmetric: row i of the union is column i of fast-reid's table."""
    for seed in range(first, first + 100):
        rng, q, g, k1, k2 = random_table(seed)
        sizes = (len(q), len(g)), (len(q), len(q)), (len(g), len(g))
        matrices = [rng.integers(0, 6, size).astype(np.float32) for size in sizes]
        ours = re_ranking(*matrices, k1, k2, 0.3)
        np.testing.assert_allclose(ours, from_distances(*matrices, k1, k2, 0.3), atol=1e-5, err_msg=f"seed {seed}")


def test_nothing_depends_on_chunks_or_threads(backend, monkeypatch):
    q, g = clustered(3, 20, 90)
    plain = k_reciprocal(q, g, 9, 4, metric="euclidean")(slice(None))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        np.testing.assert_array_equal(k_reciprocal(q, g, 9, 4, metric="euclidean")(slice(None)), plain)
    finally:
        torch.set_num_threads(threads)
    monkeypatch.setattr(backend, "SCRATCH_ENTRIES", 1)
    np.testing.assert_array_equal(k_reciprocal(q, g, 9, 4, metric="euclidean")(slice(None)), plain)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_blend_mixes_in_place(backend, dtype):
    q, g = clustered(5, 6, 30)
    jaccard = k_reciprocal(q, g, 8, 3, metric="euclidean")
    distances = np.random.default_rng(0).random((4, 30)).astype(dtype)
    want = 0.7 * jaccard(slice(2, 6)) + 0.3 * distances
    kept = distances.copy()
    kept.setflags(write=False)
    np.testing.assert_allclose(jaccard.blend(slice(2, 6), kept, 0.3), want, atol=1e-6)
    tensor = jaccard.blend(slice(2, 6), torch.from_numpy(distances.copy()), 0.3)
    np.testing.assert_allclose(tensor.numpy(), want, atol=1e-6)
    result = jaccard.blend(slice(2, 6), distances, 0.3)
    assert np.shares_memory(result, distances)
    assert result.dtype == dtype
    np.testing.assert_allclose(result, want, atol=1e-6)
    with pytest.raises(ValueError, match=r"must have shape \(4, 30\); got \(30, 4\)"):
        jaccard.blend(slice(2, 6), distances.T, 0.3)


def test_cosine_neighbours_are_those_of_unit_rows(backend):
    q, g = clustered(6, 6, 30)
    unit = [x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in (q, g)]
    ours = k_reciprocal(q.astype(np.float64), g, 8, 3, metric="cosine")(slice(None))
    np.testing.assert_allclose(ours, from_features(*unit, 8, 3), atol=1e-5)
    q[0] = 0
    assert np.isfinite(k_reciprocal(q, g, 8, 3, metric="cosine")(slice(None))).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.int64])
def test_tensors_of_any_type(backend, dtype):
    q, g = (torch.from_numpy(4 * x).round().to(dtype) for x in clustered(6, 6, 30))
    ours = k_reciprocal(q.requires_grad_(dtype.is_floating_point), g, 8, 3, metric="euclidean")(slice(None))
    np.testing.assert_allclose(ours, from_features(q.double().detach().numpy(), g.double().numpy(), 8, 3), atol=1e-5)


def test_long_distances_underflow_without_harm(backend):
    """Features that nobody normalised: all but the nearest weights are zero in float32."""
    q, g = (1000 * x for x in clustered(7, 6, 30))
    np.testing.assert_allclose(
        k_reciprocal(q, g, 8, 3, metric="euclidean")(slice(None)), from_features(q, g, 8, 3), atol=1e-5
    )


def test_equal_features_give_no_nan(backend):
    x = np.ones((12, 4), dtype="f")
    np.testing.assert_allclose(
        k_reciprocal(x[:3], x[3:], 4, 2, metric="euclidean")(slice(None)), from_features(x[:3], x[3:], 4, 2)
    )
    zeros = np.zeros((3, 9)), np.zeros((3, 3)), np.zeros((9, 9))
    np.testing.assert_allclose(re_ranking(*zeros, 4, 2, 0.3), from_distances(*zeros, 4, 2, 0.3), atol=1e-6)


@pytest.mark.parametrize(("num_queries", "num_gallery"), [(0, 5), (3, 0), (0, 0)])
def test_nothing_to_rank(backend, num_queries, num_gallery):
    q, g = np.ones((num_queries, 4), dtype="f"), np.ones((num_gallery, 4), dtype="f")
    assert k_reciprocal(q, g, 4, 2, metric="euclidean")(slice(None)).shape == (num_queries, num_gallery)
    assert re_ranking(q @ g.T, q @ q.T, g @ g.T, 4, 2).shape == (num_queries, num_gallery)


def test_search_and_its_top_k_are_reranked(backend):
    q, g = clustered(8, 6, 30)
    search = KReciprocal(k1=8, k2=3, lambda_=0.4).apply(Search(q, g, metric="euclidean"))
    want = 0.6 * from_features(q, g, 8, 3) + 0.4 * reference.full_distances(q, g, "euclidean")
    indices, distances = topk_search(search, 5)
    np.testing.assert_array_equal(indices, np.argsort(want, axis=1, kind="stable")[:, :5])
    np.testing.assert_allclose(distances, np.sort(want, axis=1)[:, :5], atol=1e-5)


def test_among_themselves(backend):
    q, g = clustered(9, 6, 30)
    ours = pairwise_jaccard(torch.from_numpy(np.concatenate([q, g])), 8, 3)(slice(None))
    np.testing.assert_array_equal(ours[:6, 6:], k_reciprocal(q, g, 8, 3, metric="euclidean")(slice(None)))
    np.testing.assert_allclose(ours, ours.T, atol=1e-6)


def test_bad_input_is_named(backend):
    x = np.ones((4, 2))
    with pytest.raises(ValueError, match="k1 and k2.*got k1=0, k2=6"):
        k_reciprocal(x, x, 0)
    with pytest.raises(ValueError, match="k1 and k2.*got k1=4, k2=0"):
        re_ranking(x, x, x, 4, 0)
    with pytest.raises(ValueError, match=r"needs features \(Q, D\) and \(G, D\); got \(4, 2\) and \(2, 4\)"):
        k_reciprocal(x, x.T)
    with pytest.raises(ValueError, match="metric of k-reciprocal re-ranking must be one of .*got 'cosin'"):
        k_reciprocal(x, x, metric="cosin")
    with pytest.raises(ValueError, match="NaN|not finite"):
        k_reciprocal(np.full((2, 2), np.nan), x)
    with pytest.raises(ValueError, match=r"needs distances \(Q, G\), \(Q, Q\) and \(G, G\); got \(4, 2\)"):
        re_ranking(x, x, x)
    with pytest.raises(ValueError, match="row 0 have NaN or infinite distances"):
        re_ranking(np.full((1, 1), np.nan), np.zeros((1, 1)), np.zeros((1, 1)))
    with pytest.raises(ValueError, match="neighbour lists of 2 items must hold rows 0..1, without padding"):
        encode(backend, backend.as_lists(np.array([[0, -1], [1, 0]]), torch.zeros(1)), 2, 2, None)


def test_tensors_are_made_where_the_input_is(monkeypatch):
    """Any tensor without a stated device would be one without data here, as it would be on the wrong side of a GPU."""
    q, g = (torch.from_numpy(x) for x in clustered(10, 20, 90))
    union, zeros = torch.cat([q, g]), torch.zeros(20, 90)
    matrices = (q @ g.T).abs(), (q @ q.T).abs(), (g @ g.T).abs()
    want = k_reciprocal(q, g, 9, 4, metric="euclidean")(slice(None)), re_ranking(*matrices, 9, 4)
    lists = topk(union, union, 9, "euclidean")
    monkeypatch.setattr(rerank, "_rerank_cpu", None)
    monkeypatch.setattr(rerank, "topk", lambda *args, **kwargs: lists)
    with torch.device("meta"):
        ours = k_reciprocal(q, g, 9, 4, metric="euclidean").blend(slice(None), zeros, 0.0), re_ranking(*matrices, 9, 4)
    for values, expected in zip(ours, want, strict=True):
        np.testing.assert_allclose(values, expected, atol=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu():
    q, g = clustered(10, 20, 90)
    want = k_reciprocal(q, g, 9, 4, metric="euclidean")(slice(None))
    jaccard = k_reciprocal(torch.from_numpy(q).cuda(), torch.from_numpy(g).cuda(), 9, 4, metric="euclidean")
    np.testing.assert_allclose(jaccard(slice(None)).cpu().numpy(), want, atol=1e-5)
    np.testing.assert_allclose(jaccard.blend(slice(None), np.zeros_like(want), 0.0), want, atol=1e-5)
    matrices = q @ g.T + 50, q @ q.T + 50, g @ g.T + 50
    on_gpu = re_ranking(*(torch.from_numpy(d).cuda() for d in matrices), 9, 4)
    np.testing.assert_allclose(on_gpu, re_ranking(*matrices, 9, 4), atol=1e-5)
