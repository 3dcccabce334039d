"""What every backend of the index has to do, asked of each of them in the same words.

Backends whose package is missing are skipped by name. ``FASTREID_INDEX_URI`` names one more place to run all of this
against: a folder (the embedded store), ``postgresql://user@host/database`` or ``milvus:http://host:port``; every test
makes tables or collections of its own there, whose names begin with "test_", and drops them.
"""

import itertools
import subprocess
import sys
import threading

import numpy as np
import pytest

from fastreid.index import (
    Figures,
    Filter,
    IndexLocked,
    OtherModel,
    VersionGone,
    create_index,
    open_index,
)
from fastreid.index.base import exact_scores, require_vectors
from tests.index.conftest import ELSEWHERE
from tests.index.naive import NaiveIndex, some_figures, some_filter, some_vectors
from tests.index.test_store_processes import assert_whole
from tests.index.writer import DIM as WRITER_DIM

DIM = 16
BACKENDS = ["store", "faiss", "milvus", "pgvector", *(["elsewhere"] if ELSEWHERE else [])]
APPROXIMATE = {  # what makes a backend approximate on few rows
    "faiss-hnsw": {"factory": "HNSW32"},
    "faiss-ivf": {"factory": "IVF16,SQ8"},
    "milvus-hnsw": {"ann": "hnsw", "exact_rows": 20},
    "pgvector-hnsw": {"ann": "hnsw", "exact_rows": 20},
}
NASTY = (
    'a"b',
    "a'b",
    "a\\b",
    "a\\",
    '\\"',
    "100%",
    "a_b",
    "axb",
    "{x}",
    "%s",
    "a\nb",
    "$1",
    "Straße",
    "İstanbul",
    "椅子 🪑",
    "a;--",
)


@pytest.fixture(params=BACKENDS)
def new(request, place):
    """Return ``new(**settings) -> open index of the backend``; all are closed at the end."""
    indexes = []

    def make(**settings):
        uri, kind = place(request.param)
        index = create_index(uri, kind, **{"dim": DIM, **settings})
        index.uri = uri
        indexes.append(index)
        return index

    yield make
    for index in indexes:
        index.close()


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def filled(new, rng, count=40, metric="cosine"):
    """An open index and its naive twin, with several versions behind them."""
    index, naive = new(metric=metric), NaiveIndex(DIM, metric)
    figures, vectors = some_figures(rng, [f"f{i}" for i in range(count)]), some_vectors(rng, count, DIM)
    index.add(figures, vectors)
    naive.add(figures, vectors)
    return index, naive


def assert_same_search(index, naive, queries, k, filter=None, as_of=None):
    found, wanted = index.search(queries, k, filter, as_of), naive.search(queries, k, filter, as_of)
    assert found.rows.shape == found.scores.shape == (len(queries), k)
    assert (found.rows.dtype, found.scores.dtype) == (np.int64, np.float64)
    assert found.exact
    for rows, scores, right in zip(found.rows, found.scores, wanted, strict=True):
        assert list(zip(rows[: len(right)].tolist(), scores[: len(right)].tolist(), strict=True)) == right
        assert (rows[len(right) :] == -1).all()
        assert (scores[len(right) :] == -np.inf).all()


def assert_same(index, naive, rng, as_of=None):
    filter, queries = some_filter(rng), some_vectors(rng, 3, DIM)
    for k in (3, 200):
        assert_same_search(index, naive, queries, k, filter, as_of)
    assert index.count(filter, as_of) == naive.count(filter, as_of)
    facets = index.facets(filter, as_of)
    assert facets == naive.facets(filter, as_of)
    assert all(list(values) == sorted(values) for values in facets.values())
    names, patents = [f"f{i}" for i in rng.integers(60, size=4)], [f"P{rng.integers(14)}"]
    wanted = [
        row.number for row in naive.alive(as_of) if row.values["figure_id"] in names or row.values["patent"] in patents
    ]
    rows = index.rows_of(names, patents, as_of)
    assert rows.dtype == np.int64
    assert rows.tolist() == wanted


# -- the whole, against a list of rows ---------------------------------------------------------------------------------


