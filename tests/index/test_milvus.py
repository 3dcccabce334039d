"""What is peculiar to an index in Milvus: addresses, the writer's lease, what Milvus does not take."""

import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from fastreid.index import Figures, Filter, IndexCorrupt, IndexLocked, create_index, open_index
from fastreid.index.milvus_link import parts_of
from fastreid.index.milvus_rows import armoured
from tests.index.naive import NaiveIndex, some_figures, some_vectors

milvus = pytest.importorskip("fastreid.index.milvus")
pytest.importorskip("pymilvus")
pytest.importorskip("milvus_lite")
DIM = 4


@pytest.fixture
def rng():
    return np.random.default_rng(2)


@pytest.fixture
def uri(tmp_path):
    return f"milvus:{tmp_path / 'x.db'}?collection=c"


@pytest.fixture
def index(uri, rng):
    with create_index(uri, "milvus", dim=DIM) as index:
        index.add(some_figures(rng, [f"f{i}" for i in range(30)]), some_vectors(rng, 30, DIM))
        yield index


@pytest.mark.parametrize(
    "given, wanted",
    [
        ("milvus:a/b.db", ("a/b.db", "fastreid_index", {}, True)),
        ("milvus:/a/b.db?collection=C1", ("/a/b.db", "C1", {}, True)),
        ("milvus:http://h:19530", ("http://h:19530", "fastreid_index", {}, False)),
        ("milvus:http://u:p%40s@h:1/base?collection=x", ("http://h:1/base", "x", {"token": "u:p@s"}, False)),
        ("milvus:https://key@h", ("https://h", "fastreid_index", {"token": "key"}, False)),
    ],
)
def test_parts_of_an_address(given, wanted):
    assert parts_of(given) == wanted


@pytest.mark.parametrize(
    "given, message",
    [
        ("milvus:a/b", "must be at milvus:PATH.db or milvus:http://host:port; got 'a/b'"),
        ("milvus:ftp://u:geheim@h/x.db", "must be at milvus:PATH.db"),
        ("milvus:http://u:geheim@h:x1", "cannot be read"),
        ("milvus:x.db?collection=a-b", "collection of an index in Milvus must be letters, digits and _; got 'a-b'"),
        ("milvus:x.db?collection=1a", "collection of an index in Milvus must be"),
    ],
)
def test_addresses_that_are_none(given, message):
    with pytest.raises(ValueError, match=message) as error:
        open_index(given)
    assert "geheim" not in str(error.value)


def test_a_server_that_is_not_there_is_told_without_the_password():
    with pytest.raises(ConnectionError, match="cannot connect to milvus:http://localhost:1.collection=") as error:
        open_index("milvus:http://user:geheim@localhost:1")
    assert "geheim" not in str(error.value)


def test_looking_for_an_index_makes_nothing(uri, tmp_path):
    with pytest.raises(FileNotFoundError, match="No index at"):
        open_index(uri, write=True)
    assert list(tmp_path.iterdir()) == []


def test_another_process_has_the_file(index, uri):
    code = "import sys; from fastreid.index import open_index; open_index(sys.argv[1], write=sys.argv[2] == 'w')"
    for write, said in (
        ("w", "IndexLocked: another process is writing"),
        ("r", "ConnectionError: cannot open milvus:"),
    ):
        done = subprocess.run([sys.executable, "-c", code, uri, write], capture_output=True, text=True)
        assert done.returncode == 1
        assert said in done.stderr.splitlines()[-1]
    index.close()
    assert subprocess.run([sys.executable, "-c", code, uri, "w"]).returncode == 0


def test_a_damaged_file_is_told(index, uri, tmp_path):
    index.close()
    for path in (tmp_path / "x.db").rglob("manifest.json*"):  # Milvus Lite keeps the one before, too
        path.write_text("{")
    with pytest.raises(ConnectionError, match="both manifest.json and manifest.json.prev failed to load"):
        open_index(uri)


