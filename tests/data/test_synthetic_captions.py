"""What MiniPatent's patents say about themselves."""

import re

import pytest

from fastreid.data.synthetic.captions import (
    NOTES,
    PHRASES,
    broken_line_note,
    captions,
    claim,
    classification,
    view_name,
)
from fastreid.data.synthetic.projection import VIEWS, Camera


def test_captions_of_a_patent():
    cameras = [Camera("perspective", azimuth=35, elevation=25), Camera("front"), Camera("left"), Camera("bottom")]
    assert captions(cameras, "Chair", PHRASES[0], mirrored=True) == [
        "FIG. 1 is a front, top and right side perspective view of a chair, showing my new design;",
        "FIG. 2 is a front elevational view thereof;",
        "FIG. 3 is a left side elevational view thereof, the right side being a mirror image;",
        "FIG. 4 is a bottom plan view thereof.",
    ]


def test_mirror_images_are_named_only_where_one_side_is_left_out_and_where_they_are_some():
    both = captions([Camera("left"), Camera("right")], "Sofa", mirrored=True)
    unlike = captions([Camera("left"), Camera("front")], "Cup")
    assert not any("mirror" in line for line in both + unlike)
    assert both[0] == "FIG. 1 is a left side elevational view of a sofa;"
    (alone,) = captions([Camera("right")], "Sofa", mirrored=True)
    assert alone == "FIG. 1 is a right side elevational view of a sofa, the left side being a mirror image."


@pytest.mark.parametrize(
    ("azimuth", "elevation", "expected"),
    [
        (40, 20, "front, top and right side perspective"),
        (-40, 20, "front, top and left side perspective"),
        (140, 20, "rear, top and right side perspective"),
        (-140, -20, "rear, bottom and left side perspective"),
        (220, 20, "rear, top and left side perspective"),
        (0, 30, "front and top perspective"),
        (180, -30, "rear and bottom perspective"),
    ],
)
def test_the_perspective_is_named_after_the_sides_it_shows(azimuth, elevation, expected):
    assert view_name(Camera("perspective", azimuth, elevation)) == expected


def test_every_view_has_a_name_of_its_own():
    assert len({view_name(Camera(view)) for view in VIEWS}) == len(VIEWS)


def test_claim_note_and_classification():
    assert claim("Eyeglasses") == "The ornamental design for eyeglasses, as shown and described."
    assert "portions of the handbag that form no part" in broken_line_note("Handbag", NOTES[0])
    assert "portions of the LED lamp that" in broken_line_note("LED lamp", NOTES[0])
    assert not any(re.search("[{}]", broken_line_note("Handbag", note)) for note in NOTES)
    days = {20180102: 11, 20181225: 11, 20190101: 12, 20210105: 13}
    assert {day: classification("0601", day) for day in days} == {
        day: f"LOC ({edition}) Cl. 06-01" for day, edition in days.items()
    }
