"""Ranking of figures and designs, against loops over everything."""

from dataclasses import replace

import numpy as np
import pytest

from fastreid.index import Figures, Filter, Neighbours, create_index
from fastreid.index.base import exact_scores, require_vectors
from fastreid.index.designs import FUSIONS, QueryFigure, search_designs, search_figures

VIEWS = ("front", "rear", "top")
FILTERS = {
    "all": Filter(),
    "one patent in ten": Filter(patents=tuple(f"P{number}" for number in range(0, 60, 10))),
    "one view": Filter(view=("rear",)),
    "early": Filter(before=20100104),
    "none": Filter(office=("EM",)),
}


def made(folder, rng, metric="cosine", rows=400, patents=60, dim=6, whole=True):
    """An index of figures, many of them alike with ``whole`` numbers, and its columns and vectors."""
    vectors = rng.integers(-1, 2, (rows, dim)) if whole else rng.standard_normal((rows, dim))
    vectors = vectors.astype(np.float32)
    vectors[~vectors.any(axis=1)] = 1
    owners = rng.integers(0, patents, rows)
    figures = Figures.of(
        {
            "figure_id": f"F{row}",
            "patent": f"P{owners[row]}",
            "view": VIEWS[rng.integers(3)],
            "date": 20100101 + int(rng.integers(0, 20)),
        }
        for row in range(rows)
    )
    index = create_index(str(folder), dim=dim, metric=metric)
    index.add(figures, vectors)
    return index, figures, vectors


def queries_of(rng, count, variants=1, dim=6, whole=True):
    names = tuple(f"variant {number}" for number in range(variants))
    draw = (
        (lambda: rng.integers(-1, 2, (variants, dim)) + 0.0) if whole else lambda: rng.standard_normal((variants, dim))
    )
    found = [draw().astype(np.float32) for _ in range(count)]
    for vectors in found:
        vectors[~vectors.any(axis=1)] = 1
    return [QueryFigure(vectors, names) for vectors in found]


def all_scores(index, queries, vectors, metric):
    """Scores (Q, V, rows) of all rows."""
    stored = require_vectors(vectors, index.info.dim, metric, "vectors")
    return np.array(
        [exact_scores(require_vectors(one.vectors, index.info.dim, metric, "q"), stored, metric) for one in queries]
    )


def rank_designs(scores, figures, mask, fusion):
    """The slow form: (patent, score, evidence, rows) of every permitted design."""
    found = []
    for patent in set(figures["patent"][mask]):
        rows = np.flatnonzero((figures["patent"] == patent) & mask)
        evidence = []
        for query, of_variants in enumerate(scores):
            best = max(of_variants[:, rows].ravel())
            row = next(row for row in rows if best in of_variants[:, row])
            evidence.append((query, int(np.flatnonzero(of_variants[:, row] == best)[0]), int(row), float(best)))
        each = [match[3] for match in evidence]
        found.append((patent, sum(each) / len(each) if fusion == "mean" else max(each), evidence, rows.tolist()))
    return sorted(found, key=lambda design: (-design[1], design[3][0]))


def as_tuples(query, matches):
    return [
        (match.query, query[match.query].variants.index(match.variant), match.row, match.score) for match in matches
    ]


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("named", FILTERS)
def test_designs_are_those_of_a_loop_over_all(tmp_path, metric, fusion, named):
    rng = np.random.default_rng(len(named))
    index, figures, vectors = made(tmp_path / "index", rng, metric)
    filter = FILTERS[named]
    mask = filter.mask(figures.columns)
    for count in (1, 2, 3):
        for variants in (1, 3):
            queries = queries_of(rng, count, variants)
            expected = rank_designs(all_scores(index, queries, vectors, metric), figures, mask, fusion)
            found = search_designs(index, queries, 7, filter, fusion)
            assert [(hit.patent, hit.score) for hit in found.designs] == [design[:2] for design in expected[:7]]
            assert (found.exact, found.count.figures) == (True, mask.sum())
            assert found.count.designs == len(expected)
            for hit, (_, _, evidence, rows) in zip(found.designs, expected, strict=False):
                assert as_tuples(queries, hit.evidence) == evidence
                assert hit.best == max(hit.evidence, key=lambda match: (match.score, -match.row, -match.query))
                assert hit.figures == len(rows)