@pytest.mark.parametrize("metric, seed", [("cosine", 0), ("euclidean", 1)])
def test_any_operations_give_what_a_list_of_rows_gives(new, metric, seed):
    rng = np.random.default_rng(seed)
    index, naive = filled(new, rng, 25, metric)
    uri, reader = index.uri, open_index(index.uri)
    kinds = itertools.cycle(["update", "delete", "add", "reopen", "patent", "info", "update", "compact"])
    for step, what in zip(range(16), kinds, strict=False):
        known = [row.values["figure_id"] for row in naive.alive()]
        if what in ("add", "update"):
            names = [f"n{step}-{i}" for i in range(5)]
            if what == "update":
                names = [*names[:2], *rng.choice(known, 4, replace=False).tolist()]
            figures, vectors = some_figures(rng, names), some_vectors(rng, len(names), DIM)
            assert getattr(index, what)(figures, vectors) == naive.version + 1
            naive.add(figures, vectors, replace=what == "update")
        elif what in ("delete", "patent"):
            names = {"figure_ids": rng.choice(known, 3, replace=False).tolist()}
            names = {"patents": [naive.alive()[0].values["patent"]]} if what == "patent" else names
            assert index.delete(**names) == naive.version + 1
            naive.delete(**names)
        elif what == "compact":
            assert index.compact() == naive.version + 1
            naive.compact()
        elif what == "info":
            assert index.set_info(image_root=f"/images/{step}") == naive.version + 1
            naive.version += 1
        else:
            index.close()
            index = open_index(uri, write=True)
        assert (index.info.version, index.info.oldest_version) == (naive.version, naive.oldest)
        assert (index.info.figures, index.info.designs) == (naive.count().figures, naive.count().designs)
        assert reader.refresh() == (what != "reopen")
        assert reader.info == index.info
        assert_same(reader, naive, rng)
        assert_same(index, naive, rng, int(rng.integers(naive.oldest, naive.version + 1)))
        rows = np.array([row.number for row in rng.permutation(naive.rows)[:5]], dtype=np.int64)
        by_number = {row.number: row for row in naive.rows}
        figures = reader.figures(rows)
        assert [figures.row(place) for place in range(len(rows))] == [by_number[row].values for row in rows.tolist()]
        wanted = np.array([by_number[row].vector for row in rows.tolist()]).reshape(-1, DIM)
        np.testing.assert_array_equal(reader.vectors(rows), wanted)
        query = require_vectors(some_vectors(rng, 2, DIM), DIM, metric, "q")
        np.testing.assert_array_equal(reader.scores(query, rows), exact_scores(query, wanted, metric))
    reader.close()
    index.close()


# -- filters -----------------------------------------------------------------------------------------------------------


def nasty_figures():
    return Figures.of(
        {"figure_id": f"{text} {i}", "patent": f"P{text}", "title": f"Chair {text}", "caption": text, "view": text,
         "office": text, "applicant": text, "path": text, "locarno": text, "figure": text, "date": 20200101 + i}
        for i, text in enumerate(NASTY)
    )  # fmt: skip


def test_texts_come_back_and_are_found_whatever_stands_in_them(new, rng):
    index, naive = new(), NaiveIndex(DIM)
    figures, vectors = nasty_figures(), some_vectors(rng, len(NASTY), DIM)
    index.add(figures, vectors)
    naive.add(figures, vectors)
    again = index.figures(np.arange(len(NASTY)))
    assert [again.row(i) for i in range(len(again))] == [figures.row(i) for i in range(len(figures))]
    for i, text in enumerate(NASTY):
        conditions = [{name: (text,)} for name in ("office", "view", "applicant", "locarno")]
        conditions += [{"patents": (f"P{text}",)}, {"not_patents": (f"P{text}",)}, {"title": text}]
        for condition in conditions:
            assert_same_search(index, naive, vectors[:1], 20, Filter(**condition))
        assert index.rows_of([f"{text} {i}"]).tolist() == index.rows_of(patents=[f"P{text}"]).tolist() == [i]
        assert index.count(Filter(office=(text,))) == naive.count(Filter(office=(text,)))
    for title in (
        "%",
        "_",
        "\\",
        '"',
        "'",
        "a_b",
        "STRASSE",
        "strasse",
        "i̇STANBUL",
        "chair a",
        "a'B chair",
        "\\b",
        "🪑",
    ):
        assert_same_search(index, naive, vectors[:1], 20, Filter(title=title))
    assert index.facets() == naive.facets(Filter())
    index.delete([f"{NASTY[0]} 0"], [f"P{NASTY[2]}"])
    naive.delete([f"{NASTY[0]} 0"], [f"P{NASTY[2]}"])
    assert_same_search(index, naive, vectors[:2], 20)


