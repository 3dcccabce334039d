"""What is peculiar to an index in PostgreSQL: addresses and errors, connections, the graph."""

import threading

import numpy as np
import pytest

from fastreid.index import Figures, Filter, IndexCorrupt, create_index, open_index
from fastreid.index.server_rows import Permitted
from tests.index.naive import some_figures, some_vectors

psycopg = pytest.importorskip("psycopg")
DIM = 8


@pytest.fixture
def rng():
    return np.random.default_rng(2)


@pytest.fixture
def made(place, rng):
    """An index of 200 figures that is approximate from 10 permitted rows on, and its address."""
    uri, kind = place("pgvector")
    with create_index(uri, kind, dim=DIM, ann="hnsw", exact_rows=10) as index:
        index.add(some_figures(rng, [f"f{i}" for i in range(200)]), rng.standard_normal((200, DIM)))
        yield index, uri


@pytest.fixture
def sql(made, postgres):
    """``sql(text)``: a statement about the tables ``{t}`` and ``{t}_manifest``, beside the index."""
    table = made[1].rpartition("=")[2]

    def run(text):
        with psycopg.connect(postgres, autocommit=True) as connection:
            found = connection.execute(text.format(t=table))
            return found.fetchall() if found.description else []

    return run


@pytest.mark.parametrize(
    "uri",
    [
        "postgresql://user:geheim@localhost:1/db",
        "postgresql://user:gehe%69m@localhost:1/db?table=t",
        "postgresql://localhost:1/db?password=geheim&user=me",
        "postgresql://user:geheim@localhost:x1/db",
        "postgresql://user:geheim@localhost:1/db?no_such_thing=1",
        "postgresql://user:geheim@[localhost:1/db",
        "postgresql://user:geheim@localhost:1/db?connect_timeout=1&table=a-b",
    ],
)
def test_an_address_that_leads_nowhere_is_told_without_the_password(uri):
    for write in (False, True):
        with pytest.raises((ConnectionError, ValueError), match="PostgreSQL|cannot connect to postgresql://") as error:
            open_index(uri, write)
        seen = error.value
        while seen is not None:
            assert "geheim" not in str(seen)
            assert "%69" not in str(seen)
            seen = seen.__cause__
    with pytest.raises((ConnectionError, ValueError)):
        create_index(uri, "pgvector", dim=3)


@pytest.mark.parametrize("name", ["A", "a-b", "1a", "a b", "a;drop", 'a"', "", "a" * 42, "pg.t"])
def test_names_of_tables_are_plain(postgres, name):
    with pytest.raises(ValueError, match="table of an index in PostgreSQL must be lower-case letters"):
        open_index(f"{postgres}&table={name}")


@pytest.mark.parametrize(
    "options, message",
    [
        ({"dim": 16_001}, "dim of the pgvector index must be at most 16000; got 16001"),
        ({"dim": 2001, "ann": "hnsw"}, "dim of the pgvector index must be at most 2000; got 2001"),
        ({"ann": "ivf"}, "option ann of the pgvector index must be one of '', 'hnsw'; got 'ivf'"),
        (
            {"ann": "hnsw", "m": 65},
            "option ef_construction of the pgvector index must be from twice m to 1000; got 128",
        ),
        ({"ann": "hnsw", "m": 101}, "option m of the pgvector index must be from 2 to 100; got 101"),
        ({"exact_rows": -1}, "option exact_rows of the pgvector index must be at least 0; got -1"),
    ],
)
def test_options_that_pgvector_does_not_take(place, options, message):
    uri, kind = place("pgvector")
    with pytest.raises(ValueError, match=message):
        create_index(uri, kind, **{"dim": DIM, **options})
    with pytest.raises(FileNotFoundError):  # and nothing was made
        open_index(uri)


def test_texts_that_cannot_be_kept_are_refused(made):
    index, _ = made
    for text in ("a\0b", "a\ud800"):
        with pytest.raises(ValueError, match="title of figure 0 must be valid Unicode without NUL"):
            index.add(Figures.of([{"figure_id": "x", "patent": "P", "title": text}]), np.ones((1, DIM)))
    assert index.info.version == 2


def test_damaged_tables_are_told(made, sql):
    index, uri = made
    sql("ALTER TABLE {t} RENAME COLUMN office TO bureau")
    with pytest.raises(IndexCorrupt, match=r"the index at 'postgresql://.*' is damaged: column \"?office\"? does not"):
        index.count(Filter(office=("US",)))
    sql("UPDATE {t}_manifest SET content = '{{'")
    with pytest.raises(IndexCorrupt, match="the manifest of postgresql://.* is damaged"):
        open_index(uri)
    sql('UPDATE {t}_manifest SET content = \'{{"format": 9, "next_row": 1}}\'')
    with pytest.raises(IndexCorrupt, match="has format 9; this fastreid reads format 1"):
        open_index(uri)
    sql("DELETE FROM {t}_manifest")
    with pytest.raises(IndexCorrupt, match="is damaged"):
        open_index(uri)
    sql("DROP TABLE {t}")
    with pytest.raises(IndexCorrupt, match="damaged"):
        index.vectors(np.array([1]))


