"""What holds for every backend: one behaviour, that of a list of rows (`naive`).

PostgreSQL runs from the package pgserver, Milvus as a file of Milvus Lite. The environment variable FASTREID_INDEX_URI
names one more place to test, of which the tests make and leave indexes: ``milvus:http://host:19530`` or
``postgresql://user@host/database`` (collection and table names are added).
"""

import itertools
import os
import subprocess
import sys
import uuid

import numpy as np
import pytest

from fastreid.index import Figures, Filter, IndexLocked, VersionGone, create_index, faiss_index, open_index
from fastreid.index.base import exact_scores, require_vectors
from tests.index.naive import NaiveIndex, some_figures, some_filter, some_vectors
from tests.index.test_store import assert_same

DIM = 6
EXACT = ["store", "faiss", "milvus", "pgvector", "uri"]
APPROXIMATE = ["faiss-ivf", "faiss-hnsw", "pgvector-hnsw"]
MODULES = {"faiss": "faiss", "milvus": "milvus_lite", "pgvector": "pgserver"}
OPTIONS = {
    "faiss-ivf": {"factory": "IVF16,SQ8"},
    "faiss-hnsw": {"factory": "HNSW16"},
    "pgvector-hnsw": {"ann": "hnsw", "exact_rows": 60},
}


@pytest.fixture(scope="session")
def postgres(tmp_path_factory):
    """Address of a PostgreSQL server with pgvector that lives as long as the tests."""
    pgserver = pytest.importorskip("pgserver", reason="the package pgserver has a PostgreSQL server")
    server = pgserver.get_server(tmp_path_factory.mktemp("postgres"))
    yield server.get_uri()
    server.cleanup()


@pytest.fixture
def place(request, tmp_path):
    """``place(backend)``: the backend's name, and an address where there is no index yet."""
    numbers = itertools.count()

    def found(backend):
        name = backend.partition("-")[0]
        unique = f"t{uuid.uuid4().hex[:12]}"
        if name == "uri":
            uri = os.environ.get("FASTREID_INDEX_URI") or pytest.skip("FASTREID_INDEX_URI names no further place")
            kind, key = ("milvus", "collection") if uri.startswith("milvus:") else ("pgvector", "table")
            return kind, f"{uri}{'&' if '?' in uri else '?'}{key}={unique}"
        if name in MODULES:
            pytest.importorskip(MODULES[name])
        if name == "pgvector":
            return name, f"{request.getfixturevalue('postgres')}&table={unique}"
        if name == "milvus":
            return name, f"milvus:{tmp_path / 'milvus.db'}?collection={unique}"
        return name, str(tmp_path / f"index{next(numbers)}")

    return found


@pytest.fixture
def make(place):
    """``make(backend, ...)``: an index opened for writing, and its address."""
    opened = []

    def made(backend, dim=DIM, metric="cosine", **settings):
        name, uri = place(backend)
        opened.append(create_index(uri, name, dim=dim, metric=metric, **OPTIONS.get(backend, {}), **settings))
        return opened[-1], uri

    yield made
    for index in opened:
        index.close()


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def filled(make, backend, rng, count=40, metric="cosine"):
    (index, uri), naive = make(backend, metric=metric), NaiveIndex(DIM, metric)
    figures, vectors = some_figures(rng, [f"f{i}" for i in range(count)]), some_vectors(rng, count, DIM)
    index.add(figures, vectors)
    naive.add(figures, vectors)
    return index, naive, uri


