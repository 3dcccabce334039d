"""Samples, maps and the purity of neighbourhoods, against slow and obvious loops."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from fastreid.evaluation.embedding_map import (
    alternating,
    distinct_rows,
    fitting_perplexity,
    neighbor_purity,
    project,
    sample_rows,
)


def clusters(sizes=(12, 12, 12), width=6, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return rng.normal(size=(len(sizes), width))[labels] * 4 + rng.normal(size=(len(labels), width)), labels


def test_an_image_that_is_listed_twice_is_shown_once():
    assert distinct_rows(["b", "a", "b", "c", "a"]).tolist() == [0, 1, 3]
    assert distinct_rows([]).tolist() == []


def test_samples_are_ascending_rows_without_repetition_and_depend_on_the_seed_alone():
    labels = np.arange(100) % 7
    rows = sample_rows(labels, 30, seed=1)
    assert len(set(rows.tolist())) == 30
    assert rows.tolist() == sorted(rows.tolist())
    assert 0 <= rows.min() <= rows.max() < 100
    assert rows.tolist() == sample_rows(labels, 30, seed=1).tolist()
    assert rows.tolist() != sample_rows(labels, 30, seed=2).tolist()
    assert sample_rows(labels, 100).tolist() == sample_rows(labels, 5000).tolist() == list(range(100))
    with pytest.raises(ValueError, match="size of a sample must be at least 1; got 0"):
        sample_rows(labels, 0)


def fill(sizes, total):
    """Take one of each class in turn until there are ``total``, or no more: counts, and how many may differ by one."""
    counts = [0] * len(sizes)
    while sum(counts) < total and counts != list(sizes):
        for place, size in enumerate(sizes):
            if counts[place] < size and sum(counts) < total:
                counts[place] += 1
    return counts


@pytest.mark.parametrize("total", [1, 5, 12, 23, 60, 200])
def test_a_stratified_sample_takes_one_of_each_class_in_turn(total):
    sizes = [3, 40, 1, 17, 8]
    labels = np.random.default_rng(3).permutation(np.repeat([-1, 0, 1, 2, 3], sizes))
    rows = sample_rows(labels, total, seed=4, stratified=True)
    found = [int((labels[rows] == value).sum()) for value in (-1, 0, 1, 2, 3)]
    assert sorted(found) == sorted(fill(sizes, total))
    assert all(count <= size for count, size in zip(found, sizes, strict=True))
    assert min(total, sum(sizes)) == len(set(rows.tolist()))


def test_alternating_starts_with_one_of_each_class():
    labels = np.array(["b", "a", "a", "", "b", "a"])
    order = alternating(labels, np.random.default_rng(0))
    assert sorted(order.tolist()) == list(range(6))
    assert sorted(labels[order[:3]]) == ["", "a", "b"]
    assert sorted(labels[order[3:5]]) == ["a", "b"]


def test_maps_are_deterministic_and_keep_clusters_together():
    features, labels = clusters()
    points = project(features, seed=3)
    assert points.shape == (36, 2)
    assert points.dtype == np.float64
    np.testing.assert_array_equal(points, project(features, seed=3))
    for row in range(36):
        distances = ((points - points[row]) ** 2).sum(axis=1)
        distances[row] = np.inf
        assert labels[distances.argmin()] == labels[row]


def test_cosine_maps_see_directions_and_euclidean_ones_lengths():
    features, _ = clusters((8, 8))
    longer = features * 2.0 ** (np.arange(16)[:, None] % 3)  # powers of two: the unit vectors are equal to the bit
    np.testing.assert_array_equal(project(features), project(longer))
    assert not np.allclose(project(features, metric="euclidean"), project(longer, metric="euclidean"))


def test_one_thread_works_from_principal_components_and_the_seed(monkeypatch):
    threads = []

    def fit(self, features):
        assert (self.init, self.random_state, self.perplexity) == ("pca", 5, 7)
        threads.extend(pool["num_threads"] for pool in threadpool_info())
        return features[:, :2]

    monkeypatch.setattr("sklearn.manifold.TSNE.fit_transform", fit)
    with threadpool_limits(limits=2):  # the tests' own limit is one
        assert {pool["num_threads"] for pool in threadpool_info()} == {2}
        project(clusters()[0], perplexity=7, seed=5)
    assert set(threads) == {1}


def test_the_perplexity_fits_the_number_of_points():
    assert fitting_perplexity(None, 2000) == 30
    assert fitting_perplexity(None, 31) == 10
    assert fitting_perplexity(12.5, 100) == 12.5
    for wrong in (0.5, 34, float("nan")):
        with pytest.raises(ValueError, match=r"perplexity must be from 1 to 33\.0, a third of the 100 points; got"):
            fitting_perplexity(wrong, 100)


def test_what_cannot_be_mapped_is_said():
    with pytest.raises(ValueError, match="at least 5 images; got 4"):
        project(np.eye(4))
    with pytest.raises(ValueError, match="all 9 features are equal"):
        project(np.outer(np.arange(1, 10), np.ones(3)))  # of one direction
    with pytest.raises(ValueError, match=r"method of a map must be one of 'tsne', 'umap'; got 't-sne'\. Did you mean"):
        project(np.eye(9), "t-sne")


def test_umap_gets_unit_vectors_a_seed_and_fitting_neighbours(monkeypatch):
    """A stand-in: the real one compiles for half a minute."""
    seen = []

    class UMAP:
        def __init__(self, **options):
            seen.append(options)

        def fit_transform(self, features):
            np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, rtol=1e-6)
            return np.asarray(features[:, :2], dtype=np.float32)

    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=UMAP))
    features, _ = clusters((5, 5))
    assert project(features, "umap", seed=7).dtype == np.float64
    project(clusters((20, 20))[0], "umap")
    assert seen == [
        {"n_neighbors": 9, "random_state": 7, "n_jobs": 1}, {"n_neighbors": 15, "random_state": 0, "n_jobs": 1},
    ]  # fmt: skip
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(ImportError, match=r"UMAP needs umap-learn: pip install '\.\[plot\]' from the checkout"):
        project(features, "umap")


def slow_purity(features, labels, apart, k, metric):
    shares, chances = [], []
    for row, label in enumerate(labels):
        others = [i for i in range(len(labels)) if labels[i] >= 0 and apart[i] != apart[row]]
        if label < 0 or not others:
            continue
        a = features[row]
        if metric == "cosine":
            near = {i: 1 - a @ features[i] / np.linalg.norm(a) / np.linalg.norm(features[i]) for i in others}
        else:
            near = {i: ((a - features[i]) ** 2).sum() for i in others}
        nearest = sorted(others, key=lambda i: (near[i], i))[:k]
        shares.append(np.mean([labels[i] == label for i in nearest]))
        chances.append(np.mean([labels[i] == label for i in others]))
    return np.mean(shares), np.mean(chances)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("k", [1, 4, 50])
def test_purity_is_that_of_a_loop(metric, k):
    rng = np.random.default_rng(5)
    features = rng.normal(size=(40, 3)).round(1)
    features[7] = features[8] = features[9]  # ties: by row
    labels, patents = rng.integers(-1, 4, 40), rng.integers(0, 12, 40)
    for apart in (np.arange(40), patents):
        found = neighbor_purity(features, labels, apart, metric, k)
        assert (found.found, found.chance) == pytest.approx(slow_purity(features, labels, apart, k, metric))


def test_purity_has_no_value_where_there_is_no_neighbour():
    nothing = neighbor_purity(np.eye(3), np.array([-1, -1, -1]), np.arange(3))
    alone = neighbor_purity(np.eye(3), np.array([0, 0, 1]), np.zeros(3, dtype=int))
    assert all(np.isnan(value) for value in (nothing.found, nothing.chance, alone.found, alone.chance))
    assert str(neighbor_purity(np.eye(4), np.array([0, 0, 1, 1]), np.arange(4), k=3)) == "33.3 % (by chance 33.3 %)"
