"""Maps as pictures and pages: classes, marks, places, legend and captions."""

import json
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from fastreid.evaluation import map_picture
from fastreid.evaluation.color_groups import OTHER, UNKNOWN, Groups, join_small, labels_of
from fastreid.evaluation.embedding_map import neighbor_purity
from fastreid.evaluation.image_words import about, kind_of_class, title_of, words_of
from fastreid.evaluation.map_figure import map_figure
from fastreid.evaluation.map_page import map_page
from fastreid.evaluation.map_picture import (
    GAP,
    INSET,
    MARGIN,
    PANEL,
    SHARPER,
    TITLE,
    Panel,
    draw_map,
    mark_radius,
    panel_height,
    placed,
    wrapped,
)
from fastreid.evaluation.markers import GREYS, HUES, MOST, SHAPES, mark_of
from tests.evaluation.stand_ins import feature_file

CODES = ["0601", "14-04", "0601", "", "D14/486", "2601", "0602", "1400"]


def classified(codes=CODES, queries=3, **changes):
    """A file of eight images with classes; the second and third are of one patent."""
    rng = np.random.default_rng(0)
    columns = {
        "pids": [1, 2, 2, 3, 4, 5, 6, 7], "camids": [0] * 8, "dates": [20180102] * 4 + [0] * 4, "taxonomy": codes,
        "text": ["Chair. FIG. 1 is a view;", "Phone", "", "A. B. FIGS. 1 and 2", "x", "Lamp. Seen from above.", "", ""],
        "views": ["front", "rear", "", "front", "top", "top", "top", "left"],
    }  # fmt: skip
    values = {
        "features": rng.normal(size=(8, 5)), "num_query": queries, "columns": columns,
        "paths": [f"p/USD000000{pid}-20180102-D0000{row}.png" for row, pid in enumerate(columns["pids"])],
    }  # fmt: skip
    return feature_file(**{**values, **changes})


# ------------------------------------------------------------------------------------------------------- classes


def test_classes_come_from_the_codes_and_unreadable_ones_are_unknown():
    labels, values = labels_of(classified(), "class", "--color-by")
    assert values.tolist() == ["06", "14", "26"]
    assert labels.tolist() == [0, 1, 0, -1, -1, 2, 0, 1]
    labels, values = labels_of(classified(), "subclass", "--color-by")
    assert values.tolist() == ["06-01", "06-02", "14-04", "26-01"]
    assert labels.tolist() == [0, 2, 0, -1, -1, 3, 1, -1]  # 14-00 names no subclass
    assert labels_of(classified(), "year", "--color-by")[0].tolist() == [0] * 4 + [-1] * 4
    assert labels_of(classified(), "views", "--color-by")[0].tolist() == [0, 2, -1, 0, 3, 3, 3, 1]
    assert labels_of(classified(), "pids", "--color-by")[1].tolist() == [1, 2, 3, 4, 5, 6, 7]


def test_a_column_that_says_nothing_is_an_error_that_names_what_is_there():
    with pytest.raises(ValueError, match=r"--color-by names column 'colour', which the data set lacks; it has: pids, "):
        labels_of(classified(), "colour", "--color-by")
    with pytest.raises(ValueError, match=r"--color-by names column 'class' \(made from 'taxonomy'\), which .* lacks"):
        labels_of(feature_file(), "class", "--color-by")
    with pytest.raises(ValueError, match="--color-by class: it is unknown for all 8 images of this file"):
        labels_of(classified([""] * 8), "class", "--color-by")
    with pytest.raises(ValueError, match="does not know which images belong together"):
        labels_of(classified(relevance_known=False), "pids", "--color-by")


def test_head_and_tail_are_those_of_the_training_set_where_the_file_has_them():
    by_gallery = labels_of(classified(), "frequency", "--color-by")
    columns = {**classified().columns, "frequency": ["tail", "head", "tail", "", "", "head", "tail", ""]}
    by_training = labels_of(classified(columns=columns), "frequency", "--color-by")
    assert by_gallery[1].tolist() == by_training[1].tolist() == ["head", "tail"]
    assert by_training[0].tolist() == [1, 0, 1, -1, -1, 0, 1, -1]
    assert by_gallery[0].tolist() == [1, 1, 1, -1, -1, 1, 0, -1]  # one of the two gallery subclasses with one image


