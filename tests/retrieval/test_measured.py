import itertools

import numpy as np
import pytest

from fastreid.retrieval.measured import join, measure, part_of
from fastreid.retrieval.search import Search


def search(metric="cosine", rule="camera") -> Search:
    """Features on a grid, so that there are ties; the queries 3 to 5 have no match."""
    rng = np.random.default_rng(1)
    q, g = (rng.integers(-2, 3, (rows, 4)).astype(np.float32) + 0.5 for rows in (11, 60))
    pids = rng.integers(0, 5, 11)
    pids[3:6] = 99
    columns = ({"pids": pids, "camids": rng.integers(0, 3, 11)},
               {"pids": rng.integers(0, 5, 60), "camids": rng.integers(0, 3, 60)})  # fmt: skip
    return Search(q, g, *columns, metric, rule)


def arrays(found) -> list[np.ndarray]:
    return [*vars(found.ranks).values(), found.same, found.items, found.distances]


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("cuts", [[], [1], [3, 6], [2, 3, 5, 10], range(1, 11)])
def test_parts_joined_are_the_whole(metric, cuts):
    whole = search(metric)
    borders = [0, *cuts, 11]
    parts = [part_of(whole, slice(*pair)) for pair in itertools.pairwise(borders)]
    joined = join([measure(part, "pids", True, 7) for part in parts])
    for found, expected in zip(arrays(joined), arrays(measure(whole, "pids", True, 7)), strict=True):
        assert found.dtype == expected.dtype
        assert np.array_equal(found, expected)
    assert len(joined.ranks.ranks) > 20
    assert not joined.ranks.counts[3:6].any()


def test_without_ties_there_are_none_to_join():
    joined = join([measure(part_of(search(), rows), "pids", False, 0) for rows in (slice(0, 4), slice(4, 11))])
    assert joined.ranks.optimistic is None
    assert joined.items.shape == (11, 0)


def test_a_reranked_search_is_not_divided():
    reranked = Search(np.eye(3), np.eye(3), metric="cosine", rescore=lambda rows, distances: distances)
    with pytest.raises(ValueError, match="re-ranked search cannot be divided"):
        part_of(reranked, slice(0, 1))