def test_a_file_that_is_none_of_milvus_lite(uri, tmp_path):
    (tmp_path / "x.db").write_text("SQLite format 3")
    for write in (False, True):
        with pytest.raises(IndexCorrupt, match="is damaged, or none of Milvus Lite"):
            open_index(uri, write)


def test_a_half_made_index_is_none_and_is_made_anew(uri, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(milvus.Milvus, "_save", killed)
        with pytest.raises(KeyboardInterrupt):
            create_index(uri, "milvus", dim=7)
    with pytest.raises(FileNotFoundError):
        open_index(uri)
    with create_index(uri, "milvus", dim=DIM) as index:
        assert index.info.dim == DIM
        index.add(Figures.of([{"figure_id": "a", "patent": "P"}]), np.ones((1, DIM)))


def test_what_milvus_does_not_take_is_refused_before_anything_is_made(uri, tmp_path):
    with pytest.raises(ValueError, match="the description of the index has more than 65535 bytes"):
        create_index(uri, "milvus", dim=DIM, config="x" * 70_000)
    assert list(tmp_path.iterdir()) == []
    with create_index(uri, "milvus", dim=DIM) as index:
        for long in ({"caption": "x" * 40_000}, {"title": "ü" * 17_000}):
            name = next(iter(long))
            with pytest.raises(ValueError, match=f"{name} of figure 0 may have 32767 bytes"):
                index.add(Figures.of([{"figure_id": "a", "patent": "P", **long}]), np.ones((1, DIM)))
        index.add(Figures.of([{"figure_id": "a", "patent": "P", "title": "x" * 32_767}]), np.ones((1, DIM)))
        with pytest.raises(ValueError, match="the description of the index has more than"):
            index.set_info(config="x" * 70_000)
        assert index.info.version == 2
        with pytest.raises(ValueError, match="option ann of a milvus index is chosen when it is made, ''"):
            index.set_info(options={"ann": "hnsw"})
        index.set_info(options={"exact_rows": 5})
        assert index.info.options == {"exact_rows": 5}


@pytest.fixture
def cluster(monkeypatch):
    """Lets leases be judged as on a cluster, by their time, which the test sets."""
    clock = [1000.0]
    monkeypatch.setattr(milvus, "time", SimpleNamespace(time=lambda: clock[0]))
    real = milvus.Milvus._holder

    def holder(self):
        self._link.local = False
        try:
            return real(self)
        finally:
            self._link.local = True

    monkeypatch.setattr(milvus.Milvus, "_holder", holder)
    return clock


def test_a_silent_writer_is_replaced_and_a_busy_one_is_not(cluster, uri, rng):
    first = create_index(uri, "milvus", dim=DIM)
    for _ in range(3):
        cluster[0] += milvus.LEASE - 1
        first.set_info(config=str(cluster[0]))
        with pytest.raises(IndexLocked, match="another process is writing"):
            open_index(uri, write=True)
    cluster[0] += milvus.LEASE + 1
    first.set_info(config="late, but nobody else came")
    cluster[0] += milvus.LEASE + 1
    second = open_index(uri, write=True)
    figures, vectors = some_figures(rng, ["a", "b"]), some_vectors(rng, 2, DIM)
    with pytest.raises(IndexLocked, match="another process is writing"):
        first.add(figures, vectors)
    second.add(figures, vectors)
    second.close()
    with pytest.raises(ValueError, match="figure_id 'a' is in the index already"):
        first.add(figures, vectors)  # it has been refused, and looks again
    cluster[0] += milvus.LEASE + 1
    with open_index(uri, write=True) as third:
        third.delete(["a"])
    with pytest.raises(IndexLocked, match="has written to the index at .* meanwhile; try again"):
        first.add(some_figures(rng, ["c"]), some_vectors(rng, 1, DIM))
    assert first.add(some_figures(rng, ["c"]), some_vectors(rng, 1, DIM)) == first.info.version
    first.close()
    with open_index(uri, write=True) as fourth:
        assert fourth.info.figures == fourth.count(Filter(not_patents=("?",))).figures == 2
        assert fourth.rows_of(["a", "b", "c"]).tolist() == [1, 2]


def test_a_long_commit_renews_the_lease_and_notices_that_it_is_gone(cluster, uri, rng, monkeypatch):
    monkeypatch.setattr(milvus, "WRITTEN", 4)
    index = create_index(uri, "milvus", dim=DIM)
    real = type(index._client).upsert

    refused = 0

    def slow(self, name, rows):
        nonlocal refused
        cluster[0] += 0.4 * milvus.LEASE
        done = real(self, name, rows)
        if name == "c":
            with pytest.raises(IndexLocked):
                open_index(uri, write=True)
            refused += 1
        return done

    monkeypatch.setattr(type(index._client), "upsert", slow)
    figures, vectors = some_figures(rng, [f"f{i}" for i in range(20)]), some_vectors(rng, 20, DIM)
    index.add(figures, vectors)
    assert refused == 5
    assert json.loads(index._entry(1))["until"] > cluster[0]  # of eight calls that each took 24 s
    index._put_entry(1, json.dumps({"owner": "other", "until": cluster[0] + 1000}))
    with pytest.raises(IndexLocked):
        index.delete(["f1"])
    with open_index(uri) as reader:
        assert reader.info.version == 2
        assert reader.count(Filter(not_patents=("?",))).figures == 20
    index.close()
    assert json.loads(open_index(uri)._entry(1))["owner"] == "other"  # not the closed one's to take away


def stopped(*_):
    raise KeyboardInterrupt


@pytest.mark.parametrize("again", ["the same handle", "another one"])
@pytest.mark.parametrize("what", ["add", "delete", "update"])
def test_rows_of_a_commit_that_was_stopped_never_show(index, uri, rng, monkeypatch, what, again):
    """Also not when the next commit writes less, and so does not write over them."""
    figures, vectors = some_figures(rng, ["f1", "f2", "a", "b", "c"]), some_vectors(rng, 5, DIM)
    work = {
        "add": lambda: index.add(figures.take(slice(2, 5)), vectors[2:]),
        "update": lambda: index.update(figures, vectors),
        "delete": lambda: index.delete(["f1", "f2"]),
    }
    with monkeypatch.context() as patch:
        patch.setattr(milvus.Milvus, "_save", stopped)
        with pytest.raises(KeyboardInterrupt):
            work[what]()
    if again == "another one":
        index.close()
        index = open_index(uri, write=True)
    index.add(some_figures(rng, ["new"]), some_vectors(rng, 1, DIM))
    assert index.info.version == 3
    rows = index.search(np.ones((1, DIM)), 50).rows[0]
    assert sorted(rows[rows >= 0].tolist()) == list(range(31))
    assert index.count(Filter(not_patents=("?",))).figures == index.info.figures == 31
    index.close()


def test_a_commit_that_seemed_to_fail_but_went_through_counts(index, rng, monkeypatch):
    real = milvus.Milvus._save

    def lost(self, manifest):
        real(self, manifest)
        raise ConnectionError("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(milvus.Milvus, "_save", lost)
        with pytest.raises(ConnectionError, match="no answer"):
            index.add(some_figures(rng, ["a", "b"]), some_vectors(rng, 2, DIM))
    with pytest.raises(ValueError, match="figure_id 'a' is in the index already"):
        index.add(some_figures(rng, ["a", "b"]), some_vectors(rng, 2, DIM))
    assert index.add(some_figures(rng, ["c"]), some_vectors(rng, 1, DIM)) == 4
    assert index.rows_of(["a", "b", "c"]).tolist() == [30, 31, 32]


def test_more_rows_than_milvus_gives_are_compared_here(index, monkeypatch, rng):
    naive = NaiveIndex(DIM)
    figures = index.figures(np.arange(30))
    naive.add(figures, index.vectors(np.arange(30)))
    monkeypatch.setattr(milvus, "MOST", 20)
    monkeypatch.setattr(milvus, "READ", 7)
    queries = some_vectors(rng, 3, DIM)
    for k in (1, 10, 29, 50):
        for filter in (None, Filter(office=("US", ""))):
            found, wanted = index.search(queries, k, filter), naive.search(queries, k, filter)
            for rows, scores, right in zip(found.rows, found.scores, wanted, strict=True):
                count = len(right)
                assert list(zip(rows[:count].tolist(), scores[:count].round(6).tolist(), strict=True)) == [
                    (row, round(score, 6)) for row, score in right
                ]


def test_armoured_texts_keep_parts_and_nothing_else():
    texts = ["\x16", "aa", "", "a", "ab", "ba", "a_b", "a%b", "\\", '"', "'", "ü", "日本", "a\nb", "p", "P", "aA"]
    assert len({armoured(text) for text in texts}) == len(texts)
    for text in texts:
        assert armoured(text).isalpha() or not text
        for part in texts:
            assert (armoured(part) in armoured(text)) == (part in text)


def test_a_closed_index_says_so(index):
    index.close()
    with pytest.raises(ValueError, match="is closed"):
        index.search(np.ones((1, DIM)), 3)


def test_rows_divided_by_class_are_found_like_undivided_ones(tmp_path, rng):
    names = [f"f{number}" for number in range(60)]
    figures, vectors = some_figures(rng, names), some_vectors(rng, 60, DIM)
    queries = some_vectors(rng, 3, DIM)
    indexes = [
        create_index(f"milvus:{tmp_path}/{key or 'none'}.db", "milvus", dim=DIM, partition_key=key, partitions=4)
        for key in ("", "class_code")
    ]
    for index in indexes:
        index.add(figures, vectors)
        index.update(figures.take(slice(0, 7)), vectors[7:14])
        index.delete(["f20"])
    whole, divided = indexes
    found = 0
    for filter in (None, Filter(locarno=("06",)), Filter(locarno=("06-01", "14")), Filter(before=20120101)):
        wanted = whole.search(queries, 8, filter)
        given = divided.search(queries, 8, filter)
        np.testing.assert_array_equal(given.rows, wanted.rows)
        np.testing.assert_array_equal(given.scores, wanted.scores)
        assert divided.count(filter) == whole.count(filter)
        found += np.count_nonzero(wanted.rows >= 0)
    assert found > 40
    for index in indexes:
        index.close()
    with open_index(f"milvus:{tmp_path}/class_code.db") as index:
        assert index.info.options["partition_key"] == "class_code"


def test_what_a_cluster_is_asked_for(uri, monkeypatch):
    import pymilvus

    asked = []

    def note(method):
        real = getattr(pymilvus.MilvusClient, method)

        def noted(self, name, replica_number=None, **given):  # Milvus Lite has no replicas
            asked.append((method, name, given if replica_number is None else {"replica_number": replica_number}))
            return real(self, name, **given)

        monkeypatch.setattr(pymilvus.MilvusClient, method, noted)

    note("create_collection")
    note("load_collection")
    layout = {"shards": 3, "replicas": 2, "partition_key": "class_code", "partitions": 16}
    with create_index(uri, "milvus", dim=DIM, **layout) as index:
        rows, manifest = [given for what, _, given in asked if what == "create_collection"]
        assert (rows["num_shards"], rows["num_partitions"]) == (3, 16)
        assert not {"num_shards", "num_partitions"} & manifest.keys()
        assert [f.name for f in rows["schema"].fields if f.is_partition_key] == ["class_code_key"]
        assert ("load_collection", "c", {}) in asked
        index._link.local = False
        index._load_rows()
        index._link.local = True
        assert asked[-1] == ("load_collection", "c", {"replica_number": 2})
        with pytest.raises(ValueError, match="option shards of a milvus index is chosen when it is made, 3"):
            index.set_info(options={**layout, "shards": 4})
    with pytest.raises(ValueError, match="option partition_key of the milvus index must be one of '', 'class_code'"):
        create_index(uri + "2", "milvus", dim=DIM, partition_key="office")
    with pytest.raises(ValueError, match="option replicas of the milvus index must be"):
        create_index(uri + "2", "milvus", dim=DIM, replicas=0)
