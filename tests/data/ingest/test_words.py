"""Values of odd types, views, years and the split, counts."""

import itertools
import json
import math

import pytest

from fastreid.data.ingest.split import LISTS, Split, read_years
from fastreid.data.ingest.tally import EXAMPLES, Tally
from fastreid.data.ingest.values import (
    date_of,
    is_file_name,
    number_of,
    numbers_of,
    patent_of,
    text_of,
    without_empty,
)
from fastreid.data.ingest.views import SIDES, aspect_of, view_of
from fastreid.data.synthetic.captions import captions
from fastreid.data.synthetic.projection import VIEWS, Camera

ODD = (None, "", "  ", True, False, [], ["a"], {}, {"a": 1}, math.nan, math.inf)


@pytest.mark.parametrize("value", ODD)
def test_values_that_say_nothing(value):
    assert text_of(value) == ""
    assert number_of(value) == ""
    assert numbers_of(1, value) == []
    assert date_of(value) == ""
    assert patent_of(value) == ("", "")


def test_texts_and_numbers():
    assert [text_of(value) for value in (" a\n b ", 3, 3.0, 0.5, 0, 10**400)] == [
        "a b",
        "3",
        "3",
        "0.5",
        "0",
        str(10**400),
    ]
    assert [number_of(value) for value in ("1", 2, "3A", 4.0, "²", "12 ")] == [1, 2, "3A", 4, "²", 12]
    assert numbers_of("614", 91, 0.5, 1e3) == [614, 91, 0.5, 1000]
    assert numbers_of("inf", 1) == numbers_of("nan") == numbers_of("wide") == []
    assert without_empty({"a": "", "b": [], "c": None, "d": 0, "e": "x"}) == {"d": 0, "e": "x"}


def test_dates():
    assert (
        date_of("2019-01-01")
        == date_of(20190101)
        == date_of("20190101")
        == date_of(None, "soon", 20190101.0)
        == "2019-01-01"
    )
    for bad in ("2019-13-01", "2019-02-29", "00000000", "2019", "2019-01", "January 1, 2019"):
        assert date_of(bad) == ""
    assert date_of("2019-02-29", "20190301") == "2019-03-01"


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ("USD0836880-20190101", ("USD0836880", "20190101")),
        (" USD0836880 ", ("USD0836880", "")),
        (836880, ("836880", "")),
        ("USD0836880-2019", ("", "")),
        ("../x", ("", "")),
        ("USD 1", ("", "")),
    ],
)
def test_patents(value, parts):
    assert patent_of(value) == parts


def test_file_names_stay_in_their_folder_and_on_their_line():
    assert is_file_name("a/USD1-D00001_..png")
    assert is_file_name("a b.png")
    for bad in ("", "/etc/passwd", "../a.png", "a/../b.png", "a\nb.png", "\udcff.png", "a\x00"):
        assert not is_file_name(bad)


@pytest.mark.parametrize(
    ("aspect", "view"),
    [
        ("front elevational view", "front"),
        ("Front Elevation View", "front"),
        ("rear view", "rear"),
        ("back elevational view", "rear"),
        ("left side elevational view", "left"),
        ("left-hand side view", "left"),
        ("right side view", "right"),
        ("top plan view", "top"),
        ("bottom plan view", "bottom"),
        ("plan view", "top"),
        ("perspective view", "perspective"),
        ("front perspective view", "perspective"),
        ("front, top, and left side perspective view", "perspective"),
        ("front and right side view", "perspective"),
        ("isometric view", "perspective"),
        ("three-quarter view", "perspective"),
        ("side elevational view", "side"),
        ("cross-sectional view along the front", "section"),
        ("enlarged view", ""),
        ("stop view", ""),
        ("", ""),
    ],
)
def test_views(aspect, view):
    assert view_of(aspect) == view


def test_every_pair_of_sides_is_a_perspective_or_one_side():
    for one, other in itertools.product(SIDES, SIDES):
        expected = SIDES[one] if SIDES[one] == SIDES[other] else "perspective"
        assert view_of(f"{one} and {other} view") == expected


@pytest.mark.parametrize(
    ("caption", "aspect"),
    [
        ("FIG. 2 is a front elevational view thereof;", "front elevational view"),
        ("FIG. 3 is a front elevational of the game housing of FIG. 2;", "front elevational"),
        ("FIG. 4 is a left side view thereof, the right side view being a mirror image.", "left side view"),
        ("FIG. 5 shows the rear view", "rear view"),
        ("FIG. 6 is an enlarged view of portion 6 in FIG. 1.", "enlarged view"),
        ("FIGS. 7-8 are perspective views of a lid;", "perspective views"),
        ("FIG. 3 is a top view perspective view thereof;", "top view perspective view"),
        ("FIG. 4 is front view of the tool handle of FIG. 1;", "front view"),
        ("FIG. 6 is a top of the tool handle of FIG. 1; and,", "top"),
        ("FIG. 3 is an enlarged fragmentary elevation view of the bottom portion of the bat;",
         "enlarged fragmentary elevation view"),
        ("1.1 : Perspective", "Perspective"),
        ("1.12: Back view", "Back view"),
        ("FIG. 9 is a chair.", ""),
        ("FIG. 10", ""),
        ("", ""),
    ],
)  # fmt: skip
def test_aspects(caption, aspect):
    assert aspect_of(caption) == aspect


