"""The faiss backend: who scans and who asks faiss, rows added since, removed rows, recall, damaged files, factories."""

import json
import logging

import numpy as np
import pytest

from fastreid.index import Figures, Filter, IndexCorrupt, create_index, faiss_index, faiss_parts, open_index
from fastreid.index.base import exact_scores, require_vectors
from fastreid.index.recall import RecallTest, lowest, random_masks, recall, sample_queries

DIM, COUNT = 16, 600
FACTORIES = ("Flat", "SQ8", "IVF8,SQ8", "IVF8,PQ8x4fs,RFlat", "HNSW16", "PCA8,IVF4,Flat", "PQ8x4", "PQ8x4fs,RFlat")
UNSELECTIVE = ("PQ8x4", "PQ8x4fs,RFlat")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Let a few hundred rows be many."""
    monkeypatch.setattr(faiss_index, "FEW", 40)
    for name, value in (("SMALL", 300), ("DEEP", 2), ("DEEPER", 4), ("SPARE", 32)):
        monkeypatch.setattr(faiss_index, name, value)


def vectors_of(count, seed=0):
    """Clusters of ten."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((count // 10 + 1, DIM)).repeat(10, axis=0)
    return (centres + 0.4 * rng.standard_normal(centres.shape))[:count]


def figures_of(start, stop):
    return Figures.of(
        {"figure_id": f"f{i}", "patent": f"P{i // 5}", "date": 20100101 + i % 20, "office": ("US", "JP")[i % 2]}
        for i in range(start, stop)
    )


def make(tmp_path, count=COUNT, compact=True, **options):
    index = create_index(str(tmp_path / "index"), "faiss", dim=DIM, **options)
    index.add(figures_of(0, count), vectors_of(count))
    if compact:
        index.compact()
    return index


def nearest(vectors, alive, query, k, metric="cosine"):
    """Rows and scores, slowly."""
    query, vectors = (require_vectors(v, DIM, metric, "v") for v in (query[None], vectors))
    scores = exact_scores(query, vectors, metric)[0]
    rows = alive[np.lexsort((alive, -scores[alive]))[:k]]
    return rows, scores[rows]


def forbid(monkeypatch, name):
    def never(*_args, **_kwargs):
        raise AssertionError(f"{name} was asked")

    monkeypatch.setattr(faiss_parts.Proposer if name == "propose" else faiss_index.FaissIndex, name, never)


# -- planning ----------------------------------------------------------------------------------------------------------


def test_few_permitted_rows_are_scanned(tmp_path, monkeypatch):
    index = make(tmp_path, factory="IVF8,SQ8")
    forbid(monkeypatch, "propose")
    few = Filter(before=20100102)  # 30 of 600
    found = index.search(vectors_of(COUNT)[:5], 10, few)
    assert found.exact
    alive = np.flatnonzero(np.arange(COUNT) % 20 == 0)
    for place, query in enumerate(vectors_of(COUNT)[:5]):
        rows, scores = nearest(vectors_of(COUNT), alive, query, 10)
        assert found.rows[place].tolist() == rows.tolist()
        np.testing.assert_array_equal(found.scores[place], scores)
    with pytest.raises(AssertionError, match="propose was asked"):
        index.search(vectors_of(COUNT)[:5], 10, Filter(before=20100104))  # 90


def test_many_are_asked_for(tmp_path, monkeypatch):
    index = make(tmp_path, factory="IVF8,SQ8")
    forbid(monkeypatch, "exact")
    assert not index.search(vectors_of(COUNT)[:5], 10).exact
    assert not index.search(vectors_of(COUNT)[:5], 10, Filter(office=("US",))).exact
    with pytest.raises(AssertionError, match="exact was asked"):
        index.search(vectors_of(COUNT)[:5], 301)  # half of all: about as quick, and nothing is lost