def change(index, naive, rng, step):
    """Do one random thing to both."""
    known = [row.values["figure_id"] for row in naive.alive()]
    what = str(rng.choice(["add", "update", "delete", "patent", "compact", "info"], p=[0.25, 0.25, 0.2, 0.1, 0.1, 0.1]))
    if what in ("add", "update"):
        names = [f"n{step}-{i}" for i in range(rng.integers(1, 9))]
        if what == "update":
            names = list(dict.fromkeys([*names[:3], *rng.choice(known, min(4, len(known)), replace=False).tolist()]))
        figures, vectors = some_figures(rng, names), some_vectors(rng, len(names), DIM)
        getattr(index, what)(figures, vectors)
        naive.add(figures, vectors, replace=what == "update")
    elif what == "delete" and known:
        names = rng.choice(known, min(3, len(known)), replace=False).tolist()
        index.delete(names)
        naive.delete(names)
    elif what == "patent" and known:
        patents = [naive.alive()[0].values["patent"]]
        index.delete(patents=patents)
        naive.delete(patents=patents)
    elif what == "compact":
        index.compact()
        naive.compact()
    else:
        index.set_info(image_root=f"/images/{step}")
        naive.version += 1
        assert index.info.image_root == f"/images/{step}"


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("backend", EXACT)
def test_any_operations_give_what_a_list_of_rows_gives(make, backend, metric):
    rng = np.random.default_rng(len(backend) + len(metric))
    index, naive, uri = filled(make, backend, rng, metric=metric)
    reader = open_index(uri)
    for step in range(24 if backend in ("store", "faiss") else 10):
        change(index, naive, rng, step)
        assert index.info.version == naive.version
        assert (index.info.figures, index.info.designs) == (naive.count().figures, naive.count().designs)
        reader.refresh()
        assert reader.info == index.info
        for each in (index, reader):
            assert_same(each, naive, rng)
            assert_same(each, naive, rng, int(rng.integers(naive.oldest, naive.version + 1)))
        assert_same_rows(reader, naive, rng, metric)
    reader.close()


def assert_same_rows(index, naive, rng, metric):
    by_number = {row.number: row for row in naive.rows}
    rows = np.array([row.number for row in rng.permutation(naive.rows)[:5]], dtype=np.int64)
    figures = index.figures(rows)
    assert [figures.row(place) for place in range(len(rows))] == [by_number[row].values for row in rows.tolist()]
    wanted = np.array([by_number[row].vector for row in rows.tolist()], dtype=np.float32).reshape(-1, DIM)
    np.testing.assert_array_equal(index.vectors(rows), wanted)
    query = require_vectors(some_vectors(rng, 2, DIM), DIM, metric, "q")
    np.testing.assert_array_equal(index.scores(query, rows), exact_scores(query, wanted, metric))


@pytest.mark.parametrize("backend", EXACT)
def test_filtered_results_are_those_of_an_index_of_the_permitted_figures(make, backend, rng):
    index, naive, _ = filled(make, backend, rng, 60)
    figures, queries = index.figures(np.arange(60)), some_vectors(rng, 4, DIM)
    for _ in range(12):
        filter = some_filter(rng)
        good = np.flatnonzero(filter.mask(figures.columns))
        alone = NaiveIndex(DIM)
        alone.add(figures.take(good), np.array([row.vector for row in naive.rows])[good])
        found = index.search(queries, 10, filter)
        for rows, wanted in zip(found.rows, alone.search(queries, 10), strict=True):
            assert rows[rows >= 0].tolist() == [good[place] for place, _ in wanted]


@pytest.mark.parametrize("backend", EXACT)
def test_an_empty_index_answers_with_nothing(make, backend):
    index, _ = make(backend, dim=3)
    for _ in range(2):
        found = index.search(np.ones((2, 3)), 4)
        assert (found.rows == -1).all()
        assert index.count(Filter(before=20200101)).figures == index.count().designs == 0
        assert index.facets()["office"] == {}
        assert index.rows_of(["x"], ["y"]).tolist() == []
        assert len(index.figures(np.empty(0, dtype=np.int64))) == 0
        index.compact()