FILTERS = [
    Filter(before=20100102),
    Filter(since=20100102),
    Filter(before=20140202, since=20090101, date_field="filed"),
    Filter(locarno=("14",)),
    Filter(locarno=("06-01", "D14")),
    Filter(office=("US", "")),
    Filter(view=("front",), applicant=("ACME",)),
    Filter(patents=("P1", "P2", "nowhere")),
    Filter(not_patents=("P1", "P2")),
    Filter(title="CHAIR off"),
    Filter(title="strasse"),
    Filter(before=20160101, locarno=("06", "14"), office=("US", "EM"), not_patents=("P3",)),
    Filter(patents=("nowhere",)),
    Filter(office=("US\0", "\ud800")),
    Filter(title="\0"),
    Filter(not_patents=("\0",)),
]


def test_a_filter_gives_what_an_index_of_the_permitted_figures_gives(new, rng):
    index, naive = filled(new, rng, 150)
    queries = some_vectors(rng, 2, DIM)
    for filter in FILTERS:
        assert_same_search(index, naive, queries, 7, filter)
        assert index.count(filter) == naive.count(filter)
        assert index.facets(filter) == naive.facets(filter)
    for filter in (FILTERS[4], FILTERS[11]):
        permitted = naive.permitted(filter)
        other = new()
        other.add(
            Figures.of(row.values for row in permitted), np.array([row.vector for row in permitted]).reshape(-1, DIM)
        )
        ours, theirs = index.search(queries, 9, filter), other.search(queries, 9)
        np.testing.assert_allclose(ours.scores, theirs.scores, rtol=0, atol=1e-6)  # brought to unit length twice
        for mine, its in zip(ours.rows, theirs.rows, strict=True):
            if len(permitted) >= 9:
                assert set(index.figures(mine)["patent"]) <= {row.values["patent"] for row in permitted}
            assert (mine >= 0).sum() == (its >= 0).sum() == min(9, len(permitted))


def test_a_filter_may_name_thousands(new, rng):
    index, naive = filled(new, rng)
    queries, many = some_vectors(rng, 1, DIM), tuple(f"X{i}" for i in range(4000))
    for filter in (Filter(patents=(*many, "P3", "P4")), Filter(not_patents=(*many, "P3"))):
        assert_same_search(index, naive, queries, 50, filter)
    assert index.rows_of([*many, "f1"], many).tolist() == [1]


# -- order -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_duplicates_and_what_float32_cannot_tell_apart_are_in_order(new, rng, metric):
    index, naive = new(metric=metric), NaiveIndex(DIM, metric)
    base = rng.standard_normal(DIM)
    near = base + 3e-7 * rng.standard_normal((60, DIM))
    vectors = np.concatenate([near, np.tile(base, (70, 1)), near[:20], rng.standard_normal((50, DIM))])
    vectors = vectors[rng.permutation(len(vectors))]
    figures = some_figures(rng, [f"f{i}" for i in range(len(vectors))])
    index.add(figures, vectors)
    naive.add(figures, vectors)
    queries = np.array([base, base + 1e-6 * rng.standard_normal(DIM), -base, near[3]])
    for k in (1, 5, 33, 149):
        assert_same_search(index, naive, queries, k)
        assert_same_search(index, naive, queries, k, Filter(office=("US", "EM")))


def test_a_query_gets_the_same_alone_and_among_others(new, rng):
    index, _ = filled(new, rng, 100)
    queries = rng.standard_normal((7, DIM))
    together = index.search(queries, 12)
    for place in range(7):
        alone = index.search(queries[place : place + 1], 12)
        np.testing.assert_array_equal(alone.rows[0], together.rows[place])
        np.testing.assert_array_equal(alone.scores[0], together.scores[place])
    none = index.search(np.empty((0, DIM)), 3)
    assert none.rows.shape == none.scores.shape == (0, 3)


# -- versions ----------------------------------------------------------------------------------------------------------