def test_small_classes_become_other_and_ties_go_by_order():
    labels = np.array([0] * 3 + [1] * 5 + [2] * 3 + [3] + [-1] * 2)
    every = join_small(labels, ["a", "b", "c", "d"], 4)
    assert (every.names, every.joined) == (("a", "b", "c", "d"), 0)
    assert every.codes.tolist() == [0] * 3 + [1] * 5 + [2] * 3 + [3] + [UNKNOWN] * 2
    some = join_small(labels, ["a", "b", "c", "d"], 3)
    assert some.names == ("a", "b")  # of a and c, which are equally large, the first
    assert some.codes.tolist() == [0] * 3 + [1] * 5 + [OTHER] * 4 + [UNKNOWN] * 2
    assert some.legend() == [(0, "a", 3), (1, "b", 5), (OTHER, "other (2 classes)", 4), (UNKNOWN, "unknown", 2)]
    assert join_small(labels[3:8], ["a", "b", "c", "d"], 3).legend() == [(0, "b", 5)]


def test_classes_and_images_are_named_for_people():
    file = classified()
    assert words_of("class", np.array(["06", "99"]), file) == ["06 Furnishing", "99"]
    assert words_of("subclass", np.array(["06-01"]), file) == ["06-01 Furnishing"]
    assert words_of("pids", np.array([2, 7]), file) == ["USD0000002", "USD0000007"]
    assert words_of("views", np.array(["front"]), file) == ["front"]
    assert words_of("camids", np.array([3]), file) == ["camera 3"]
    named = classified(paths=[f"{row}.png" for row in range(8)])
    assert words_of("pids", np.array([2]), named) == ["identity 2"]
    assert kind_of_class("pids", named.paths) == "identity"
    assert kind_of_class("pids", file.paths) == "patent"
    assert [kind_of_class(name, ()) for name in ("class", "views", "taxonomy")] == ["Locarno class", "view", "taxonomy"]
    assert about(file, 0) == ("Chair", "06-01 Furnishing", "USD0000001 D00000")
    assert about(file, 7) == ("14 Recording, telecommunication, data processing", "USD0000007 D00007")
    assert about(feature_file(paths=[f"a/{row}.png" for row in range(52)]), 3) == ("3",)


@pytest.mark.parametrize(
    "text, title",
    [
        ("Chair. FIG. 2 is a front view thereof;", "Chair"),
        ("Dr. X's shoe. FIGS. 1 to 3", "Dr. X's shoe"),
        ("Lamp. Seen from above", "Lamp"),
        ("Lamp.", "Lamp"),
        ("", ""),
    ],
)
def test_a_title_ends_before_the_caption(text, title):
    assert title_of(text) == title


# --------------------------------------------------------------------------------------------------------- marks


def test_every_class_has_a_mark_of_its_own_that_needs_no_colour_nearby():
    marks = [mark_of(code) for code in range(MOST)]
    assert len(set(marks)) == MOST
    for start in range(0, MOST, 8):
        assert len({color for color, *_ in marks[start : start + 8]}) == 8
        assert len({shape for _, shape, _ in marks[start : start + 8]}) == 8
    assert not {color for color, *_ in marks} & set(GREYS.values())
    alike = [{"circle", "star"}, {"square", "diamond"}, {"triangle", "turned triangle"}, {"plus", "cross"}]
    for color in HUES:
        shapes = [shape for shade, shape, _ in marks if shade == color]
        assert len(set(shapes)) == 4
        assert not [pair for pair in alike if pair <= set(shapes)]


def test_shapes_are_centred_and_of_about_one_size():
    for name, corners in SHAPES.items():
        x, y = np.array(corners).T
        area = 0.5 * abs(x @ np.roll(y, 1) - y @ np.roll(x, 1))
        assert 2.2 < area < 3.3, name
        assert np.hypot(x, y).max() <= 1.51
        assert (abs(x.mean()), abs(y.mean())) == pytest.approx((0, 0), abs=1e-9)


# ------------------------------------------------------------------------------------------------------- picture


def test_points_keep_their_proportions_and_stay_inside():
    points = np.array([[0.0, 0.0], [10.0, 5.0], [4.0, -2.0]])
    places = placed(points, (640, 500), 16)
    scale = (640 - 32) / 10
    assert places[1, 0] - places[0, 0] == pytest.approx(10 * scale)
    assert places[0, 1] - places[1, 1] == pytest.approx(5 * scale)  # upwards
    assert places.min() >= 16
    assert (places <= (640 - 16, 500 - 16)).all()
    high = placed(points[:, ::-1], (640, 500), 16)
    assert np.ptp(high[:, 1]) == pytest.approx(500 - 32)
    assert placed(np.ones((3, 2)), (640, 500), 16).tolist() == [[320, 250]] * 3
    assert np.ptp(placed(np.array([[0.0, 1], [5, 1]]), (640, 500), 16), axis=0).tolist() == [608, 0]


