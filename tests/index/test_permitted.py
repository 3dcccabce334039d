"""Patents left out of a search: the same as an index that never met them."""

from dataclasses import replace

import numpy as np
import pytest

from fastreid.index import Filter, permitted
from fastreid.index.designs import search_designs, search_figures
from fastreid.index.permitted import Permitted
from tests.index.test_designs import FILTERS, made, queries_of


class Noted:
    """An index that notes what is asked of it."""

    def __init__(self, index):
        self._index, self.searched, self.counted = index, [], []

    def __getattr__(self, name):
        return getattr(self._index, name)

    def search(self, vectors, *given):
        self.searched.append(given)
        return self._index.search(vectors, *given)

    def count(self, *given):
        self.counted.append(given)
        return self._index.count(*given)


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    index, _, _ = made(tmp_path_factory.mktemp("left") / "index", np.random.default_rng(3))
    index.delete(patents=["P7"])  # version 3, of which the last two are looked at
    yield index
    index.close()


def without_patents(*numbers):
    return tuple(f"P{number}" for number in numbers)


@pytest.mark.parametrize("named", FILTERS)
@pytest.mark.parametrize("numbers", [(), (5,), (7,), (0, 10, 999), tuple(range(40)), tuple(range(60))])
@pytest.mark.parametrize("version", [2, 3])
def test_what_is_left_is_what_the_index_itself_gives(index, named, numbers, version):
    filter = replace(FILTERS[named], not_patents=without_patents(*numbers))
    vectors = queries_of(np.random.default_rng(1), 1, variants=5)[0].vectors
    part = Permitted(index, filter, version)
    assert part.count == index.count(filter, version)
    for k in (1, 7, 90, 500):
        found, expected = part.search(vectors, k), index.search(vectors, k, filter, version)
        np.testing.assert_array_equal(found.rows, expected.rows)
        np.testing.assert_array_equal(found.scores, expected.scores)
        assert found.exact == expected.exact


def test_queries_of_different_patents_ask_for_the_same(index):
    noted = Noted(index)
    for number in range(20):
        own = index.rows_of(patents=[f"P{number}"])[:1]
        for search in (search_designs, search_figures):
            search(noted, queries_of(np.random.default_rng(number), 1), 4, Filter(not_patents=(f"P{number}",)))
        assert number == 7 or len(own)
    assert set(noted.counted) == {(None, 3)}
    assert len(set(noted.searched)) <= 4  # designs and figures; with and without something to be taken out
    assert all(filter is None for _, filter, _ in noted.searched)


@pytest.mark.parametrize("most", [20, 1])
def test_many_figures_are_left_out_by_the_filter(index, monkeypatch, most):
    monkeypatch.setattr(permitted, "MOST", most)
    noted, filter = Noted(index), Filter(not_patents=("P1", "P2"), view=("top",))
    few = len(index.rows_of(patents=filter.not_patents)) <= most
    Permitted(noted, filter, 3).search(np.ones((1, 6), np.float32), 5)
    assert noted.searched[0][1] == (replace(filter, not_patents=()) if few else filter)
    assert few == (most == 20)


def test_nothing_is_left(index):
    everything = Filter(patents=("P1",), not_patents=("P1",))
    assert search_designs(index, queries_of(np.random.default_rng(1), 1), 3, everything).designs == ()
    assert search_figures(index, queries_of(np.random.default_rng(1), 1), 3, everything).matches == ()
