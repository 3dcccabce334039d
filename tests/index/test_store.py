"""The embedded index against a list of rows, operation by operation."""

import threading

import numpy as np
import pytest

from fastreid.index import Figures, Filter, IndexLocked, OtherModel, VersionGone, create_index, open_index
from fastreid.index.base import exact_scores, require_vectors
from fastreid.index.scan import search_blocks
from tests.index.naive import NaiveIndex, some_figures, some_filter, some_vectors

DIM = 6


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def filled(path, rng, count=60, dim=DIM, metric="cosine"):
    """An open index and its naive twin."""
    index, naive = create_index(str(path), dim=dim, metric=metric), NaiveIndex(dim, metric)
    figures, vectors = some_figures(rng, [f"f{i}" for i in range(count)]), some_vectors(rng, count, dim)
    index.add(figures, vectors)
    naive.add(figures, vectors)
    return index, naive


def assert_same(index, naive, rng, as_of=None):
    filter, queries = some_filter(rng), some_vectors(rng, 3, naive.dim)
    for k in (1, 4, 500):
        found, wanted = index.search(queries, k, filter, as_of), naive.search(queries, k, filter, as_of)
        assert found.rows.shape == found.scores.shape == (3, k)
        assert found.exact
        for rows, scores, right in zip(found.rows, found.scores, wanted, strict=True):
            count = len(right)
            assert list(zip(rows[:count].tolist(), scores[:count].tolist(), strict=True)) == right
            assert (rows[count:] == -1).all()
            assert (scores[count:] == -np.inf).all()
    assert index.count(filter, as_of) == naive.count(filter, as_of)
    assert index.facets(filter, as_of) == naive.facets(filter, as_of)
    names, patents = [f"f{i}" for i in rng.integers(90, size=4)], [f"P{rng.integers(14)}"]
    rows = [
        row.number for row in naive.alive(as_of) if row.values["figure_id"] in names or row.values["patent"] in patents
    ]
    assert index.rows_of(names, patents, as_of).tolist() == rows


def test_an_empty_index_answers_with_nothing(tmp_path):
    with create_index(str(tmp_path / "index"), dim=3) as index:
        assert index.info.version == index.info.oldest_version == 1
        for _ in range(2):
            found = index.search(np.ones((2, 3)), 4)
            assert (found.rows == -1).all()
            assert index.count() == index.count(Filter(before=20200101))
            assert index.count().figures == 0
            assert index.facets()["office"] == {}
            assert index.rows_of(["x"], ["y"]).tolist() == []
            assert index.add(Figures.of([]), np.empty((0, 3))) == index.info.version
            index.compact()


def test_versions_that_are_gone_or_still_to_come_are_refused(tmp_path, rng):
    index, _ = filled(tmp_path / "index", rng)
    with pytest.raises(VersionGone, match="version 3 cannot be searched: the index has versions 1 to 2"):
        index.count(as_of=3)
    index.compact()
    for ask in (index.count, index.facets, lambda as_of: index.search(np.ones((1, DIM)), 1, as_of=as_of)):
        with pytest.raises(VersionGone, match="has versions 3 to 3"):
            ask(as_of=2)


@pytest.mark.parametrize(
    "vectors, message",
    [
        (np.ones((2, DIM + 1)), r"must have shape \(n, 6\); got \(2, 7\)"),
        (np.full((2, DIM), np.nan), "row 0 is NaN or infinite"),
        (np.eye(2, DIM) * [[1], [0]], "row 1 is zero, which has no direction for the cosine"),
        (np.full((2, DIM), 1e300) * [[1], [np.inf]], "row 1 is NaN or infinite"),
        (np.ones((3, DIM)), "2 figures need as many vectors; got 3"),
    ],
)
def test_bad_vectors_add_nothing(tmp_path, rng, vectors, message):
    index, naive = filled(tmp_path / "index", rng)
    with pytest.raises(ValueError, match=message):
        index.add(some_figures(rng, ["a", "b"]), vectors)
    assert index.info.version == 2
    assert_same(index, naive, rng)


def test_names_that_are_there_or_are_not(tmp_path, rng):
    index, naive = filled(tmp_path / "index", rng)
    with pytest.raises(ValueError, match=r"figure_id 'f3' is in the index already \(1 of 2 are\); update\(\) replaces"):
        index.add(some_figures(rng, ["new", "f3"]), np.ones((2, DIM)))
    with pytest.raises(KeyError, match="no figure_id 'f60'. Did you mean 'f6'?"):
        index.delete(["f1", "f60"])
    with pytest.raises(KeyError, match="no patent 'P77'"):
        index.delete(patents=["P77"])
    with pytest.raises(KeyError, match="no row 60"):
        index.figures(np.array([1, 60]))
    with pytest.raises(KeyError, match="no row -1"):
        index.vectors(np.array([-1]))
    assert index.info.version == 2
    index.delete(["f1"])
    with pytest.raises(KeyError, match="no figure_id 'f1'"):
        index.delete(["f1"])
    naive.delete(["f1"])
    assert_same(index, naive, rng)