def test_a_reader_stays_at_its_version_until_it_refreshes(new, rng):
    index, naive = filled(new, rng)
    queries = some_vectors(rng, 2, DIM)
    with open_index(index.uri) as reader:
        before = NaiveIndex(DIM, version=naive.version, rows=list(naive.rows))
        index.update(some_figures(rng, ["f1", "new"]), some_vectors(rng, 2, DIM))
        index.delete(["f2"])
        assert_same_search(reader, before, queries, 60)
        assert reader.count() == before.count()
        assert reader.info.version == naive.version
        assert reader.rows_of(["new", "f1"]).tolist() == [1]
        with pytest.raises(KeyError, match="no row 40"):
            reader.figures(np.array([40]))
        assert reader.refresh()
        assert not reader.refresh()
        assert reader.rows_of(["new", "f1", "f2"]).tolist() == [40, 41]
        assert_same_search(reader, before, queries, 60, as_of=naive.version)
        assert reader.vectors(np.array([1, 2])).shape == (2, DIM)  # removed, and still kept
        index.delete(["f3", "f4"])
        index.add(some_figures(rng, ["newer"]), some_vectors(rng, 1, DIM))
        index.compact()
        rows = reader.search(queries, 60).rows[0]
        # of the version that it had, or where that was dropped of the newest one; never a part of either
        assert sorted(rows[rows >= 0].tolist()) in ([0, *range(3, 42)], [0, *range(5, 43)])
        assert reader.count(Filter(not_patents=("?",))).figures in (40, 39)


def test_versions_that_are_gone_or_still_to_come_are_refused(new, rng):
    index, _ = filled(new, rng)
    for version in (0, -1, 3):
        with pytest.raises(VersionGone, match=f"version {version} cannot be searched: the index has versions 1 to 2"):
            index.count(as_of=version)
    assert index.count(as_of=1).figures == 0
    index.compact()
    assert index.info.version == index.info.oldest_version == 3
    for ask in (
        index.count,
        index.facets,
        index.rows_of,
        lambda as_of: index.search(np.ones((1, DIM)), 1, as_of=as_of),
    ):
        with pytest.raises(VersionGone, match="has versions 3 to 3"):
            ask(as_of=2)
    assert index.count(as_of=3).figures == 40


def test_rows_are_never_used_again(new, rng):
    index, _ = filled(new, rng, 6)
    index.delete([f"f{i}" for i in range(6)])
    assert index.info.figures == index.info.designs == 0
    index.compact()
    uri = index.uri
    index.close()
    with open_index(uri, write=True) as index:
        index.add(some_figures(rng, ["f0", "f1"]), some_vectors(rng, 2, DIM))
        assert index.rows_of(["f0", "f1"]).tolist() == [6, 7]
        for row in (0, 5):
            with pytest.raises(KeyError, match=f"no row {row}"):
                index.vectors(np.array([row]))


def test_an_empty_index_answers_with_nothing(new):
    index = new()
    assert (index.info.version, index.info.oldest_version, index.info.figures, index.info.designs) == (1, 1, 0, 0)
    for _ in range(2):
        found = index.search(np.ones((2, DIM)), 4)
        assert (found.rows == -1).all()
        assert (found.scores == -np.inf).all()
        assert index.count().figures == index.count(Filter(before=20200101)).designs == 0
        assert index.facets() == {name: {} for name in ("class", "locarno", "office", "view", "applicant", "year")}
        assert index.rows_of(["x"], ["y"]).tolist() == index.rows_of().tolist() == []
        assert len(index.figures(np.array([], dtype=np.int64))) == 0
        assert index.vectors(np.array([], dtype=np.int64)).shape == (0, DIM)
        assert index.add(Figures.of([]), np.empty((0, DIM))) == index.info.version
        index.compact()


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "vectors, message",
    [
        (np.ones((2, DIM + 1)), r"must have shape \(n, 16\); got \(2, 17\)"),
        (np.full((2, DIM), np.nan), "row 0 is NaN or infinite"),
        (np.eye(2, DIM) * [[1], [0]], "row 1 is zero, which has no direction for the cosine"),
        (np.ones((3, DIM)), "2 figures need as many vectors; got 3"),
    ],
)
def test_bad_vectors_are_refused_whole(new, rng, vectors, message):
    index, naive = filled(new, rng, 9)
    for write in (index.add, index.update):
        with pytest.raises(ValueError, match=message):
            write(some_figures(rng, ["f1", "b"] if write == index.update else ["a", "b"]), vectors)
    assert index.info.version == 2
    if len(vectors) == 2:
        with pytest.raises(ValueError, match=message):
            index.search(vectors, 3)
        with pytest.raises(ValueError, match=message):
            index.scores(vectors, np.array([1]))
    assert_same(index, naive, rng)