def test_auto_is_exact_while_small(tmp_path):
    small, large = make(tmp_path / "a", 299), make(tmp_path / "b", 300)
    assert (small.info.exact, small.info.recall, small.snapshot.manifest.extra) == (True, {}, {})
    assert small.search(vectors_of(3), 3).exact
    entry = large.snapshot.manifest.extra["faiss"]
    assert (entry["factory"].startswith("IVF16,"), entry["rows"], large.info.exact) == (True, 300, False)
    assert large.info.options == {"factory": "auto"}
    assert not large.search(vectors_of(3), 3).exact


def test_an_index_that_shrinks_below_is_exact_again(tmp_path):
    index = make(tmp_path, 320)
    index.delete([f"f{i}" for i in range(30)])
    assert not index.info.exact
    index.compact()
    assert index.info.exact
    assert not list((tmp_path / "index").glob("*.faiss"))


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_hardly_any_rows(tmp_path, rows):
    index = create_index(str(tmp_path / "index"), "faiss", dim=DIM, factory="Flat")
    index.add(figures_of(0, rows), vectors_of(rows))
    index.compact()
    found = index.search(vectors_of(2), 2)
    assert (found.rows >= 0).sum(axis=1).tolist() == [min(2, rows)] * 2
    assert found.exact


# -- what it finds -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("factory", FACTORIES)
def test_any_factory_gives_exact_scores_of_permitted_rows(tmp_path, factory, metric):
    index = make(tmp_path, factory=factory, metric=metric)
    index.add(figures_of(COUNT, COUNT + 45), vectors_of(45, seed=1))
    index.delete([f"f{i}" for i in range(0, 60, 3)], ["P100"])
    index.update(figures_of(2, 3), 5 * np.ones((1, DIM)))
    vectors = np.concatenate([vectors_of(COUNT), vectors_of(45, seed=1), 5 * np.ones((1, DIM))])
    gone = {*range(0, 60, 3), *range(500, 505), 2}
    alive = np.array([row for row in range(len(vectors)) if row not in gone])
    date = np.array([20100101 + row % 20 for row in range(len(vectors) - 1)] + [20100103])
    queries = sample_queries(np.float32(vectors[::20]))
    for filter, good in (
        (None, alive),
        (Filter(before=20100116), alive[date[alive] < 20100116]),
        (Filter(before=20100105), alive[date[alive] < 20100105]),
    ):
        found, hits, wanted = index.search(queries, 10, filter), 0, 0
        for place, query in enumerate(queries):
            rows, _ = nearest(vectors, good, query, 10, metric)
            mine = found.rows[place]
            assert set(mine.tolist()) <= set(good.tolist())
            scores = index.scores(query[None], mine)[0]
            np.testing.assert_array_equal(found.scores[place], scores)
            assert np.lexsort((mine, -scores)).tolist() == list(range(10))
            hits, wanted = hits + len(np.intersect1d(mine, rows)), wanted + 10
        assert hits >= (0.75 if factory.startswith(("PQ", "PCA")) else 0.98) * wanted
        unselective = factory in UNSELECTIVE and len(good) < 0.5 * len(vectors)
        assert found.exact == unselective


def test_too_few_proposals_mean_a_scan(tmp_path, monkeypatch):
    index, queries = make(tmp_path, factory="IVF8,SQ8"), vectors_of(COUNT)[::200]
    few = np.array([[5, -1], [200, 201], [-1, -1]])
    monkeypatch.setattr(faiss_parts.Proposer, "propose", lambda *_: few)
    found = index.search(queries, 3)
    for place, query in enumerate(queries):
        rows, scores = nearest(vectors_of(COUNT), np.arange(COUNT), query, 3)
        assert found.rows[place].tolist() == rows.tolist()
        np.testing.assert_array_equal(found.scores[place], scores)