def test_further_figures_are_the_rest_of_the_design_best_first(tmp_path):
    rng = np.random.default_rng(5)
    index, figures, vectors = made(tmp_path / "index", rng)
    queries = queries_of(rng, 2, 2)
    highest = all_scores(index, queries, vectors, "cosine").max(axis=(0, 1))
    mask = FILTERS["early"].mask(figures.columns)
    hits = search_designs(index, queries, 60, FILTERS["early"]).designs
    assert any(len(hit.others) > 1 for hit in hits)
    for hit in hits:
        shown = {match.row for match in hit.evidence}
        rows = [row for row in np.flatnonzero((figures["patent"] == hit.patent) & mask) if row not in shown]
        rows.sort(key=lambda row: (-highest[row], row))
        assert hit.others == tuple((row, highest[row]) for row in rows)


@pytest.mark.parametrize("named", FILTERS)
def test_figures_are_those_of_a_loop_over_all(tmp_path, named):
    rng = np.random.default_rng(2)
    index, figures, vectors = made(tmp_path / "index", rng)
    mask = FILTERS[named].mask(figures.columns)
    for count, variants in ((1, 1), (3, 1), (2, 3)):
        queries = queries_of(rng, count, variants)
        scores = all_scores(index, queries, vectors, "cosine").reshape(count * variants, -1)
        rows = sorted(np.flatnonzero(mask).tolist(), key=lambda row: (-scores[:, row].max(), row))[:20]
        expected = [(*divmod(int(scores[:, row].argmax()), variants), row, scores[:, row].max()) for row in rows]
        found = search_figures(index, queries, 20, FILTERS[named])
        assert as_tuples(queries, found.matches) == expected
        assert (found.exact, found.count.figures) == (True, mask.sum())


class Counted:
    """An index that notes how long the lists are that it is asked for."""

    def __init__(self, index):
        self._index, self.depths, self.fetched = index, [], 0

    def __getattr__(self, name):
        return getattr(self._index, name)

    def search(self, vectors, k, filter=None, as_of=None):
        self.depths.append(k)
        return self._index.search(vectors, k, filter, as_of)

    def scores(self, vectors, rows):
        self.fetched += len(rows)
        return self._index.scores(vectors, rows)


def test_lists_are_no_longer_than_needed(tmp_path):
    rng = np.random.default_rng(3)
    index, figures, vectors = made(tmp_path / "index", rng, rows=3000, patents=600, dim=8, whole=False)
    counted, query = Counted(index), [QueryFigure(vectors[7:8] + 0.01)]
    assert search_designs(counted, query, 3).designs[0].patent == figures["patent"][7]
    assert counted.depths == [32]
    assert counted.fetched < 600
    # figures that have nothing to do with each other: the best mean is deep in all lists
    both = queries_of(rng, 5, 1, 8, False)
    counted = Counted(index)
    expected = rank_designs(
        all_scores(index, both, vectors, "cosine"), figures, np.ones(len(figures), dtype=bool), "mean"
    )
    assert [hit.patent for hit in search_designs(counted, both, 3).designs] == [design[0] for design in expected[:3]]
    assert len(counted.depths) > 1
    assert counted.depths == sorted(set(counted.depths))


def test_a_design_of_many_figures_does_not_hide_the_next(tmp_path):
    """All of the first list belongs to one design; the others are found in the second."""
    vectors = np.ones((300, 4), dtype=np.float32)
    vectors[250:] = [[1, 1, 1, 0.5 - row / 100] for row in range(50)]
    index = create_index(str(tmp_path / "index"), dim=4)
    index.add(
        Figures.of({"figure_id": f"F{row}", "patent": "big" if row < 250 else f"P{row}"} for row in range(300)), vectors
    )
    hits = search_designs(index, [QueryFigure(np.ones((1, 4)))], 3).designs
    assert [(hit.patent, hit.figures) for hit in hits] == [("big", 250), ("P250", 1), ("P251", 1)]
    assert len(hits[0].others) == 249