@pytest.mark.parametrize("backend", EXACT)
def test_what_is_refused_changes_nothing(make, backend, rng):
    index, naive, uri = filled(make, backend, rng)
    with pytest.raises(ValueError, match="figure_id 'f3' is in the index already"):
        index.add(some_figures(rng, ["new", "f3"]), np.ones((2, DIM)))
    for vectors, message in (
        (np.ones((1, DIM + 1)), r"must have shape \(n, 6\); got \(1, 7\)"),
        (np.full((1, DIM), np.nan), "row 0 is NaN or infinite"),
        (np.zeros((1, DIM)), "row 0 is zero, which has no direction for the cosine"),
    ):
        with pytest.raises(ValueError, match=message):
            index.add(some_figures(rng, ["new"]), vectors)
        with pytest.raises(ValueError, match=message):
            index.search(vectors, 3)
    with pytest.raises(KeyError, match="'nobody'"):
        index.delete(["f1", "nobody"])
    with pytest.raises(KeyError, match="no row 999"):
        index.figures(np.array([1, 999]))
    with pytest.raises(VersionGone, match="version 3"):
        index.count(as_of=3)
    with pytest.raises(IndexLocked, match="another process is writing to the index at"):
        open_index(uri, write=True)
    with open_index(uri) as reader, pytest.raises(ValueError, match="is open for reading; open it with write=True"):
        reader.compact()
    assert_same(index, naive, rng)
    index.compact()
    naive.compact()
    with pytest.raises(VersionGone, match="version 2"):
        index.search(np.ones((1, DIM)), 1, as_of=2)
    assert_same(index, naive, rng)


@pytest.mark.parametrize("backend", EXACT)
def test_an_index_is_made_once_and_opened_again(make, backend, rng):
    index, naive, uri = filled(make, backend, rng)
    before = index.info
    index.close()
    with pytest.raises(FileExistsError, match="There is an index at"):
        create_index(uri, before.backend, dim=DIM)
    with open_index(uri, write=True) as again:
        assert again.info == before
        figures, vectors = some_figures(rng, ["later"]), some_vectors(rng, 1, DIM)
        again.add(figures, vectors)
        naive.add(figures, vectors)
        assert_same(again, naive, rng)


@pytest.mark.parametrize("backend", ["store", "milvus", "pgvector"])
def test_there_is_no_index_yet(place, backend):
    _, uri = place(backend)
    with pytest.raises(FileNotFoundError, match="No index at .* tools/build_index.py makes one"):
        open_index(uri)


@pytest.mark.parametrize("backend", EXACT)
def test_the_manifest_keeps_what_it_is_told(make, backend):
    model = {"weights": "é" * 64, "settings": {"INPUT.SIZE_TEST": [96, 96], "flip": False}}
    _, uri = make(backend, model=model, config="MODEL: {'A': 1}\n", weights_path="/w.pth", image_root="/images")
    with open_index(uri) as reader:
        assert (reader.info.model, reader.info.config) == (model, "MODEL: {'A': 1}\n")
        assert (reader.info.weights_path, reader.info.image_root) == ("/w.pth", "/images")
        assert reader.info.exact


@pytest.mark.parametrize("backend", EXACT)
def test_any_text_is_a_value_and_never_a_part_of_a_question(make, backend):
    """Quotes, wildcards and escapes of SQL and of Milvus' expressions, in values and in conditions."""
    texts = [
        "it's",
        'say "x"',
        "back\\slash",
        "100%",
        "a_b",
        "{x}",
        "$1 %s",
        "; DROP TABLE t; --",
        "日本 ü",
        "' or 1=1",
    ]
    index, _ = make(backend)
    figures = Figures.of(
        {"figure_id": text, "patent": text, "office": text, "title": text, "view": text} for text in texts
    )
    index.add(figures, np.eye(len(texts), DIM) + 1)
    for number, text in enumerate(texts):
        for filter in (Filter(office=(text,)), Filter(patents=(text,)), Filter(view=(text, "other"))):
            assert index.search(np.ones((1, DIM)), 3, filter).rows[0].tolist() == [number, -1, -1]
        assert number in index.search(np.ones((1, DIM)), len(texts), Filter(title=text.split()[0])).rows[0]
        assert index.count(Filter(not_patents=(text,))).figures == len(texts) - 1
        assert index.rows_of([text]).tolist() == [number]
    assert sorted(index.facets()["office"]) == sorted(texts)
    assert index.search(np.ones((1, DIM)), 9, Filter(title="_")).rows[0].tolist() == [4] + [-1] * 8