def test_only_the_writer_writes(tmp_path, rng):
    index, _ = filled(tmp_path / "index", rng)
    reader = open_index(str(tmp_path / "index"))
    for work in (reader.compact, lambda: reader.delete(["f1"]), lambda: reader.set_info(config="x")):
        with pytest.raises(ValueError, match="is open for reading; open it with write=True"):
            work()
    with pytest.raises(IndexLocked, match="another process is writing"):
        open_index(str(tmp_path / "index"), write=True)
    with pytest.raises(FileExistsError, match="There is an index at"):
        index.close() or create_index(str(tmp_path / "index"), dim=3)
    open_index(str(tmp_path / "index"), write=True).close()


def test_settings_that_do_not_exist(tmp_path):
    with pytest.raises(ValueError, match="metric of an index must be one of 'cosine', 'euclidean'; got 'cosin'"):
        create_index(str(tmp_path / "a"), dim=3, metric="cosin")
    with pytest.raises(TypeError, match="'store' has no option 'factory'"):
        create_index(str(tmp_path / "b"), dim=3, factory="Flat")
    with pytest.raises(KeyError, match="Did you mean 'store'?"):
        create_index(str(tmp_path / "c"), "stor", dim=3)
    with create_index(str(tmp_path / "d"), dim=3) as index, pytest.raises(ValueError, match="got 'dim'"):
        index.set_info(dim=4)


def test_the_model_that_made_the_vectors_is_asked_for(tmp_path):
    model = {"weights": "a" * 64, "settings": {"INPUT.SIZE_TEST": [96, 96]}}
    with create_index(str(tmp_path / "index"), dim=3, model=model) as index:
        index.info.check_model(model)
        with pytest.raises(OtherModel, match="INPUT.SIZE_TEST was .96, 96., is now .64, 64."):
            index.info.check_model({**model, "settings": {"INPUT.SIZE_TEST": [64, 64]}})
        with pytest.raises(OtherModel, match="weights was 'aaaaaaaaaaa...', is now 'bbbbbbbbbbb"):
            index.info.check_model({**model, "weights": "b" * 64})


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_what_float32_cannot_tell_apart_is_told_apart(metric):
    """Vectors that differ by less than a float32 product is off by, and some that are equal."""
    rng = np.random.default_rng(0)
    base = rng.standard_normal(300)
    near = base + 1e-6 * rng.standard_normal((500, 300))
    vectors = require_vectors(np.concatenate([near, near[:40]]), 300, metric, "v")
    queries = require_vectors(base[None] + 1e-6 * rng.standard_normal((2, 300)), 300, metric, "q")
    blocks = [(np.arange(start, start + 60), vectors[start : start + 60]) for start in range(0, 540, 60)]
    found = search_blocks(queries, blocks, 25, metric, lambda places: vectors[places])
    scores = exact_scores(queries, vectors, metric)
    for row in range(2):
        order = np.lexsort((np.arange(540), -scores[row]))[:25]
        assert found.rows[row].tolist() == order.tolist()


def test_a_query_gets_the_same_alone_and_among_others(tmp_path):
    rng = np.random.default_rng(3)
    with create_index(str(tmp_path / "index"), dim=48) as index:
        index.add(some_figures(rng, [f"f{i}" for i in range(700)]), rng.standard_normal((700, 48)))
        queries = rng.standard_normal((9, 48))
        together = index.search(queries, 12)
        for place in range(9):
            alone = index.search(queries[place : place + 1], 12)
            np.testing.assert_array_equal(alone.rows[0], together.rows[place])
            np.testing.assert_array_equal(alone.scores[0], together.scores[place])


def test_threads_search_one_handle_while_it_refreshes(tmp_path):
    rng = np.random.default_rng(3)
    index, _ = filled(tmp_path / "index", rng, 200)
    reader, problems, done = open_index(str(tmp_path / "index")), [], threading.Event()

    def search():
        own = np.random.default_rng(threading.get_ident())
        while not done.is_set():
            try:
                found = reader.search(some_vectors(own, 2, DIM), 10, some_filter(own))
                reader.figures(found.rows[found.rows >= 0])
                reader.facets(some_filter(own))
            except Exception as error:
                problems.append(error)
                return

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for step in range(15):
        names = [f"s{step}-{i}" for i in range(20)]
        index.add(some_figures(rng, names), some_vectors(rng, 20, DIM))
        if step % 5 == 4:
            index.delete(names[:5])
        reader.refresh()
    done.set()
    for thread in threads:
        thread.join()
    assert not problems
    assert reader.count().figures == 200 + 15 * 20 - 3 * 5
