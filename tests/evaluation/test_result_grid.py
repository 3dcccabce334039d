"""Grids of results: which queries, which images with which frames, and what is drawn of them."""

import numpy as np
import pytest
from PIL import Image

from fastreid.evaluation import grid_picture
from fastreid.evaluation.grid_picture import GAP, LINE, LISTS, LOOKS, MARGIN, RED, TILE, TITLE, Cell, Line, draw_grid
from fastreid.evaluation.protocol import Protocol
from fastreid.evaluation.result_grid import (
    RankedLists,
    choose_rows,
    frequency_of,
    grid_lines,
    meanings,
    rank,
    relations,
    require_same_images,
    rows_of,
)
from tests.evaluation.stand_ins import feature_file

QUERY, GALLERY = 4, 6

PIDS = [1, 2, 3, 4, 1, 2, 5, 6, 7, 8]
TAXONOMY = ["0601", "0602", "1404", "", "0601", "0602", "0601", "1404", "", "0602"]
DATES = [20190101, 20190101, 20180101, 20190101, 20190101, 20190101, 20180301, 20180301, 20180301, 20180301]


def file(features=None, **changes):
    """Four queries and six gallery images on a circle; the first two queries have a figure of their patent there."""
    angles = np.array([0, 40, 90, 150, 1, 44, 10, 80, 5, 60]) * np.pi / 180
    values = {
        "features": np.stack([np.cos(angles), np.sin(angles)], axis=1) if features is None else features,
        "num_query": QUERY,
        "columns": {"pids": PIDS, "camids": [0] * 4 + [1] * 6, "dates": DATES, "taxonomy": TAXONOMY},
        "paths": [f"folder/{name}.png" for name in "abcd"] + [f"folder/g{row}.png" for row in range(GALLERY)],
    }
    return feature_file(**{**values, **changes})


def protocol(**options):
    return Protocol(**{"rule": "granted_before", "relevance": "subclass", **options})


def lists(ap, matches=None, name="a"):
    return RankedLists(name, np.zeros((len(ap), 1), dtype=int), np.array(ap), np.array(matches or [1] * len(ap)))


# -------------------------------------------------------------------------------------------------- what is found


def test_lists_are_those_of_the_protocol():
    found = rank(file(), protocol(), 3, "ours")
    # earlier items are 2, 3, 4 and 5; nothing is earlier than query 2, and query 3 has no class
    assert found.items.tolist() == [[4, 2, 5], [5, 2, 4], [-1, -1, -1], [3, 5, 2]]
    np.testing.assert_allclose(found.ap, [1 / 2, 1, np.nan, np.nan])
    assert found.matches.tolist() == [1, 1, 0, 0]
    assert str(found) == "mAP 75.00 % over 2 queries, 2 without a match"
    everything = rank(file(), protocol(rule="all"), 2, "ours")
    assert everything.items.tolist() == [[0, 4], [1, 5], [3, 5], [3, 5]]


def test_lists_of_a_test_set_are_ranked_and_not_judged():
    unlabelled = file(relevance_known=False)
    found = rank(unlabelled, protocol(rule="all", relevance="pids"), 2, "ours")
    assert found.items[0].tolist() == [0, 4]
    assert np.isnan(found.ap).all()
    assert str(found) == "no mAP over 0 queries, 4 without a match"
    assert set(relations(unlabelled, 0, np.array([0, 1, 2]), "pids")) == {"unknown"}
    assert relations(unlabelled, 0, np.array([0, 1]), "subclass") == ["match", "mismatch"]  # classes are known there
    assert choose_rows([found], "random", 9, unlabelled) == choose_rows([found], "random", 9, unlabelled)
    with pytest.raises(ValueError, match="--queries best needs labels"):
        choose_rows([found], "best", 2, unlabelled)


def test_images_agree_in_patent_class_or_nothing():
    items = np.arange(GALLERY)
    assert relations(file(), 0, items, "subclass") == ["patent", "mismatch", "match", "mismatch", "unknown", "mismatch"]
    assert relations(file(), 0, items, "class") == ["patent", "match", "match", "mismatch", "unknown", "match"]
    assert relations(file(), 0, items, "pids") == ["patent"] + ["mismatch"] * 5
    assert relations(file(), 3, items, "subclass") == ["unknown"] * 6
    assert relations(file(), 3, items[:0], "subclass") == []