def test_factories_that_cannot_leave_rows_out_are_known():
    rng = np.random.default_rng(0)
    for factory in FACTORIES:
        made = faiss_parts.new_index(factory, DIM, "cosine")
        made.train(rng.standard_normal((COUNT, DIM), dtype=np.float32))
        made.add(rng.standard_normal((COUNT, DIM), dtype=np.float32))
        proposer = faiss_parts.Proposer(made)
        assert proposer.selects == (factory not in UNSELECTIVE), factory
        assert (proposer.widest > 0) == factory.startswith(("IVF", "HNSW", "PCA8,IVF")), factory
        mask = rng.random(COUNT) < 0.3
        found = proposer.propose(rng.standard_normal((4, DIM), dtype=np.float32), 20, 8, mask)
        assert mask[found[found >= 0]].all()
        assert (found >= 0).sum() > 40
        assert proposer.propose(np.ones((2, DIM), np.float32), 5, 8, np.zeros(COUNT, bool)).shape == (2, 0)


# -- built anew --------------------------------------------------------------------------------------------------------


def entry_of(index):
    return index.snapshot.manifest.extra["faiss"]


def test_rows_added_since_are_found(tmp_path):
    index = make(tmp_path, factory="IVF8,SQ8")
    name, new = entry_of(index)["name"], vectors_of(20, seed=3)
    index.add(figures_of(COUNT, COUNT + 20), new)
    assert entry_of(index)["name"] == name  # not built anew for so few
    found = index.search(new, 1)
    assert found.rows[:, 0].tolist() == list(range(COUNT, COUNT + 20))
    assert not found.exact


def test_removed_rows_are_not_found_but_in_earlier_versions(tmp_path):
    index = make(tmp_path, factory="IVF8,SQ8")
    before, query = index.info.version, vectors_of(COUNT)[100:101]
    assert index.search(query, 1).rows[0, 0] == 100
    index.delete(["f100"])
    assert 100 not in index.search(query, 50).rows
    assert index.search(query, 1, as_of=before).rows[0, 0] == 100


def test_adding_builds_when_half_is_new(tmp_path):
    index = create_index(str(tmp_path / "index"), "faiss", dim=DIM, factory="IVF8,SQ8")
    names = []
    for start in range(0, COUNT, 50):
        index.add(figures_of(start, start + 50), vectors_of(COUNT)[start : start + 50])
        entry = (index.snapshot.manifest.extra or {}).get("faiss")
        names.append(entry["rows"] if entry else 0)
        assert [path.name for path in (tmp_path / "index").glob("*.faiss")] == ([entry["name"]] if entry else [])
    assert names == [50, 50, 150, 150, 150, 150, 350, 350, 350, 350, 350, 350]
    assert index.info.version == 1 + len(names)  # what is built is part of the commit
    assert index.info.oldest_version == 1
    with open_index(str(tmp_path / "index")) as reader:
        assert reader.search(vectors_of(COUNT)[::60], 1).rows[:, 0].tolist() == list(range(0, COUNT, 60))


def test_what_cannot_be_trained_yet_is_added_all_the_same(tmp_path, caplog):
    index = create_index(str(tmp_path / "index"), "faiss", dim=DIM, factory="IVF256,Flat")
    with caplog.at_level(logging.WARNING):
        index.add(figures_of(0, 100), vectors_of(100))
    assert "No faiss index: a faiss index 'IVF256,Flat' of 100 figures cannot be made" in caplog.text
    assert index.search(vectors_of(100)[7:8], 1).rows[0, 0] == 7
    version = index.info.version
    with pytest.raises(ValueError, match="cannot be made"):
        index.compact()
    assert index.info.version == version


def test_a_reader_whose_file_was_taken_away_scans(tmp_path):
    index = make(tmp_path, factory="IVF8,SQ8")
    with open_index(str(tmp_path / "index")) as reader:
        index.delete(["f0"])
        index.compact()
        found = reader.search(vectors_of(COUNT)[:1], 1)
        assert (found.rows[0, 0], found.exact) == (0, True)
        assert reader.refresh()
        assert not reader.search(vectors_of(COUNT)[:1], 1).exact


