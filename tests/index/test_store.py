"""The embedded index against a list of rows, operation by operation."""

import contextlib
import types

import numpy as np
import pytest

from fastreid.index import Figures, Filter, IndexLocked, OtherModel, VersionGone, blas, create_index, open_index, scan
from fastreid.index.base import exact_scores, require_vectors
from fastreid.index.blas import one_blas_thread
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


@pytest.mark.parametrize("size", [1e-160, 1e-30, 1e30, 1e200, 1e308])
def test_the_length_of_a_vector_is_none_of_the_cosine_s_business(size):
    """Not even where the squares of its numbers leave float64."""
    rng = np.random.default_rng(1)
    vectors = rng.uniform(-1, 1, (40, 9))
    kept = require_vectors(vectors * size, 9, "cosine", "v")
    assert kept.dtype == np.float32
    np.testing.assert_allclose(kept, require_vectors(vectors, 9, "cosine", "v"), rtol=2e-7)


def test_squared_distances_stay_within_float32(tmp_path):
    with pytest.raises(ValueError, match=r"v: row 1 is longer than 1e\+18: float32 cannot hold its squared distances"):
        require_vectors([[1, 1], [1e18, 1e18]], 2, "euclidean", "v")
    rng = np.random.default_rng(0)
    with create_index(str(tmp_path / "index"), dim=3, metric="euclidean") as index:
        vectors = rng.uniform(-5e17, 5e17, (30, 3))
        index.add(some_figures(rng, [f"f{i}" for i in range(30)]), vectors)
        distances = np.square(vectors.astype(np.float32).astype(np.float64) - 0).sum(axis=1)
        assert index.search(np.zeros((1, 3)), 30).rows[0].tolist() == np.argsort(distances).tolist()


def test_threads_share_the_blocks_and_miss_none(monkeypatch):
    """The lengths of vectors differ from block to block, and with them what their scores may be off by."""
    monkeypatch.setattr(scan, "one_blas_thread", lambda: contextlib.nullcontext(4))
    rng = np.random.default_rng(0)
    for _ in range(20):
        vectors = (rng.standard_normal((400, 5)) * np.repeat(10.0 ** rng.integers(0, 4, 40), 10)[:, None]).astype("f4")
        queries = rng.standard_normal((3, 5)).astype(np.float32)
        blocks = [(np.arange(start, start + 10), vectors[start : start + 10]) for start in range(0, 400, 10)]
        found = search_blocks(queries, iter(blocks), 15, "euclidean", vectors.__getitem__)
        wanted = np.argsort(-exact_scores(queries, vectors, "euclidean"), axis=1, kind="stable")[:, :15]
        np.testing.assert_array_equal(found.rows, wanted)

    def broken():
        yield from blocks[:9]
        raise OSError("a disk that fails")

    with pytest.raises(OSError, match="a disk that fails"):
        search_blocks(queries, broken(), 15, "euclidean", lambda places: vectors[places])


def test_blas_has_its_threads_back_when_the_last_scan_is_over(monkeypatch):
    class Pools:
        now = 6

        def info(self):
            return [{"num_threads": self.now}]

        def limit(self, limits):
            before, self.now = self.now, limits
            return types.SimpleNamespace(restore_original_limits=lambda: setattr(self, "now", before))

    pools = Pools()
    monkeypatch.setattr(blas, "_pools", lambda: pools)
    with one_blas_thread() as threads:
        assert (threads, pools.now) == (6, 1)
        with pytest.raises(KeyError), one_blas_thread() as threads:
            assert (threads, pools.now) == (6, 1)
            raise KeyError
        assert pools.now == 1
    assert pools.now == 6


def test_blas_of_numpy_is_one_that_can_be_told():
    before = [pool["num_threads"] for pool in blas._pools().info()]
    with one_blas_thread():
        assert all(pool["num_threads"] == 1 for pool in blas._pools().info())
    assert [pool["num_threads"] for pool in blas._pools().info()] == before


