"""What is read from metadata about a figure."""

import pytest

from fastreid.enrich import MetadataCaptioner, Source, sources

PATENT = {
    "patent_id": "USD1", "locarno": "0601", "title": "Chair", "figures": [
        {"file": "1.png", "view": "left",
         "caption": "FIG. 1 is a left side elevational view of a chair, showing my new design;"},
        {"file": "2.png", "view": "top", "caption": "FIG. 2 is a top plan view thereof; and,"},
        {"file": "3.png", "view": "right"},
        {"file": "4.png"},
    ],
}  # fmt: skip


def source(**figure):
    patent = {key: figure.pop(key) for key in ("title", "locarno", "note") if key in figure}
    (found,) = sources([{**patent, "figures": [{"file": "a.png", **figure}]}])
    return found


def test_figures_of_a_patent():
    first, second, third, fourth = sources([PATENT])
    assert first == Source(
        "1.png", object="chair", view="left side elevational view", caption="a left side elevational view of a chair",
        code="06-01", heading="Furnishing",
    )  # fmt: skip
    assert (second.caption, second.view) == ("a top plan view of the chair", "top plan view")
    assert (third.caption, third.view) == ("", "right side view")
    assert (fourth.caption, fourth.view, fourth.object, fourth.code) == ("", "", "chair", "06-01")


def test_nothing_at_all_is_known():
    found = source(caption=None, view="", object=3, title=["x"], locarno="none")
    assert found == Source("a.png")
    assert MetadataCaptioner().describe([found]) == [""]


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("Ornamental design for a lamp", "lamp"),
        ("LED LAMP", "led lamp"),
        ("LED", "LED"),
        ("LED lamp", "LED lamp"),
        ("Pet treat.", "pet treat"),
        ("  Set  of knives ", "set of knives"),
        ("Design tool", "design tool"),
    ],
)
def test_objects(title, name):
    assert source(title=title).object == name
    assert source(object=title, title="Other").object == name


@pytest.mark.parametrize(
    ("caption", "phrase", "view"),
    [
        ("Fig. 3 shows a front, top, and left side perspective view of a pet treat embodying the new design.",
         "a front, top, and left side perspective view of a pet treat", "front, top, and left side perspective view"),
        ("FIG. 7A is perspective view thereof, in accordance with the claimed ornamental design;",
         "a perspective view of the pet treat", "perspective view"),
        ("FIGURE 12 is an enlarged view of the portion 3-3 in FIG. 1.",
         "an enlarged view of the portion 3-3 in FIG. 1", "enlarged view"),
        ("FIG. 2 is the bottom plan view thereof, the top being a mirror image.",
         "the bottom plan view of the pet treat, the top being a mirror image", "bottom plan view"),
        ("A cross section", "a cross section", ""),
        ("FIG. 1.", "", ""),
        ("FIGS. 2-4 are front views of a cup.", "front views of a cup", ""),
        ("FIG. 3: Front view", "a front view", "front view"),
        ("Isometric view; the cup is open", "an isometric view", "isometric view"),
    ],
)  # fmt: skip
def test_captions(caption, phrase, view):
    found = source(title="Pet treat", caption=caption)
    assert (found.caption, found.view) == (phrase, view)


def test_an_aspect_counts_before_the_caption_and_the_caption_before_the_word_of_the_view():
    facts = {"caption": "FIG. 1 is a front elevational view of a cup.", "view": "front"}
    assert source(**facts, aspect="Rear perspective view").view == "rear perspective view"
    assert source(**facts).view == "front elevational view"
    assert source(view="front").view == "front view"
    assert source(view="cross-sectional view").view == "cross-sectional view"


def test_the_hash_is_of_what_is_known_and_not_of_the_name():
    first, second = source(title="Cup"), source(title="Cup", file="b.png")
    assert first.sha256 == second.sha256
    others = [
        source(title="Mug"),
        source(title="Cup", view="top"),
        source(title="Cup", note="x"),
        Source("a.png", "cup", image="0"),
    ]
    assert len({first.sha256, *(other.sha256 for other in others)}) == 5


@pytest.mark.parametrize(
    ("note", "said"),
    [
        ("The broken lines depict portions of the cup that form no part of the claimed design.", True),
        ("The dashed lines show unclaimed environment.", True),
        ("The dot-dash lines are boundaries; broken lines are not claimed.", True),
        ("The broken lines show stitching.", False),
        ("The shading forms no part of the design.", False),
        ("", False),
    ],
)
def test_broken_lines_are_spoken_of_where_the_patent_says_that_they_do_not_count(note, said):
    (details,) = MetadataCaptioner().describe([source(title="Cup", view="top", note=note)])
    assert details == "a top view of a cup" + (
        ", with any broken lines forming no part of the claimed design" if said else ""
    )


def test_details_are_the_caption_or_the_view_or_the_object():
    long = "FIG. 1 is a view of a cup " + "x " * 200
    given = [source(caption=long, view="top", title="Cup"), source(view="top"), source(title="Eyeglasses")]
    assert MetadataCaptioner().describe(given) == [
        "a view of a cup", "a top view", "the ornamental design of eyeglasses",
    ]  # fmt: skip
