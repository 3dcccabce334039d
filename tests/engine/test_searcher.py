"""From requests to results."""

import json
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from search_cases import DESIGNS, PixelEncoder, draw, make_index

from fastreid.data.images import BadImage
from fastreid.engine.query_image import prepare
from fastreid.engine.search_request import QueryItem, SearchRequest
from fastreid.engine.searcher import NoModel, Searcher
from fastreid.index import Figures, Filter, OtherModel, VersionGone, create_index, open_index

COLUMNS = {
    "row", "figure_id", "patent", "figure", "view", "title", "caption", "locarno", "date", "filed", "office",
    "applicant",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("searcher")
    make_index(folder).close()
    return folder


@pytest.fixture(scope="module")
def searcher(folder):
    with open_index(str(folder / "index")) as index:
        yield Searcher(index, PixelEncoder())


def search(searcher, *query, images=None, **more):
    return searcher.search(SearchRequest(query, **more), images)


def patents(response):
    return [result["figure"]["patent"] for result in response.results]


def test_a_response_is_that_of_the_service(searcher):
    response = search(searcher, QueryItem("mine"), images={"mine": draw(3, "rear")}, limit=4)
    answer = response.as_json()
    assert answer == json.loads(json.dumps(answer))
    results = answer.pop("results")
    assert len(answer.pop("search")) == 32
    assert answer.pop("seconds") >= 0
    assert answer.pop("time").endswith("+00:00")
    assert answer == {
        "version": 2, "exact": True, "searched": {"figures": 24, "designs": 8}, "total": 8, "group": "design",
        "offset": 0, "unknown_patents": [],
    }  # fmt: skip
    best = results[0]
    assert set(best) == {"rank", "patent", "score", "figure", "evidence", "others", "figures"}
    assert (best["rank"], best["patent"], best["figures"]) == (1, "D3", 3)
    assert best["score"] == pytest.approx(1)
    assert set(best["figure"]) == COLUMNS
    figure = {name: best["figure"][name] for name in ("row", "figure_id", "view", "date", "locarno")}
    assert figure == {"row": 10, "figure_id": "D3-rear", "view": "rear", "date": 20130101, "locarno": "14-04"}
    assert best["evidence"] == [
        {"query": 0, "variant": "as given", "score": best["score"], "figure": best["figure"]}
    ]  # fmt: skip
    assert {other["figure"]["figure_id"] for other in best["others"]} == {"D3-front", "D3-top"}
    assert [set(other) for other in best["others"]] == [{"score", "figure"}] * 2
    assert best["score"] > best["others"][0]["score"] > best["others"][1]["score"]
    assert [result["rank"] for result in results] == [1, 2, 3, 4]
    scores = [result["score"] for result in results]
    assert scores == sorted(scores, reverse=True)


def test_by_figure(searcher):
    response = search(searcher, QueryItem("a"), images={"a": draw(3, "rear")}, group="figure", limit=5, mirror=True)
    assert response.total == 24
    first = response.results[0]
    assert set(first) == {"rank", "score", "query", "variant", "figure"}
    assert (first["rank"], first["query"], first["variant"], first["figure"]["figure_id"]) == (
        1,
        0,
        "as given",
        "D3-rear",
    )
    assert len({result["figure"]["row"] for result in response.results}) == 5


def test_a_figure_of_the_index_needs_no_model_and_leaves_out_its_own_patent(searcher, folder):
    without = Searcher(searcher.index)
    response = search(without, QueryItem(figure="D3-rear"))
    assert "D3" not in patents(response)
    assert (response.total, response.searched.figures) == (7, 21)
    response = search(without, QueryItem(figure="D3-rear"), exclude_own=False)
    assert patents(response)[0] == "D3"
    assert response.results[0]["score"] == pytest.approx(1)
    # both figures' patents, beside those that the filter leaves out
    response = search(
        without, QueryItem(figure="D3-rear"), QueryItem(figure="D4-top"), filter=Filter(not_patents=("D0",))
    )
    assert sorted(patents(response)) == ["D1", "D2", "D5", "D6", "D7"]


def test_an_upload_and_a_figure_together(searcher):
    items = QueryItem("a"), QueryItem(figure="D4-top")
    response = search(searcher, *items, images={"a": draw(3, "rear")}, exclude_own=False, fusion="max", limit=2)
    assert {result["figure"]["figure_id"]: result["score"] for result in response.results} == {
        "D3-rear": pytest.approx(1), "D4-top": pytest.approx(1),
    }  # fmt: skip
    assert [[match["query"] for match in result["evidence"]] for result in response.results] == [[0, 1], [0, 1]]
    mean = search(searcher, *items, images={"a": draw(3, "rear")}, exclude_own=False, limit=8)
    for result in mean.results:
        assert result["score"] == pytest.approx(np.mean([match["score"] for match in result["evidence"]]))


def test_boxes_rotation_and_mirror_are_undone_by_the_searcher(searcher):
    page = Image.new("L", (300, 200), 255)
    page.paste(prepare(draw(5, "front"), rotate=90, mirror=False), (100, 50))
    item = QueryItem("page", box=(100, 50, 164, 146), rotate=270)
    first = search(searcher, item, images={"page": page}).results[0]
    assert (first["figure"]["figure_id"], first["score"]) == ("D5-front", pytest.approx(1))
    first = search(searcher, QueryItem("m", mirror=True), images={"m": prepare(draw(5, "front"), mirror=True)}).results[
        0
    ]
    assert (first["figure"]["figure_id"], first["score"]) == ("D5-front", pytest.approx(1))


@pytest.mark.parametrize(
    ("rotate", "mirror", "expected"),
    [(0, False, "as given"), (90, False, "rotated 270"), (0, True, "mirrored"), (180, True, "mirrored, rotated 180")],
)
def test_variants_are_tried_and_the_one_that_matched_is_told(searcher, rotate, mirror, expected):
    image = prepare(draw(6, "top"), rotate=rotate, mirror=mirror)
    response = search(searcher, QueryItem("a"), images={"a": image}, rotations=True, mirror=True)
    match = response.results[0]["evidence"][0]
    assert (match["figure"]["figure_id"], match["variant"]) == ("D6-top", expected)
    assert match["score"] == pytest.approx(1)
    if expected != "as given":
        assert search(searcher, QueryItem("a"), images={"a": image}).results[0]["score"] < 0.999


def test_variants_of_a_figure_of_the_index_come_from_its_image(searcher):
    encoder = PixelEncoder()
    own = Searcher(searcher.index, encoder)
    response = search(own, QueryItem(figure="D6-top"), rotations=True, exclude_own=False)
    assert encoder.calls == [4]
    assert response.results[0]["figure"]["figure_id"] == "D6-top"
    assert search(own, QueryItem(figure="D6-top", box=(0, 0, 96, 64)), exclude_own=False).results[0]["patent"] == "D6"
    assert search(own, QueryItem(figure="D6-top"), exclude_own=False).results[0]["patent"] == "D6"
    assert encoder.calls == [4, 1]  # as it is, it has a vector


def test_a_text_is_one_more_query_figure(searcher):
    first = search(searcher, text="D2").results[0]
    assert (first["figure"]["figure_id"], first["evidence"][0]["variant"]) == ("D2-front", "text")
    both = search(searcher, QueryItem("a"), images={"a": draw(3, "rear")}, text="D2", rotations=True, limit=8)
    assert [[match["query"] for match in result["evidence"]] for result in both.results] == [[0, 1]] * 8
    assert set(patents(both)[:2]) == {"D2", "D3"}


def test_filters_versions_and_what_was_searched(searcher):
    response = search(searcher, QueryItem("a"), images={"a": draw(3, "rear")}, filter=Filter(before=20130101))
    assert sorted(patents(response)) == ["D0", "D1", "D2"]
    assert (response.searched.figures, response.total) == (9, 3)
    nothing = search(searcher, QueryItem("a"), images={"a": draw(3, "rear")}, filter=Filter(office=("EM",)))
    assert (nothing.results, nothing.total, nothing.exact) == ((), 0, True)
    empty = search(searcher, QueryItem("a"), images={"a": draw(3, "rear")}, version=1)
    assert (empty.results, empty.version) == ((), 1)
    with pytest.raises(VersionGone):
        search(searcher, QueryItem("a"), images={"a": draw(3, "rear")}, version=9)


def test_what_would_be_permitted_without_each_condition(searcher):
    filter = Filter(before=20120101, since=20110101, date_field="date", locarno=("06",), patents=("D1",))
    request = SearchRequest((QueryItem(figure="D1-top"),), filter=filter)
    counts = {name: (count.figures, count.designs) for name, count in searcher.without_each(request, 2).items()}
    assert counts == {"before": (0, 0), "since": (0, 0), "locarno": (0, 0), "patents": (0, 0), "exclude_own": (0, 0)}
    counts = searcher.without_each(SearchRequest(text="D1", filter=Filter(before=20120101, office=("EM",))), 2)
    assert {name: (count.figures, count.designs) for name, count in counts.items()} == {
        "before": (0, 0),
        "office": (6, 2),
    }


@pytest.mark.parametrize("group", ["design", "figure"])
def test_pages_are_slices_of_the_whole(searcher, group):
    images, items = {"a": draw(3, "rear"), "b": draw(1, "top")}, (QueryItem("a"), QueryItem("b"))
    whole = search(searcher, *items, images=images, group=group, limit=100).results
    assert len(whole) == (24 if group == "figure" else 8)
    for offset, limit in ((0, 3), (3, 3), (5, 100), (7, 1), (24, 5), (9000, 5)):
        page = search(searcher, *items, images=images, group=group, offset=offset, limit=limit).results
        assert page == whole[offset : offset + limit]


def test_results_beyond_a_depth_cannot_be_paged_to(searcher, monkeypatch):
    assert search(searcher, text="D3", group="figure").total == 24
    monkeypatch.setattr("fastreid.engine.searcher.DEEPEST", 20)
    assert search(searcher, text="D3", group="figure").total == 20
    assert search(searcher, text="D3").total == 8


def test_twelve_further_figures_of_a_design_are_told(tmp_path):
    with create_index(str(tmp_path / "index"), dim=2) as index:
        vectors = [[1, 0.01 * (row + 1)] for row in range(20)] + [[1, 0]]
        figures = Figures.of({"figure_id": f"F{row}", "patent": f"P{row // 20}"} for row in range(21))
        index.add(figures, np.array(vectors, dtype=np.float32))
        result = search(Searcher(index), QueryItem(figure="F20")).results[0]
    assert (result["figure"]["row"], result["figures"]) == (0, 20)
    assert [other["figure"]["row"] for other in result["others"]] == list(range(1, 13))


def test_searches_at_the_same_time_do_not_change_each_other(searcher):
    def run(design):
        return search(searcher, QueryItem("a"), images={"a": draw(design, "rear")}, rotations=True).results

    alone = [run(design) for design in range(DESIGNS)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(run, [*range(DESIGNS)] * 4)) == alone * 4


def test_a_query_is_encoded_figure_by_figure(searcher):
    encoder = PixelEncoder()
    items = [QueryItem(name) for name in "abc"]
    images = {name: draw(number, "top") for number, name in enumerate("abc")}
    search(Searcher(searcher.index, encoder), *items, images=images, mirror=True)
    assert encoder.calls == [2, 2, 2]


def test_explanations_are_those_of_the_patch_match(searcher, monkeypatch):
    from fastreid.engine import patch_match

    seen = []
    monkeypatch.setattr(patch_match, "match_patches", lambda *given: seen.append(given) or "matched")
    monkeypatch.setattr(patch_match, "draw_patch_match", lambda match: (match, "drawn"))
    image = draw(3, "rear")
    assert searcher.explain(QueryItem("a", rotate=90), 10, {"a": image}) == ("matched", "drawn")
    encoder, query, figure = seen.pop()
    assert encoder is searcher.encoder
    assert query == prepare(image, rotate=90)
    assert figure.tobytes() == image.tobytes()  # row 10 is D3-rear
    searcher.explain(QueryItem(figure="D3-rear"), 10, variant="mirrored, rotated 90")
    assert seen.pop()[1] == prepare(prepare(image, mirror=True), rotate=90)
    with pytest.raises(ValueError, match="no variant 'mirored' of an image. Did you mean 'mirrored'?"):
        searcher.explain(QueryItem("a"), 10, {"a": image}, "mirored")
    with pytest.raises(NoModel):
        Searcher(searcher.index).explain(QueryItem("a"), 10, {"a": image})


def test_what_is_wrong(searcher):
    with pytest.raises(KeyError, match="there is no image 'mime'. Did you mean 'mine'?"):
        search(searcher, QueryItem("mime"), images={"mine": draw(3, "rear")})
    with pytest.raises(KeyError, match="the index has no figure 'D99'"):
        search(searcher, QueryItem(figure="D99"))
    with pytest.raises(KeyError, match="no figure 'D3'; a patent of this name has D3-front, D3-rear, D3-top"):
        search(searcher, QueryItem(figure="D3"))
    blank = Image.new("L", (50, 50), 255)
    with pytest.raises(ValueError, match="^query figure B is blank"):
        search(searcher, QueryItem("a"), QueryItem("b"), images={"a": draw(3, "rear"), "b": blank})
    with pytest.raises(ValueError, match="within the image of 96 x 64 pixels"):
        search(searcher, QueryItem("a", box=(0, 0, 97, 64)), images={"a": draw(3, "rear")})
    without = Searcher(searcher.index)
    for item in (QueryItem("a"), QueryItem(figure="D3-rear", rotate=90)):
        with pytest.raises(
            NoModel, match="without a model, which an image needs; figures of the index, as they are, can"
        ):
            search(without, item, images={"a": draw(3, "rear")})
    with pytest.raises(NoModel, match="which a text needs"):
        search(without, text="a chair")


def test_another_model_is_refused(searcher):
    other = PixelEncoder()
    other.identity = {"weights": "ee", "settings": {"INPUT.SIZE": 16}}
    with pytest.raises(OtherModel, match="this model did not make the vectors of the index: weights"):
        Searcher(searcher.index, other)


def test_a_model_of_another_length_is_refused_where_nobody_said_which_made_the_index(tmp_path):
    with create_index(str(tmp_path / "index"), dim=4) as index, pytest.raises(ValueError, match="gives 256 .* holds 4"):
        Searcher(index, PixelEncoder())


def index_of_paths(folder, *paths, **more):
    index = create_index(str(folder / "paths"), dim=2, **more)
    figures = Figures.of({"figure_id": f"F{number}", "patent": "P", "path": path} for number, path in enumerate(paths))
    index.add(figures, np.ones((len(paths), 2), dtype=np.float32))
    return index


def test_images_lie_below_their_folder_or_are_absolute(tmp_path):
    (tmp_path / "images" / "sub").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    for place in ("images/sub/a.png", "elsewhere/b.png"):
        draw(0, "front").save(tmp_path / place)
    os.symlink(tmp_path / "elsewhere", tmp_path / "images" / "link")
    paths = ["sub/a.png", "sub/../sub/a.png", "link/b.png", str(tmp_path / "elsewhere" / "b.png")]
    bad = ["../elsewhere/b.png", "sub/../../elsewhere/b.png", "..", ""]
    with index_of_paths(tmp_path, *paths, *bad, "sub/none.png", image_root=str(tmp_path / "images")) as index:
        searcher = Searcher(index)
        for row in range(4):
            assert searcher.image_of(row).size == (96, 64)
        for row in range(4, 7):
            with pytest.raises(ValueError, match="lies outside of the folder of images"):
                searcher.path_of(row)
        with pytest.raises(ValueError, match="the index names no image of row 7"):
            searcher.image_of(7)
        with pytest.raises(BadImage, match="none.png: no such file"):
            searcher.image_of(8)
        with pytest.raises(KeyError, match="row 9"):
            searcher.image_of(9)
        assert Searcher(index, image_root="/other").path_of(0).as_posix() == "/other/sub/a.png"


def test_relative_images_need_a_folder(tmp_path):
    with index_of_paths(tmp_path, "a.png") as index:
        with pytest.raises(ValueError, match="a.png is relative, and the index has no folder of images; name one"):
            Searcher(index).image_of(0)
        assert Searcher(index, image_root=str(tmp_path)).path_of(0) == tmp_path / "a.png"


class Compacted:
    """An index that a compaction overtakes during the first search."""

    def __init__(self, reader, writer, error):
        self._index, self._writer, self.error = reader, writer, error

    def __getattr__(self, name):
        return getattr(self._index, name)

    def count(self, filter=None, as_of=None):
        if self._writer is not None:
            self._writer.delete(patents=["D3"])
            self._writer.compact()
            self._writer = None
            self._index.refresh()
            if self.error:
                raise self.error
        return self._index.count(filter, as_of)


@pytest.mark.parametrize("error", [None, KeyError("the index has no row 5")])
def test_a_version_that_goes_during_a_search_is_replaced_by_the_newest(tmp_path, error):
    with make_index(tmp_path) as writer, open_index(str(tmp_path / "index")) as reader:
        response = search(Searcher(Compacted(reader, writer, error), PixelEncoder()), text="D3")
        assert response.version == writer.info.version > 2
        assert sorted(patents(response)) == ["D0", "D1", "D2", "D4", "D5", "D6", "D7"]
        again = Compacted(reader, None, None)
        with pytest.raises(VersionGone):
            search(Searcher(again, PixelEncoder()), text="D3", version=2)


def test_readers_see_what_a_writer_adds_once_they_refresh(tmp_path):
    with make_index(tmp_path) as writer, open_index(str(tmp_path / "index")) as reader:
        searcher = Searcher(reader, PixelEncoder())
        before = search(searcher, text="D3")
        writer.delete(patents=["D3"])
        assert search(searcher, text="D3").results == before.results
        reader.refresh()
        assert "D3" not in patents(search(searcher, text="D3"))
        assert search(searcher, text="D3", version=before.version).results == before.results


@pytest.mark.parametrize("written", ["D3", "US D3", "USD0000003", "D3 S", "us d 0000003 s1", "3"])
def test_patents_are_known_however_their_number_is_written(searcher, written):
    item = QueryItem("mine")
    out = search(searcher, item, images={"mine": draw(3, "rear")}, filter=Filter(not_patents=(written,)))
    assert "D3" not in [result["patent"] for result in out.results]
    assert (out.searched.designs, out.unknown) == (7, ())
    only = search(searcher, item, images={"mine": draw(3, "rear")}, filter=Filter(patents=(written, "D4")))
    assert [result["patent"] for result in only.results] == ["D3", "D4"]


def test_patents_that_the_index_does_not_have_are_told(searcher):
    filter = Filter(not_patents=("D3", "D999", "EP 12"))
    out = search(searcher, QueryItem("mine"), images={"mine": draw(3, "rear")}, filter=filter)
    assert out.unknown == ("D999", "EP 12")
    assert out.as_json()["unknown_patents"] == ["D999", "EP 12"]
    assert out.request.filter == filter