def test_queries_are_chosen_by_ap_one_of_each_patent():
    chosen = [lists([0.2, 0.9, np.nan, 0.9, 0.2, 0.5], [1, 1, 0, 3, 4, 1])]
    columns = {"pids": [1, 2, 3, 4, 5, 2, 1], "camids": [0] * 7}
    features = feature_file(features=np.eye(7), num_query=6, columns=columns, paths=[str(row) for row in range(7)])
    assert choose_rows(chosen, "best", 9, features) == [3, 1, 4, 0]  # of equal ones that with more matches first
    assert choose_rows(chosen, "worst", 3, features) == [4, 0, 5]  # row 5 is of the patent of row 1
    second = lists([0.1, 0.95, 0.3, 0.1, 0.9, np.nan], name="b")
    assert choose_rows([*chosen, second], "ahead", 2, features) == [3, 0]
    assert choose_rows([*chosen, second], "behind", 2, features) == [4, 1]
    with pytest.raises(ValueError, match="--queries ahead compares two models: give a second feature file"):
        choose_rows(chosen, "ahead", 2, features)
    with pytest.raises(ValueError, match=r"--queries must be one of 'random', .*; got 'wurst'\. Did you mean 'worst'"):
        choose_rows(chosen, "wurst", 2, features)
    with pytest.raises(ValueError, match="--grid must be at least 1"):
        choose_rows(chosen, "best", 0, features)


def test_random_queries_are_head_and_tail_in_turn_and_seeded():
    count = 40
    columns = {
        "pids": list(range(count)) + [0], "camids": [0] * (count + 1), "taxonomy": ["0601"] * 36 + ["1404"] * 5,
        "frequency": ["head"] * 36 + ["tail"] * 4 + ["head"],
    }  # fmt: skip
    paths = [str(row) for row in range(count + 1)]
    features = feature_file(features=np.eye(count + 1), num_query=count, columns=columns, paths=paths)
    every = lists([0.5] * (count - 1) + [np.nan])
    rows = choose_rows([every], "random", 6, features, seed=1)
    assert sorted(row >= 36 for row in rows) == [False] * 3 + [True] * 3
    assert rows == choose_rows([every], "random", 6, features, seed=1) != choose_rows([every], "random", 6, features, 2)
    assert 39 not in choose_rows([every], "random", count, features)
    without = feature_file(num_query=12)
    assert frequency_of(without).tolist() == [""] * 12


def test_queries_are_named_by_the_end_of_their_path():
    paths = ["x/a/1.png", "x/b/1.png", "x/b/12.png", "c.d/e.f.png"]
    assert rows_of(paths, ["a/1.png", "12", "b/12.png", "e.f", "x/b/1"]) == [0, 2, 2, 3, 1]
    assert rows_of(paths, []) == []
    with pytest.raises(ValueError, match="--query 1: 2 queries end so, such as x/a/1.png and x/b/1.png"):
        rows_of(paths, ["1"])
    for wrong in ("2.png", "", "y/x/a/1.png", "1.jpg"):
        with pytest.raises(ValueError, match="no query ends so"):
            rows_of(paths, [wrong])


def test_two_files_are_of_the_same_images():
    names = ("ours", "theirs")
    require_same_images(file(), file(features=np.ones((10, 3))), names)
    require_same_images(file(), file(columns={"pids": PIDS, "camids": [7] * 10}), names)  # columns may be missing
    with pytest.raises(ValueError, match="on the same images: ours has 4 queries, theirs 5"):
        require_same_images(file(), file(num_query=5), names)
    moved = file(paths=[*file().paths[:5], "folder/other.png", *file().paths[6:]])
    with pytest.raises(
        ValueError, match=r"row 1 of the gallery is folder/g1\.png in ours, folder/other\.png in theirs"
    ):
        require_same_images(file(), moved, names)
    changed = file(columns={**file().columns, "taxonomy": [*TAXONOMY[:9], "0101"]})
    with pytest.raises(ValueError, match=r"column 'taxonomy' of ours and theirs differs, first for folder/g5\.png"):
        require_same_images(file(), changed, names)


def test_lines_hold_what_is_drawn():
    found = rank(file(), protocol(), 3, "ours")
    first, last = grid_lines([found, found], [0, 2], file(), "subclass")
    assert first.query == Cell("folder/a.png", ("06-01 Furnishing", "a"), "query", "head")
    note, cells = first.found[0]
    assert note == "AP 50.0 %, 1 of 3"
    assert [(cell.path, cell.kind) for cell in cells] == [
        ("folder/g4.png", "unknown"), ("folder/g2.png", "match"), ("folder/g5.png", "mismatch"),
    ]  # fmt: skip
    assert last.query.mark == "tail"
    assert last.found == [("no candidate", []), ("no candidate", [])]
    both = grid_lines([rank(file(), protocol(rule="all"), 6, "ours")], [0], file(), "subclass")[0]
    assert both.found[0][0] == "AP 83.3 %, 2 of 6"  # a figure of its patent at rank 1, another one of its class at 3
    unmatched = grid_lines([found], [3], file(), "subclass")[0]
    assert unmatched.found[0][0] == "no match among the candidates"
    assert len(first.cells) == 7
    assert meanings(file(), "subclass")["mismatch"] == "another Locarno subclass"
    assert meanings(file(), "views")["patent"] == "same identity"


# ------------------------------------------------------------------------------------------------------- picture


@pytest.fixture
def images(tmp_path):
    """Paths of images of one colour each, 60 x 30."""
    shades = {"blue": (0, 0, 255), "green": (0, 255, 0), "pink": (255, 0, 255)}
    for name, color in shades.items():
        Image.new("RGB", (60, 30), color).save(tmp_path / f"{name}.png")
    return {name: str(tmp_path / f"{name}.png") for name in [*shades, "gone"]}