def test_names_that_are_there_or_are_not(new, rng):
    index, naive = filled(new, rng)
    with pytest.raises(ValueError, match=r"figure_id 'f3' is in the index already \(1 of 2 are\); update\(\) replaces"):
        index.add(some_figures(rng, ["new", "f3"]), some_vectors(rng, 2, DIM))
    with pytest.raises(KeyError, match="the index has no figure_id 'f60'"):
        index.delete(["f1", "f60"])
    with pytest.raises(KeyError, match="the index has no patent 'P77'"):
        index.delete(["f1"], ["P77"])
    for ask in (index.figures, index.vectors, lambda rows: index.scores(np.ones((1, DIM)), rows)):
        for row in (-1, 40):
            with pytest.raises(KeyError, match=f"no row {row}"):
                ask(np.array([1, row]))
    for k in (0, -3):
        with pytest.raises(ValueError, match="k .*at least 1"):
            index.search(np.ones((1, DIM)), k)
    assert index.info.version == 2
    index.delete(["f1"])
    naive.delete(["f1"])
    with pytest.raises(KeyError, match="the index has no figure_id 'f1'"):
        index.delete(["f1"])
    index.add(some_figures(rng, ["f1"]), np.ones((1, DIM)))  # its name is free again
    assert index.rows_of(["f1"]).tolist() == [40]
    assert_same_search(index, naive, some_vectors(rng, 2, DIM), 50, as_of=3)


def test_only_one_writes(new, rng):
    index, _ = filled(new, rng)
    uri = index.uri
    with open_index(uri) as reader:
        figures = some_figures(rng, ["x"])
        for work in (
            reader.compact, lambda: reader.delete(["f1"]), lambda: reader.set_info(config="x"),
            lambda: reader.add(figures, np.ones((1, DIM))), lambda: reader.update(figures, np.ones((1, DIM))),
        ):  # fmt: skip
            with pytest.raises(ValueError, match="is open for reading; open it with write=True"):
                work()
    with pytest.raises(IndexLocked, match="another process is writing"):
        open_index(uri, write=True)
    index.add(figures, np.ones((1, DIM)))  # the one who was refused has not disturbed it
    index.close()
    index.close()
    with pytest.raises(FileExistsError, match="There is an index at"):
        create_index(uri, index.info.backend, dim=3)
    with open_index(uri, write=True) as again:
        assert again.delete(["x"]) == 4


def test_nothing_is_there(place, new):
    uri = new().uri
    other = uri[:-3] + "xyz" + (".db" if uri.endswith(".db") else "")
    for write in (False, True):
        with pytest.raises(FileNotFoundError, match="No index at"):
            open_index(other, write)
    with pytest.raises(FileNotFoundError):
        open_index(other)  # which looking has not made


def test_what_is_said_of_the_index_stays(new, rng):
    model = {"weights": "a" * 64, "settings": {"INPUT.SIZE_TEST": [96, 96], "flip": True}}
    said = {"model": model, "config": "A: 'ü'\nB: [1, \"2\"]\n" * 800, "weights_path": "/w.pth", "image_root": "/i"}
    index = new(metric="euclidean", **said)
    index.add(some_figures(rng, ["a"]), np.zeros((1, DIM)))  # zero has a place, if no direction
    index.set_info(config="new", weights_path="/other.pth")
    info, uri = index.info, index.uri
    assert (info.version, info.dim, info.metric, info.figures) == (3, DIM, "euclidean", 1)
    assert (info.config, info.weights_path, info.image_root) == ("new", "/other.pth", "/i")
    assert info.created <= info.changed
    assert info.exact
    index.close()
    with open_index(uri) as reader:
        assert reader.info == info
        assert reader.info.as_json() == info.as_json()
        reader.info.check_model(model)
        with pytest.raises(OtherModel, match="INPUT.SIZE_TEST"):
            reader.info.check_model({**model, "settings": {"INPUT.SIZE_TEST": [64, 64], "flip": True}})
    with open_index(uri, write=True) as index, pytest.raises(ValueError, match="got 'dim'"):
        index.set_info(dim=4)


def test_settings_that_do_not_exist(new):
    with pytest.raises(ValueError, match="metric .* must be one of 'cosine', 'euclidean'; got 'cosin'"):
        new(metric="cosin")
    with pytest.raises(TypeError, match="has no option 'no_such'"):
        new(no_such=1)