def test_a_panel_is_as_high_as_its_map():
    def panel(width, height):
        return Panel("", np.array([[0.0, 0], [width, height]]))

    assert panel_height([panel(10, 10)]) == panel_height([panel(1, 30)]) == PANEL
    assert panel_height([panel(10, 1)]) == 0.6 * PANEL
    assert panel_height([panel(10, 1), panel(10, 8)]) == pytest.approx(2 * INSET + 0.8 * (PANEL - 2 * INSET))


def colors_at(picture, points, size, number=0):
    """The colour in the middle of each mark of a panel."""
    at = (MARGIN + number * (PANEL + GAP), MARGIN + TITLE)
    places = ((placed(points, size, INSET) + at) * SHARPER).round().astype(int)
    return [picture.getpixel((int(x), int(y))) for x, y in places]


def test_every_point_is_drawn_in_its_colour_inside_its_panel():
    x, y = np.divmod(np.arange(40), 8)
    points = np.stack([x, y * 0.9], axis=1).astype(float)
    groups = Groups(np.arange(40) - 2, tuple(f"class {code}" for code in range(38)), joined=3)
    panels = [Panel("one", points), Panel("other", points[::-1])]
    picture = draw_map(panels, groups, "kinds", "caption")
    size = PANEL, max(panel_height(panels), map_picture.ROW * 41)
    expected = [mark_of(code)[0] for code in groups.codes.tolist()]
    assert colors_at(picture, points, size) == expected
    assert colors_at(picture, points[::-1], size, 1) == expected
    colored = np.ptp(np.asarray(picture), axis=2) > 40
    top, bottom = SHARPER * (MARGIN + TITLE), SHARPER * (MARGIN + TITLE + size[1])
    for left in (MARGIN, MARGIN + PANEL + GAP):
        inside = colored[round(top) : round(bottom), SHARPER * left : SHARPER * (left + PANEL)]
        assert inside.sum() > 38 * 100
    assert not colored[:, SHARPER * (MARGIN + PANEL) : SHARPER * (MARGIN + PANEL + GAP)].any()  # between the panels
    assert not colored[round(bottom) :].any()


def test_known_classes_lie_above_grey_ones_and_the_order_is_seeded():
    points = np.zeros((60, 2))
    points[0] = 1
    codes = np.array([UNKNOWN] * 30 + [0] + [OTHER] * 29)
    groups = Groups(codes, ("one",))
    size = PANEL, panel_height([Panel("", points)])
    for seed in range(5):
        assert colors_at(draw_map([Panel("", points)], groups, seed=seed), points, size)[1] == mark_of(0)[0]
    many = Groups(np.arange(60) % 30, tuple(map(str, range(30))))
    tops = {colors_at(draw_map([Panel("", points)], many, seed=seed), points, size)[1] for seed in range(5)}
    assert len(tops) > 1
    first, again = (draw_map([Panel("", points)], many, seed=1) for _ in range(2))
    assert first.tobytes() == again.tobytes()


@pytest.fixture
def texts(monkeypatch):
    """What is written into pictures."""
    seen = []
    write = map_picture._text

    def note(draw, at, text, *rest):
        seen.append(text)
        write(draw, at, text, *rest)

    monkeypatch.setattr(map_picture, "_text", note)
    return seen


def test_the_legend_has_names_and_counts_and_the_notes_stand_below(texts):
    groups = Groups(np.array([0, 0, 1, UNKNOWN]), ("06 Furnishing", "a very " * 20 + "long name"))
    draw_map([Panel("ours", np.eye(4)[:, :2], ("pure",))], groups, "Locarno class", "words " * 40)
    assert texts[:4] == ["ours", "pure", "Locarno class", "06 Furnishing"]
    assert "2" in texts
    assert "unknown" in texts
    assert [text for text in texts if text.startswith("a very") and text.endswith("...") and len(text) < 70]
    assert [text for text in texts if text.startswith("words")] == wrapped("words " * 40, 640 + 26 + 375, 13)


def test_lines_are_broken_at_spaces():
    assert wrapped("", 100, 13) == []
    assert wrapped("one two", 1000, 13) == ["one two"]
    assert wrapped("one two", 1, 13) == ["one", "two"]


def test_marks_are_smaller_where_there_are_more():
    sizes = [mark_radius(count) for count in (1, 300, 2000, 10**6)]
    assert sizes == sorted(sizes, reverse=True)
    assert (sizes[0], sizes[-1]) == (6.5, 3.2)


# -------------------------------------------------------------------------------------------------- figure and page


def figure(**options):
    return map_figure([classified(), classified(features=np.eye(8))], ["ours", "<theirs>"], **options)