def tile_at(number, row=0):
    """Box of a tile: 0 the query, then those of the list; all cells have one line."""
    left = MARGIN if number == 0 else MARGIN + TILE + LISTS + (number - 1) * (TILE + GAP)
    top = MARGIN + TITLE + 3 * LINE + LINE + row * (LINE + TILE + 8 + LINE + GAP)
    return left, top, left + TILE, top + TILE


def test_tiles_stand_in_order_with_their_frames(images):
    kinds = ["match", "patent", "mismatch", "unknown"]
    cells = [
        Cell(images[name], ("x",), kind) for name, kind in zip(("green", "pink", "gone", "blue"), kinds, strict=True)
    ]
    line = Line(Cell(images["blue"], ("q",), "query", "head"), [("note", cells)])
    picture, missing = draw_grid([line, line], ["ours"], "title", dict.fromkeys(kinds, "word"), 4)
    assert missing == {images["gone"]}
    middles = [(0, 0, 255), (0, 255, 0), (255, 0, 255), None, (0, 0, 255)]
    frames = [LOOKS["query"][0], (0, 0, 0), (0, 0, 0), RED, LOOKS["unknown"][0]]
    for row in (0, 1):
        for number in range(5):
            tile = picture.crop(tile_at(number, row))
            assert tile.getpixel((0, TILE // 2)) == tile.getpixel((TILE // 2, TILE - 1)) == frames[number]
            if middles[number]:
                assert tile.getpixel((TILE // 2, TILE // 2)) == middles[number]
            else:
                assert set(tile.getpixel((30, 30))) == {235}
    match, patent = (np.asarray(picture.crop(tile_at(number)))[TILE // 2, :10, 0] for number in (1, 2))
    assert match[:6].tolist() == [0] * 6
    assert patent[:10].tolist() == [0] * 2 + [255] * 4 + [0] * 2 + [255] * 2  # a double frame


def test_signs_differ_in_shape_and_not_in_colour_alone(images):
    kinds = ["match", "patent", "mismatch", "unknown"]
    line = Line(Cell(images["blue"], ("q",), "query"), [("", [Cell(images["blue"], ("x",), kind) for kind in kinds])])
    picture, _ = draw_grid([line], ["ours"], "", {}, 4)
    middle = slice(0, 20), slice(-24, -4)  # of the disc, where the strokes are
    strokes = [np.asarray(picture.crop(tile_at(number)))[middle].min(axis=2) > 200 for number in (1, 2, 3)]
    tick, equal, cross = (part.astype(int) for part in strokes)
    assert min(tick.sum(), equal.sum(), cross.sum()) > 20
    assert min(abs(tick - equal).sum(), abs(tick - cross).sum(), abs(equal - cross).sum()) > 20
    assert [LOOKS[kind][1] for kind in kinds] == ["tick", "equal", "cross", ""]


def test_words_on_queries_differ_without_colour(images):
    pictures = []
    for mark in ("head", "tail", ""):
        line = Line(Cell(images["blue"], ("q",), "query", mark), [("", [])])
        pictures.append(np.asarray(draw_grid([line], ["ours"], "", {}, 1)[0].crop(tile_at(0)).convert("L"))[3:25, 3:12])
    head, tail, none = (corner.mean() for corner in pictures)
    assert head < 80 < 200 < tail
    assert none > 100


def test_the_key_names_only_what_occurs_and_texts_are_cut_at_their_end(images, monkeypatch):
    written, key = [], []
    monkeypatch.setattr(grid_picture, "_draw_key", lambda picture, words, top: key.append(words))
    cut = grid_picture.shorten
    monkeypatch.setattr(grid_picture, "shorten", lambda *given: written.append(cut(*given)) or written[-1])
    line = Line(Cell(images["blue"], ("a long name " * 5,), "query"), [("", [Cell(images["pink"], ("b",), "match")])])
    draw_grid([line], ["ours"], "t", {"match": "same", "mismatch": "another"}, 3)
    assert key == [{"match": "same"}]
    assert written[-2].startswith("a long name a")
    assert written[-2].endswith("...")


def test_a_picture_of_two_models_has_room_for_both(images):
    cells = [Cell(images["pink"], ("b",), "match")] * 2
    line = Line(Cell(images["blue"], ("q",), "query"), [("one", cells), ("two", cells)])
    single = Line(line.query, line.found[:1])
    wide, narrow = (draw_grid([one], ["n"] * len(one.found), "", {}, 2)[0] for one in (line, single))
    assert wide.width - narrow.width == 2 * TILE + GAP + LISTS
    assert wide.height == narrow.height
    right = wide.crop((wide.width - MARGIN - TILE, tile_at(0)[1], wide.width - MARGIN, tile_at(0)[3]))
    assert right.getpixel((TILE // 2, TILE // 2)) == (255, 0, 255)