def test_threads_search_one_handle_while_it_refreshes(new, rng):
    index, _ = filled(new, rng, 60)
    reader, problems, done = open_index(index.uri), [], threading.Event()

    def search():
        own = np.random.default_rng(threading.get_ident())
        while not done.is_set():
            try:
                found = reader.search(some_vectors(own, 2, DIM), 10, some_filter(own))
                reader.figures(found.rows[found.rows >= 0])
                reader.count(some_filter(own))
                reader.facets(some_filter(own))
            except Exception as error:
                problems.append(error)
                return

    threads = [threading.Thread(target=search) for _ in range(2)]
    for thread in threads:
        thread.start()
    for step in range(6):
        names = [f"s{step}-{i}" for i in range(20)]
        index.add(some_figures(rng, names), some_vectors(rng, 20, DIM))
        index.delete(names[:5])
        reader.refresh()
    done.set()
    for thread in threads:
        thread.join()
    assert not problems
    assert reader.count().figures == 60 + 6 * 15
    reader.close()


# -- approximate ones --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("backend", APPROXIMATE)
def test_an_approximate_index_finds_99_of_100_and_says_what_it_is(place, monkeypatch, rng, backend, metric):
    uri, kind = place(backend.partition("-")[0])
    if kind == "faiss":
        monkeypatch.setattr("fastreid.index.faiss_index.FEW", 20)
    count = 500
    middles = rng.standard_normal((40, DIM))
    vectors = middles[rng.integers(40, size=count)] + 0.4 * rng.standard_normal((count, DIM))
    offices = np.where(np.arange(count) % 100 == 7, "rare", np.where(np.arange(count) % 2, "odd", "even"))
    figures = Figures.of({"figure_id": f"f{i}", "patent": f"P{i // 3}", "office": offices[i]} for i in range(count))
    with create_index(uri, kind, dim=DIM, metric=metric, **APPROXIMATE[backend]) as index:
        index.add(figures, vectors)
        index.delete([f"f{i}" for i in range(0, 40, 4)])
        index.compact()
        index.add(some_figures(rng, [f"n{i}" for i in range(30)]), vectors[:30] + 0.1)
        index.delete(["n3", "f21"])
        assert not index.info.exact
        assert {"all", "10%", "1%", "queries"} <= set(index.info.recall)
        assert min(value for name, value in index.info.recall.items() if name != "queries") >= 0.99
        queries = require_vectors(vectors[::9] + 0.1 * rng.standard_normal((56, DIM)), DIM, metric, "q")
        alive = np.array(sorted({*range(count), *range(count, count + 30)} - {*range(0, 40, 4), 21, 503}))
        scores = exact_scores(queries, index.vectors(alive), metric)
        office = index.figures(alive)["office"]
        for filter, most in ((None, 0), (Filter(office=("odd",)), 0), (Filter(office=("rare",)), 20)):
            mask = np.ones(len(alive), bool) if filter is None else np.isin(office, filter.office)
            found, hits = index.search(queries, 10, filter), 0
            assert found.exact == (mask.sum() <= most)
            for place_, rows in enumerate(found.rows):
                right = alive[mask][np.lexsort((alive[mask], -scores[place_][mask]))[:10]]
                hits += len(np.intersect1d(right, rows))
                kept = rows[rows >= 0]
                assert len(kept) == len(right)  # as many as there are, none twice
                own = [scores[place_][np.searchsorted(alive, row)] for row in kept]
                assert own == found.scores[place_][: len(kept)].tolist()
                order = list(zip((-np.array(own)).tolist(), kept.tolist(), strict=True))
                assert order == sorted(order)
            assert hits >= 0.99 * len(queries) * min(10, mask.sum())
    with open_index(uri) as index:
        assert not index.info.exact
        assert index.search(queries[:1], 5).rows[0].tolist() == found_again(index, queries[0])


def found_again(index, query):
    return index.search(np.stack([query, query]), 5).rows[1].tolist()


# -- killed writers ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["milvus", "pgvector"])
def test_a_writer_killed_at_any_call_to_the_server_loses_nothing(place, repo, backend):
    """Killed before or after its n-th call that changes something: between rows, marks, manifest and commit."""
    uri, kind = place(backend)
    create_index(uri, kind, dim=WRITER_DIM).close()
    announced = 1
    for call in (1, 2, 3, 4, 5, 6, 9, 14):
        command = [sys.executable, "-m", "tests.index.writer", uri, str(call)]
        done = subprocess.run(command, cwd=repo, capture_output=True, text=True)
        assert done.returncode == -9, done.stderr
        opened, *committed = [int(line.split()[-1]) for line in done.stdout.splitlines()]
        assert opened == announced
        announced = assert_whole(uri, committed[-1] if committed else opened)
    assert announced >= 8
    with open_index(uri, write=True) as index:
        index.compact()