def test_a_figure_has_the_purity_of_every_model_and_says_how_it_was_made():
    made = figure(seed=3)
    ours, theirs = made.panels
    assert ours.points.shape == theirs.points.shape == (8, 2)
    assert made.heading == "Locarno class"
    assert made.caption == "t-SNE (perplexity 2.33333, cosine, seed 3) of 8 images."
    assert re.fullmatch(
        r"Same Locarno class among the 10 nearest: [\d.]+ % \(by chance [\d.]+ %\); on this map [\d.]+ %", ours.notes[0]
    )
    assert re.fullmatch(r"Without figures of the same patent: [\d.]+ % \(by chance [\d.]+ %\)", ours.notes[1])
    assert made.groups.names == (
        "06 Furnishing",
        "14 Recording, telecommunication, data processing",
        "26 Lighting apparatus",
    )
    sampled = figure(size=6, stratified=True, column="pids")
    assert sampled.caption.endswith("of 6 of 8 images, drawn in turn from each patent.")
    assert len(sampled.panels[0].notes) == 1
    assert len(sampled.rows) == 6
    assert len(map_figure([classified(relevance_known=False)], ["test set"]).panels[0].notes) == 1


def test_each_model_is_mapped_and_measured_by_its_own_features(monkeypatch):
    plain, calls = feature_file(), []
    columns = {**plain.columns, "taxonomy": [CODES[pid] for pid in plain.columns["pids"]]}
    files = [feature_file(columns=columns), feature_file(columns=columns, features=np.eye(52))]

    def project(features, *options):
        calls.append((features, options))
        return features[:, 1:3].astype(float)

    monkeypatch.setattr("fastreid.evaluation.map_figure.project", project)
    made = map_figure(files, ["a", "b"], "class", "umap", "euclidean", size=40, perplexity=2.0, seed=5)
    known, own = labels_of(files[0], "class", "")[0][made.rows], np.arange(40)
    for panel, (features, options), file in zip(made.panels, calls, files, strict=True):
        np.testing.assert_array_equal(features, file.features[made.rows])
        assert options == ("umap", "euclidean", 2.0, 5)
        patents = file.columns["pids"][made.rows]
        among, apart = (neighbor_purity(features, known, by, "euclidean") for by in (own, patents))
        drawn = neighbor_purity(panel.points, known, own, "euclidean")
        assert drawn != among != apart
        assert panel.notes[0].endswith(f" nearest: {among}; on this map {100 * drawn.found:.1f} %")
        assert panel.notes[1].endswith(f" patent: {apart}")
    assert made.caption.startswith("UMAP (15 neighbours, euclidean, seed 5) of 40 of 52 images, drawn at random.")


def test_an_image_in_both_lists_is_one_point():
    paths = [f"{row % 6}.png" for row in range(8)]
    assert map_figure([classified(paths=paths)], ["a"]).rows.tolist() == [0, 1, 2, 3, 4, 5]


def test_a_page_holds_all_points_and_asks_for_nothing_from_outside(tmp_path):
    made = figure()
    paths = [str(tmp_path / f"{row}.png") for row in range(8)]
    Image.new("L", (300, 200), 255).save(paths[0])
    cards = [("</script><b>{{data}}", f"class {row}") for row in range(8)]
    page, missing = map_page(made, cards, paths, "<Title> {{caption}}")
    assert missing == set(paths[1:])
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1]
    rows = json.loads(data)
    assert [row[1:] for row in rows] == [["</script><b>{{data}}", f"class {row}"] for row in range(8)]
    assert rows[0][0].startswith("data:image/png;base64,")
    assert [row[0] for row in rows[1:]] == [None] * 7
    assert "&lt;Title&gt; {{caption}}" in page
    assert not re.search(r"https?://|@import|url\(|src=|href=\"[^#]", page)
    panels = re.findall(r'<svg viewBox="0 0 640 [\d.]+" role="img".*?</svg>', page, re.DOTALL)
    assert len(panels) == 2
    symbols = set(re.findall(r'<g id="(\w+)">', page))
    for panel in panels:
        marks = [mark.attrib for mark in ET.fromstring(panel).iter("use")]
        assert sorted(int(mark["data-row"]) for mark in marks) == list(range(8))
        assert {mark["href"] for mark in marks} == {f"#{name}" for name in symbols}
        assert all(0 < float(mark["x"]) < 640 for mark in marks)
        assert marks[0]["class"] == f"grey{-UNKNOWN}"  # below the others
    buttons = re.findall(r'data-mark="(\w+)".*?<span>(.*?)</span><small>(\d+)</small>', page)
    assert buttons[0] == ("mark0", "06 Furnishing", "3")
    assert {name for name, *_ in buttons} == symbols