def test_a_reader_goes_on_when_the_server_has_cut_its_connections(made, sql):
    _, uri = made
    with open_index(uri) as reader:
        reader.count()
        cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        sql(cut)
        with pytest.raises(ConnectionError, match="the server of postgresql://.* says"):
            reader.search(np.ones((1, DIM)), 3)
        assert reader.search(np.ones((1, DIM)), 3).rows.shape == (1, 3)


def test_a_writer_that_has_lost_its_connection_commits_nothing(made, sql):
    index, uri = made
    sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
    for _ in range(2):
        with pytest.raises(ConnectionError, match="says|connection that held the writer's lock of .* is gone"):
            index.set_info(config="new")
    with open_index(uri, write=True) as other:  # the lock went with the connection
        assert other.info.version == 2
        assert other.info.config == ""


def test_a_closed_index_says_so(made):
    _, uri = made
    reader = open_index(uri)
    reader.close()
    with pytest.raises(ValueError, match="is closed"):
        reader.search(np.ones((1, DIM)), 3)


def test_threads_do_not_wait_for_one_another(made):
    """Two searches are under way at once: each has a connection of its own."""
    _, uri = made
    with open_index(uri) as reader:
        meet, found = threading.Barrier(2, timeout=30), []

        def search():
            with reader._link.lent() as connection:
                meet.wait()
                found.append(connection.execute("SELECT pg_backend_pid()").fetchone()[0])

        threads = [threading.Thread(target=search) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(found)) == 2
        with reader._link.lent() as connection:  # kept, not opened anew
            assert connection.info.backend_pid in found


def test_scans_never_use_the_graph_and_searches_of_the_graph_do(made, rng):
    index, _ = made
    index.compact()
    index.add(some_figures(rng, ["new"]), some_vectors(rng, 1, DIM))
    where, values = "added <= %s", [index.info.version]
    query = np.ones(DIM, dtype=np.float32)
    with index._link.lent() as connection, connection.transaction():
        for setting in index._sql.graph_settings(10, 1.0, iterative=False):
            connection.execute(setting)
        for scan in (True, False):
            text = "EXPLAIN " + index._sql.near("cosine", where, scan)
            plan = "\n".join(row[0] for row in connection.execute(text, (query, *values, 10)).fetchall())
            assert ("_hnsw_" in plan) != scan


def test_a_compaction_leaves_one_graph(made, sql):
    index, _ = made
    assert index.info.recall == {"queries": 0}
    for version in (3, 4):
        assert index.compact() == version
        names = sql("SELECT indexname FROM pg_indexes WHERE tablename = '{t}' AND indexdef LIKE '%hnsw%'")
        assert [name.rpartition("_")[2] for (name,) in names] == [str(version)]
        assert index.info.recall["queries"] == 128
    index.set_info(options={"ann": ""})
    assert index.compact() == 6
    assert sql("SELECT 1 FROM pg_indexes WHERE tablename = '{t}' AND indexdef LIKE '%hnsw%'") == []
    assert index.info.exact
    assert index.search(np.ones((1, DIM)), 3).exact


@pytest.mark.parametrize("iterative", [False, True])
def test_the_settings_of_the_graph(made, iterative):
    index, _ = made
    assert "SET LOCAL hnsw.ef_search = 200" in index._sql.graph_settings(5, 1.0, iterative)
    assert "SET LOCAL hnsw.ef_search = 800" in index._sql.graph_settings(20, 0.1, iterative)
    assert "SET LOCAL hnsw.ef_search = 1000" in index._sql.graph_settings(50, 0.01, iterative)
    settings = index._sql.graph_settings(50, 0.01, iterative)
    assert ("SET LOCAL hnsw.iterative_scan = strict_order" in settings) == iterative


def test_what_the_graph_loses_to_a_filter_is_topped_up_by_a_scan(made, rng, monkeypatch):
    """Rows that are permitted lie far from the query: the graph's list holds none of them."""
    index, _ = made
    near = np.ones((300, DIM)) + 0.01 * rng.standard_normal((300, DIM))
    far = -np.ones((40, DIM)) + 0.01 * rng.standard_normal((40, DIM))
    index.add(
        Figures.of({"figure_id": f"x{i}", "patent": "P", "office": "near" if i < 300 else "far"} for i in range(340)),
        np.concatenate([near, far]),
    )
    index.compact()
    monkeypatch.setattr("fastreid.index.pgvector_sql.MOST_EF", 50)
    found = index.search(np.ones((2, DIM)), 20, Filter(office=("far",)))
    assert found.exact
    rows = index.rows_of([f"x{i}" for i in range(300, 340)])
    scores = index.scores(np.ones((1, DIM)), rows)[0]
    assert found.rows[0].tolist() == rows[np.lexsort((rows, -scores))[:20]].tolist()
    permitted = Permitted(index.info.version, ())
    assert all(len(one.rows) == 12 for one in index._near(np.ones((2, DIM), np.float32), 12, permitted, 1.0))