# -- damage ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["changed", "cut", "missing"])
def test_a_damaged_faiss_file_is_refused(tmp_path, how):
    make(tmp_path, factory="IVF8,SQ8").close()
    (path,) = (tmp_path / "index").glob("*.faiss")
    data = bytearray(path.read_bytes())
    if how == "changed":
        data[len(data) // 2] ^= 1
    path.write_bytes(data if how == "changed" else data[:-10])
    if how == "missing":
        path.unlink()
    with pytest.raises(IndexCorrupt, match=path.name):
        open_index(str(tmp_path / "index"))


def test_a_writer_opens_without_a_damaged_faiss_file(tmp_path, caplog):
    make(tmp_path, factory="IVF8,SQ8").close()
    (path,) = (tmp_path / "index").glob("*.faiss")
    path.write_bytes(path.read_bytes()[:-10])
    with caplog.at_level(logging.WARNING), open_index(str(tmp_path / "index"), write=True) as index:
        assert f"{path.name} is damaged: all is scanned until the index is compacted" in caplog.text
        assert index.search(vectors_of(COUNT)[9:10], 1).exact
        index.compact()
        found = index.search(vectors_of(COUNT)[9:10], 1)
        assert (found.rows[0, 0], found.exact) == (9, False)


def test_a_file_damaged_after_opening_is_refused(tmp_path):
    make(tmp_path, factory="IVF8,SQ8").close()
    (path,) = (tmp_path / "index").glob("*.faiss")
    with open_index(str(tmp_path / "index")) as reader:
        path.write_bytes(path.read_bytes()[:100])
        with pytest.raises(IndexCorrupt, match="is damaged"):
            reader.search(vectors_of(1), 1)


def test_wrong_factories_are_refused(tmp_path):
    for factory, words in (
        ("nonsense", "is none that faiss takes"), ("IDMap,Flat", "numbers its vectors"), ("PQ5", "is none that faiss"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            create_index(str(tmp_path / "index"), "faiss", dim=DIM, factory=factory)
    with pytest.raises(TypeError, match="must be a text"):
        create_index(str(tmp_path / "index"), "faiss", dim=DIM, factory=4)
    with pytest.raises(TypeError, match="no option 'lists'"):
        create_index(str(tmp_path / "index"), "faiss", dim=DIM, lists=4)
    assert not (tmp_path / "index" / "manifest.json").exists()


# -- recall ------------------------------------------------------------------------------------------------------------


def test_width_is_chosen_so_that_recall_is_reached(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(faiss_index, "NARROWEST", 1)
    index = make(tmp_path, 4000, factory="IVF16,SQ8")  # about 250 a list, more than are wanted
    told, width = index.info.recall, entry_of(index)["width"]
    assert set(told) == {"k", "queries", "all", "10%", "1%"}
    assert (told["k"], told["queries"]) == (100, 128)
    assert lowest(told) >= 0.99
    assert 1 < width <= 16
    assert "wanted is" not in caplog.text
    monkeypatch.setattr(faiss_index, "_efforts", lambda _widest: [(1, 2)])
    with caplog.at_level(logging.WARNING):
        index.compact()
    assert lowest(index.info.recall) < 0.99
    assert "The faiss index IVF16,SQ8 reaches a recall of" in caplog.text


def test_recall_by_hand():
    wanted = np.array([[1, 2, 3], [4, 5, -1]])
    assert recall(np.array([[3, 9, 1], [5, -1, -1]]), wanted) == 3 / 5
    assert recall(wanted, wanted) == 1
    assert recall(np.full((2, 3), -1), wanted) == 0
    assert recall(wanted, np.full((2, 3), -1)) == 1


def test_recall_is_the_lower_of_both_depths():
    exact = np.arange(100)[None]
    test = RecallTest(np.ones((1, 2)), {"all": None, "10%": "mask"}, 1000, lambda *_: exact)
    first_lost, last_lost = exact.copy(), exact.copy()
    first_lost[0, :2], last_lost[0, 50:] = -1, -1
    found = test.measure(lambda _queries, k, one: (first_lost if one else last_lost)[:, :k])
    assert found == {"k": 100, "queries": 1, "all": 0.5, "10%": 0.8}
    assert lowest(found) == 0.5
    assert json.loads(json.dumps(found)) == found


def test_masks_are_of_the_shares_that_they_are_named_for():
    masks = random_masks(100_000)
    assert masks["all"] is None
    assert abs(masks["10%"].mean() - 0.1) < 0.005
    assert abs(masks["1%"].mean() - 0.01) < 0.002
    assert (masks["1%"] == random_masks(100_000)["1%"]).all()


def test_other_damage_is_refused_to_writers_too(tmp_path):
    make(tmp_path, factory="IVF8,SQ8").close()
    (path,) = (tmp_path / "index").glob("*.vectors.npy")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    manifest = (tmp_path / "index" / "manifest.json").read_bytes()
    with pytest.raises(IndexCorrupt, match=f"{path.name} is damaged: its checksum is wrong"):
        open_index(str(tmp_path / "index"), write=True)
    assert (tmp_path / "index" / "manifest.json").read_bytes() == manifest


def test_without_a_damaged_faiss_file_an_index_is_exact(tmp_path):
    make(tmp_path, factory="IVF8,SQ8").close()
    next((tmp_path / "index").glob("*.faiss")).unlink()
    with pytest.raises(IndexCorrupt, match=r"damaged or missing: `tools/build_index.py compact --index .*` makes it"):
        open_index(str(tmp_path / "index"))
    open_index(str(tmp_path / "index"), write=True).close()
    with open_index(str(tmp_path / "index")) as reader:
        assert (reader.info.exact, reader.info.recall, reader.info.version) == (True, {}, 4)


# -- what is chosen ----------------------------------------------------------------------------------------------------


def test_another_factory_counts_from_the_next_compaction_on(tmp_path):
    index = make(tmp_path, factory="IVF8,SQ8")
    for options, error in (({"factory": "nonsense"}, ValueError), ({"lists": 3}, TypeError)):
        with pytest.raises(error):
            index.set_info(options=options)
    index.set_info(options={"factory": "HNSW8"})
    assert entry_of(index)["factory"] == "IVF8,SQ8"
    assert index.search(vectors_of(COUNT)[5:6], 1).rows[0, 0] == 5
    index.compact()
    assert entry_of(index)["factory"] == "HNSW8"


@pytest.mark.parametrize(("dim", "factory"), [(16, "IVF16,PQ4x4fs"), (18, "IVF16,SQ8")])
def test_what_auto_is(tmp_path, dim, factory):
    with create_index(str(tmp_path / "index"), "faiss", dim=dim) as index:
        index.add(figures_of(0, 300), np.random.default_rng(0).standard_normal((300, dim)))
        assert entry_of(index)["factory"] == factory
        assert lowest(index.info.recall) >= 0.99


def test_searches_are_tried_ever_wider_and_at_last_deeper():
    assert list(faiss_index._efforts(20)) == [(8, 2), (12, 2), (18, 2), (20, 2), (20, 4)]
    assert list(faiss_index._efforts(0)) == [(0, 2), (0, 4)]


def test_a_filter_makes_the_search_wider(monkeypatch):
    made = faiss_parts.new_index("IVF8,Flat", DIM, "cosine")
    made.train(vectors_of(COUNT).astype(np.float32))
    made.add(vectors_of(COUNT).astype(np.float32))
    proposer, widths, real = faiss_parts.Proposer(made), [], faiss_parts._parameters
    monkeypatch.setattr(
        faiss_parts, "_parameters", lambda made, width, *more: widths.append(width) or real(made, width, *more)
    )
    for every in (1, 4, 100):  # a quarter of the rows: four times as wide; never more than 16 times
        mask = np.arange(COUNT) % every == 0
        proposer.propose(vectors_of(2).astype(np.float32), 5, 3, None if every == 1 else mask)
    assert widths == [3, 12, 48]