def test_scores_do_not_depend_on_how_many_are_asked_for():
    rng = np.random.default_rng(2)
    for dim in (1, 7, 512, 2048):
        for metric in ("cosine", "euclidean"):
            vectors = require_vectors(rng.standard_normal((50, dim)), dim, metric, "v")
            queries = require_vectors(rng.standard_normal((3, dim)), dim, metric, "q")
            whole = exact_scores(queries, vectors, metric)
            for place in range(50):
                one = exact_scores(queries[1:2], vectors[place : place + 1], metric)
                assert one[0, 0] == whole[1, place]


def test_equal_vectors_beyond_one_block_are_ordered_by_row(monkeypatch):
    monkeypatch.setattr("fastreid.index.scan.BLOCK_NUMBERS", 3 * 10)
    vectors = np.tile(np.float32([[0.6, 0.8, 0]]), (200, 1))
    vectors[150] = [1, 0, 0]
    blocks = [(np.arange(start, start + 40), vectors[start : start + 40]) for start in range(0, 200, 40)]
    query = np.float32([[1, 0, 0]])
    found = search_blocks(query, blocks, 30, "cosine", lambda places: vectors[places])
    assert found.rows[0].tolist() == [150, *range(29)]
    assert len(set(found.scores[0, 1:])) == 1


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_what_float32_cannot_tell_apart_is_told_apart(metric, threads, monkeypatch):
    """Vectors that differ by less than a float32 product is off by, and some that are equal."""
    monkeypatch.setattr(scan, "one_blas_thread", lambda: contextlib.nullcontext(threads))
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


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("share", [0, 0.01, 0.2, 0.5, 0.95, 1])
def test_any_share_of_permitted_rows_is_searched_exactly(tmp_path, rng, monkeypatch, metric, share):
    """Few are gathered, some copied block by block, many scored with the others; also where they lie together."""
    monkeypatch.setattr("fastreid.index.store_snapshot.BLOCK_NUMBERS", 16 * DIM)
    monkeypatch.setattr("fastreid.index.scan.SCORE_NUMBERS", 20)
    index, _ = filled(tmp_path / "index", rng, 300, metric=metric)
    queries = require_vectors(some_vectors(rng, 3, DIM), DIM, metric, "q")
    for mask in (rng.random(300) < share, np.arange(300) < round(300 * share)):
        found = index.exact(index.snapshot, queries, 8, mask)
        rows = np.flatnonzero(mask)
        scores = exact_scores(queries, index.vectors(rows), metric)
        for place in range(3):
            order = np.lexsort((rows, -scores[place]))[:8]
            assert found.rows[place, : len(order)].tolist() == rows[order].tolist()
            assert (found.rows[place, len(order) :] == -1).all()


def test_what_is_kept_of_a_filter_is_not_the_caller_s(tmp_path, rng):
    """Counts that a caller changes, and filters beyond those that are kept."""
    index, naive = filled(tmp_path / "index", rng)
    index.facets()["office"].clear()
    assert index.facets() == naive.facets(Filter())
    for _ in range(2):
        for patent in range(12):
            filter = Filter(patents=(f"P{patent}",))
            assert index.count(filter) == naive.count(filter)
            assert index.facets(filter) == naive.facets(filter)


def test_facets_of_many_values_are_counted_by_sorting(tmp_path, rng, monkeypatch):
    monkeypatch.setattr("fastreid.index.table.PAIRS", 20)
    index, naive = filled(tmp_path / "index", rng)
    for filter in (Filter(), Filter(office=("US",)), Filter(patents=("nobody",))):
        assert index.facets(filter) == naive.facets(filter)


def test_a_reader_behind_knows_no_names_of_later_versions(tmp_path, rng):
    """Tables of one process share their texts, but each knows only those of its own version."""
    index, naive = filled(tmp_path / "index", rng)
    old = index.snapshot.table
    index.add(some_figures(rng, ["later"]), np.ones((1, DIM)))
    assert old.named("figure_id", ["later", "f3"]).tolist() == [3]
    assert len(old.values("figure_id")) == 60
    assert old.mask(Filter(title="chair"), 2).tolist() == [
        "chair" in row.values["title"].casefold() for row in naive.alive()
    ]
    assert old.facets(Filter(), 2) == naive.facets(Filter())