def test_equal_scores_are_ordered_by_the_lowest_permitted_row(tmp_path):
    """The lowest row of a design may be far from the query; one that is not permitted does not count."""
    index = create_index(str(tmp_path / "index"), dim=2)
    rows = [("B", "front", [0, 1]), ("A", "rear", [0, 1]), ("A", "front", [1, 0]), ("C", "front", [1, 0])]
    rows += [("B", "front", [1, 0])] + [("A", "front", [1, 0])] * 9
    index.add(
        Figures.of(
            {"figure_id": f"F{row}", "patent": patent, "view": view} for row, (patent, view, _) in enumerate(rows)
        ),
        np.array([vector for _, _, vector in rows], dtype=np.float32),
    )
    query = [QueryFigure(np.array([[1.0, 0.0]]))]
    assert [hit.patent for hit in search_designs(index, query, 3).designs] == ["B", "A", "C"]
    assert [hit.patent for hit in search_designs(index, query, 1).designs] == ["B"]
    only = Filter(view=("front",), not_patents=("B",))
    assert [hit.patent for hit in search_designs(index, query, 3, only).designs] == ["A", "C"]
    assert search_designs(index, query, 1).designs[0].best.row == 4


@pytest.mark.parametrize("k", [3, 20])
def test_many_equal_designs_are_all_looked_at(tmp_path, k):
    """The designs that are nearest first in the list are those with the highest of the lowest rows."""
    near, far = [[1, 0]] * 100, [[0, 1]] * 100
    owners = [*range(99, -1, -1), *range(100)]
    index = create_index(str(tmp_path / "index"), dim=2)
    index.add(
        Figures.of({"figure_id": f"F{row}", "patent": f"P{owner}"} for row, owner in enumerate(owners)),
        np.array(far + near, dtype=np.float32),
    )
    hits = search_designs(index, [QueryFigure(np.array([[1.0, 0.0]]))], k).designs
    assert [hit.patent for hit in hits] == [f"P{99 - place}" for place in range(k)]


@pytest.mark.parametrize("fusion", FUSIONS)
def test_pages_are_slices_of_the_whole(tmp_path, fusion):
    rng = np.random.default_rng(4)
    index, _, _ = made(tmp_path / "index", rng)
    queries = queries_of(rng, 2, 2)
    whole = search_designs(index, queries, 1000, None, fusion).designs
    figures = search_figures(index, queries, 1000).matches
    assert (len(whole), len(figures)) == (index.info.designs, index.info.figures)  # fewer than asked for
    for k in (1, 2, 5, 13, 40, 59, 60, 61):
        assert search_designs(index, queries, k, None, fusion).designs == whole[:k]
        assert search_figures(index, queries, k).matches == figures[:k]


def test_the_order_of_query_figures_does_not_matter_and_one_alone_is_its_own_mean(tmp_path):
    rng = np.random.default_rng(6)
    index, _, _ = made(tmp_path / "index", rng, whole=False)
    first, second = queries_of(rng, 2, 1, whole=False)
    one, other = search_designs(index, [first, second], 9), search_designs(index, [second, first], 9)
    assert [(hit.patent, hit.score) for hit in one.designs] == [(hit.patent, hit.score) for hit in other.designs]
    alone = [search_designs(index, [first], 9, None, fusion).designs for fusion in FUSIONS]
    assert alone[0] == alone[1]


def test_results_are_plain_python(tmp_path):
    index, _, _ = made(tmp_path / "index", np.random.default_rng(7))
    queries = queries_of(np.random.default_rng(8), 2)
    hit = search_designs(index, queries, 1).designs[0]
    values = [hit.patent, hit.score, hit.figures, hit.best.query, hit.best.variant, hit.best.row, hit.best.score]
    assert [type(value) for value in values] == [str, float, int, int, str, int, float]
    assert {type(value) for other in hit.others for value in other} == {int, float}
    match = search_figures(index, queries, 1).matches[0]
    assert [type(value) for value in vars(match).values()] == [int, str, int, float]