def test_the_captions_of_minipatent_are_read():
    cameras = [Camera(view, 30, 20) for view in VIEWS]
    described = captions(cameras, "LED lamp", ", showing my new design", mirrored=True)
    for camera, caption in zip(cameras, described, strict=True):
        assert view_of(aspect_of(caption)) == camera.view


def test_years():
    assert read_years("2020") == (2020,)
    assert read_years("2016-2019") == (2016, 2017, 2018, 2019)
    assert read_years(" 2018, 2010-2011,2010") == (2010, 2011, 2018)
    for bad in ("", "20", "2019-2016", "2016..2019", "2016-", "x"):
        with pytest.raises(ValueError, match=r"Years are written 2020, 2016-2019 or"):
            read_years(bad)


def test_the_split_is_by_year_and_patent():
    split = Split((2016, 2017), (2019,), val_share=0.2)
    assert split.gallery == (2016, 2017)
    names = [f"USD{k:07d}" for k in range(2000)]
    parts = {name: dict(split.parts(name, 2016, ["a", "b"])) for name in names}
    val = {name for name in names if "val" in parts[name]}
    assert 0.17 < len(val) / len(names) < 0.23
    assert all(set(parts[name]) == {"val", "val_query", "val_gallery", "gallery"} for name in val)
    assert all(set(parts[name]) == {"train", "gallery"} for name in names if name not in val)
    assert {
        name for name in names if "val" in dict(split.parts(name, 2017, ["c"]))
    } == val  # of the patent, not its files
    other = Split((2016, 2017), (2019,), val_share=0.2, seed=1)
    assert {name for name in names if "val" in dict(other.parts(name, 2016, ["a"]))} != val
    assert split.parts("USD1", 2018, ["a"]) == []
    assert split.parts("USD1", 2019, ["a"]) == [("query", ["a"])]
    both = Split((2016,), (2019,), (2016, 2018, 2019))
    assert [name for name, _ in both.parts("USD1", 2019, ["a"])] == ["query", "gallery"]
    assert [name for name, _ in both.parts("USD1", 2018, ["a"])] == ["gallery"]
    assert both.years == {2016, 2018, 2019}
    assert {name for split in (split, both) for k in names for name, _ in split.parts(k, 2016, ["a"])} <= set(LISTS)


@pytest.mark.parametrize(("figures", "queries"), [(1, 0), (2, 1), (3, 1), (4, 2), (9, 2)])
def test_queries_of_validation_follow_the_rule_of_deeppatent(figures, queries):
    files = [f"{k}.png" for k in range(figures)]
    chosen = []
    for seed in range(30):
        parts = dict(Split((2016,), (2019,), val_share=0.999999, seed=seed).parts("USD1", 2016, files))
        assert len(parts["val_query"]) == queries
        assert sorted([*parts["val_query"], *parts["val_gallery"]]) == files == parts["val"]
        chosen += parts["val_query"]
    assert len(set(chosen)) == (figures if queries else 0)  # not always the first ones


def test_bad_splits():
    with pytest.raises(ValueError, match=r"--val-share must be at least 0 and below 1; got 1"):
        Split((2016,), (2019,), val_share=1)
    with pytest.raises(ValueError, match=r"--query-year and --train-years share 2017: queries would be trained on"):
        Split((2016, 2017), (2017, 2018))
    assert dict(Split((2016,), (2019,), val_share=0).parts("USD1", 2016, ["a"])).keys() == {"train", "gallery"}


def test_tallies_add_up_and_keep_the_first_examples():
    first, second = Tally(), Tally()
    for k in range(4):
        first.add("a", f"first {k}")
        second.add("a", f"second {k}")
    second.add("b", "x" * 1000, count=7)
    stored = json.loads(json.dumps(first.as_dict()))
    total = Tally(stored)
    total.update(second)
    assert total.total() == 15
    assert str(total) == "8 a, 7 b"
    assert total.as_dict()["a"]["examples"] == [f"first {k}" for k in range(4)] + ["second 0"]
    assert len(total.as_dict()["a"]["examples"]) == EXAMPLES
    assert len(total.as_dict()["b"]["examples"][0]) == 300
    assert (stored["a"]["count"], second.as_dict()["a"]["count"]) == (4, 4)  # what was added is left as it was