@pytest.mark.parametrize("backend", APPROXIMATE)
def test_an_approximate_index_says_so_and_finds_what_an_exact_one_finds(make, backend, monkeypatch):
    monkeypatch.setattr(faiss_index, "FEW", 60)
    rng, count = np.random.default_rng(1), 1500
    index, uri = make(backend, dim=24)
    vectors = rng.standard_normal((60, 24)).repeat(25, axis=0) + 0.6 * rng.standard_normal((count, 24))
    rows = [{"figure_id": f"f{i}", "patent": f"P{i // 5}", "date": 20100101 + i % 28} for i in range(count)]
    index.add(Figures.of(rows[:1400]), vectors[:1400])
    index.compact()
    index.add(Figures.of(rows[1400:]), vectors[1400:])  # after the approximate part was built
    index.delete([f"f{i}" for i in range(50)])
    assert not index.info.exact
    assert {"queries", "all", "10%", "1%"} <= set(index.info.recall)
    alive = np.arange(50, count)
    queries = vectors[rng.choice(alive, 20)] + 0.3 * rng.standard_normal((20, 24))
    scores = exact_scores(*(require_vectors(v, 24, "cosine", "v") for v in (queries, vectors)), "cosine")
    with open_index(uri) as reader:
        for filter, exact in ((None, False), (Filter(before=20100110), False), (Filter(before=20100102), True)):
            found = reader.search(queries, 10, filter)
            good = alive if filter is None else alive[filter.accepts_dates(20100101 + alive % 28)]
            assert found.exact == exact
            hits = 0
            for row in range(20):
                right = good[np.lexsort((good, -scores[row, good]))[:10]]
                hits += len(np.intersect1d(right, found.rows[row]))
                assert set(found.rows[row].tolist()) <= set(good.tolist())
                np.testing.assert_array_equal(found.scores[row], scores[row, found.rows[row]])
            assert hits == 200 if exact else hits >= 0.99 * 200


CRASH = """
import os, signal, sys
import numpy as np
from fastreid.index import Figures, open_index
index = open_index(sys.argv[1], write=True)
kind = type(index)
kind._save = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
figures = Figures.of([{"figure_id": "f1", "patent": "X"}, {"figure_id": "new", "patent": "X"}])
index.update(figures, np.ones((2, 6)))
"""


@pytest.mark.parametrize("backend", ["milvus", "pgvector"])
def test_a_writer_killed_before_its_manifest_leaves_the_last_version(make, backend, rng, repo):
    index, naive, uri = filled(make, backend, rng)
    index.close()
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", CRASH, uri], cwd=repo, capture_output=True, text=True)
        assert done.returncode == -9, done.stderr
        with open_index(uri) as reader:
            assert reader.info.version == naive.version
            assert_same(reader, naive, rng)
    with open_index(uri, write=True) as again:
        figures, vectors = some_figures(rng, ["f1", "new"]), some_vectors(rng, 2, DIM)
        again.update(figures, vectors)
        naive.add(figures, vectors, replace=True)
        assert_same(again, naive, rng)


@pytest.mark.parametrize("uri", ["postgresql://user:secret@localhost:1/db", "milvus:http://user:secret@localhost:1"])
def test_a_server_that_is_not_there_is_told_without_the_password(uri):
    pytest.importorskip("psycopg" if uri.startswith("postgres") else "pymilvus")
    with pytest.raises(ConnectionError, match="cannot (connect to|open)") as error:
        open_index(uri)
    assert "secret" not in str(error.value)