def test_earlier_versions_and_removed_figures(tmp_path):
    rng = np.random.default_rng(9)
    index, figures, vectors = made(tmp_path / "index", rng, whole=False)
    version, query = index.info.version, queries_of(rng, 1, whole=False)
    before = search_designs(index, query, 20)
    gone = before.designs[0].patent
    index.delete(patents=[gone])
    after = search_designs(index, query, 20)
    assert after.designs[:19] == before.designs[1:]
    assert search_designs(index, query, 20, as_of=version) == before
    assert search_figures(index, query, 5, as_of=version).matches[0] == before.designs[0].best
    mask = figures["patent"] != gone
    expected = rank_designs(all_scores(index, query, vectors, "cosine"), figures, mask, "mean")
    assert [hit.patent for hit in after.designs] == [design[0] for design in expected[:20]]


class Approximate(Counted):
    """An index whose search misses every third row, as a graph or an inverted file may, and may find too few."""

    def search(self, vectors, k, filter=None, as_of=None):
        found = super().search(vectors, 3 * k, filter, as_of)
        good = (found.rows % 3 != 0) & (found.rows >= 0)
        rows, scores = np.full((len(vectors), k), -1), np.full((len(vectors), k), -np.inf)
        for place, keep in enumerate(good):
            kept = np.flatnonzero(keep)[:k]
            rows[place, : len(kept)], scores[place, : len(kept)] = found.rows[place, kept], found.scores[place, kept]
        return Neighbours(rows, scores, exact=False)


def test_an_approximate_index_is_told_and_what_it_finds_has_true_scores(tmp_path):
    rng = np.random.default_rng(10)
    index, figures, vectors = made(tmp_path / "index", rng)
    queries = queries_of(rng, 2, 2)
    truth = {design[0]: design for design in rank_designs(
        all_scores(index, queries, vectors, "cosine"), figures, np.ones(len(figures), dtype=bool), "mean"
    )}  # fmt: skip
    found = search_designs(Approximate(index), queries, 10)
    assert not found.exact
    assert len(found.designs) == 10
    for hit in found.designs:
        assert (hit.score, as_tuples(queries, hit.evidence)) == truth[hit.patent][1:3]
    assert not search_figures(Approximate(index), queries, 10).exact
    everything = search_designs(Approximate(index), queries, 1000)  # comes to an end though some are never found
    assert 0 < len(everything.designs) <= 60
    assert not everything.exact


def test_wrong_questions(tmp_path):
    index, _, _ = made(tmp_path / "index", np.random.default_rng(0))
    good = [QueryFigure(np.ones((1, 6)))]
    for search in (search_designs, search_figures):
        with pytest.raises(ValueError, match="at least one query figure"):
            search(index, [], 5)
        with pytest.raises(ValueError, match="k of a search must be at least 1; got 0"):
            search(index, good, 0)
        with pytest.raises(ValueError, match=r"vectors of query figure 2 must have shape \(n, 6\); got \(1, 5\)"):
            search(index, [*good, QueryFigure(np.ones((1, 5)))], 5)
        with pytest.raises(ValueError, match="vectors of query figure 1: row 0 is zero"):
            search(index, [QueryFigure(np.zeros((1, 6)))], 5, FILTERS["none"])
    with pytest.raises(
        ValueError, match="fusion of a search must be one of 'mean', 'max'; got 'men'. Did you mean 'mean'"
    ):
        search_designs(index, good, 5, fusion="men")
    with pytest.raises(ValueError, match=r"\(variants, D\); got \(2, 6\) for 1 variants"):
        QueryFigure(np.ones((2, 6)))
    with pytest.raises(ValueError, match="for 0 variants"):
        replace(good[0], vectors=np.ones((0, 6)), variants=())
