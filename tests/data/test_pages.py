"""Figures of a sheet."""

import itertools

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from fastreid.data.pages import MANY, Region, _few, in_reading_order, ink_of, split_page
from tests.data.sheets import compose, draw_figures, overlap


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    return draw_figures(tmp_path_factory.mktemp("minipatent"))


def page(*rectangles, width=600, height=800, grey=0):
    """White with filled rectangles (left, top, right, bottom)."""
    image = Image.new("L", (width, height), 255)
    for left, top, right, bottom in rectangles:
        image.paste(grey, (left, top, right, bottom))
    return image


def write(image, text, left, top, size=18):
    ImageDraw.Draw(image).text((left, top), text, fill=0, font=ImageFont.load_default(size))
    return image


def boxes(image):
    return [region.box for region in split_page(image)]


def found(image, wanted):
    """Whether the regions are these boxes, in any order."""
    regions = split_page(image)
    return len(regions) == len(wanted) and all(
        any(overlap(box, region.box) >= 0.8 for region in regions) for box in wanted
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"labels": False},
        {"exploded": True},
        {"frame": True, "dust": True},
        {"frame": True, "dust": True, "exploded": True, "labels": False},
    ],
)
def test_composed_sheets(figures, options):
    pages = [compose(figures, np.random.default_rng(seed), 2 + seed % 5, **options) for seed in range(15)]
    right = [found(*sheet) for sheet in pages]
    assert np.mean(right) >= (0.85 if "dust" in options else 0.95)  # dust beside a thin figure may widen its box
    labelled = [region.labelled for sheet, _ in pages for region in split_page(sheet)]
    assert np.mean(labelled) >= 0.98 if options.get("labels", True) else np.mean(labelled) <= 0.02


def test_one_figure_is_one_region(figures):
    for number in range(0, len(figures), 7):
        ink = np.pad(figures[number], 40)
        height, width = figures[number].shape
        regions = split_page(Image.fromarray(~ink))
        assert [region.box for region in regions] == [(40, 40, 40 + width, 40 + height)]


@pytest.mark.parametrize("mode", ["L", "RGB", "1"])
def test_an_empty_page_has_no_figure(mode):
    assert split_page(Image.new(mode, (300, 400), "white")) == []
    dust = page((50, 60, 51, 61), (200, 300, 202, 302), width=500, height=700)
    assert split_page(dust.convert(mode)) == []


def test_a_page_with_nothing_but_a_label_or_a_frame_has_that():
    assert len(split_page(write(page(), "FIG. 1", 200, 300))) == 1
    frame = page((10, 10, 590, 13), (10, 787, 590, 790), (10, 10, 13, 790), (587, 10, 590, 790))
    assert boxes(frame) == [(10, 10, 590, 790)]


def test_a_frame_is_left_out_and_dust_beside_it_too():
    frame = [(10, 10, 590, 13), (10, 787, 590, 790), (10, 10, 13, 790), (587, 10, 590, 790)]
    figure = (100, 100, 300, 400)
    assert boxes(page(*frame, figure)) == [figure]
    assert boxes(page(*frame, figure, (16, 300, 18, 302), (582, 500, 584, 502), (310, 200, 312, 202))) == [figure]


def test_a_label_belongs_to_the_nearest_figure_and_is_no_part_of_its_box():
    upper, lower = (100, 60, 400, 260), (100, 440, 400, 640)
    image = write(page(upper, lower), "FIG. 1", 220, 275)
    assert split_page(image) == [Region(upper, True), Region(lower, False)]
    assert split_page(write(image, "FIG. 2", 220, 655)) == [Region(upper, True), Region(lower, True)]


def test_labels_are_shared_out_although_all_are_nearer_to_one_figure():
    """Those below two figures in a column: the first is as near to the second figure."""
    upper, lower = (100, 60, 400, 260), (100, 320, 400, 520)
    image = write(write(page(upper, lower), "FIG. 1", 220, 290), "FIG. 2", 220, 560)
    assert split_page(image) == [Region(upper, True), Region(lower, True)]


def test_a_label_within_a_figure_stays_in_its_box():
    ring = page((100, 100, 500, 110), (100, 490, 500, 500), (100, 100, 110, 500), (490, 100, 500, 500))
    assert split_page(write(ring, "FIG. 3", 270, 290)) == [Region((100, 100, 500, 500), True)]


def test_letters_that_belong_to_a_drawing_are_no_label():
    """A key with a word on it: both are joined, and the word does not stand beside the rest."""
    key = page((100, 100, 200, 104), (100, 136, 200, 140), (100, 100, 104, 140), (196, 100, 200, 140))
    assert split_page(write(key, "ENTER", 120, 110)) == [Region((100, 100, 200, 140), False)]


def test_a_label_close_to_a_drawing_is_taken_off():
    figure = (100, 100, 400, 500)
    (region,) = split_page(write(page(figure), "FIG. 1", 200, 504, size=20))
    assert region == Region(figure, True)


def test_labels_from_the_side_and_in_italics():
    figure = (100, 100, 400, 500)
    letters = Image.new("L", (100, 40), 255)
    write(letters, "FIG. 7", 10, 5, 24)
    slanted = letters.transform(letters.size, Image.Transform.AFFINE, (1, 0.25, -8, 0, 1, 0), fillcolor=255)
    for label in (letters.rotate(90, expand=True), slanted, slanted.rotate(90, expand=True)):
        image = page(figure)
        image.paste(label, (460, 250))
        assert split_page(image) == [Region(figure, True)]


def test_letters_that_lean_over_their_neighbours():
    figure, image = (100, 100, 400, 500), page((100, 100, 400, 500))
    for sign in range(9):
        for row in range(64):
            left = 180 + 12 * sign + (64 - row) // 4
            image.paste(0, (left, 560 + row, left + 6, 561 + row))
    assert split_page(image) == [Region(figure, True)]


def test_what_looks_like_a_label_but_is_much_larger_is_a_figure():
    bars = [(100, 60, 110, 140), (130, 60, 140, 140), (160, 60, 170, 140)]
    image = page(*bars, (100, 400, 400, 600), width=1000, height=1400)
    image = write(write(image, "FIG. 1", 110, 170, 26), "FIG. 2", 220, 640, 26)
    assert [box for box in boxes(image) if box[1] < 200] == [(100, 60, 170, 140)]
    assert len(boxes(image)) == 2


def test_the_line_an_office_prints_on_top_is_no_figure():
    image = page((200, 400, 700, 1000), width=1000, height=1400)
    for left, text in ((60, "U.S. Patent"), (330, "Nov. 6, 2018"), (560, "Sheet 1 of 7"), (760, "US D832,411 S")):
        write(image, text, left, 40, 22)
    assert split_page(image) == [Region((200, 400, 700, 1000), False)]


def test_near_parts_are_one_figure_and_far_ones_are_two():
    def pair(gap):
        return boxes(page((100, 100, 300, 300), (100, 300 + gap, 300, 500 + gap)))

    assert pair(18) == [(100, 100, 300, 518)]  # 0.0225 of 800
    assert len(pair(21)) == 2
    small = [(100, 100, 300, 300), (180, 330, 220, 360)]  # a screw below a lid
    assert boxes(page(*small)) == [(100, 100, 300, 360)]
    assert len(boxes(page(small[0], (180, 360, 220, 390)))) == 2
    assert len(boxes(page(small[0], (195, 400, 205, 410)))) == 1  # a stray mark


def test_figures_with_a_label_each_stay_apart_however_near():
    upper, lower = (100, 60, 300, 260), (320, 60, 520, 260)
    assert len(boxes(page(upper, lower))) == 2
    near = (316, 60, 516, 260)
    assert len(boxes(page(upper, near))) == 1
    image = write(write(page(upper, near), "FIG. 1", 170, 285), "FIG. 2", 390, 285)
    assert split_page(image) == [Region(upper, True), Region(near, True)]


def test_dashes_are_one_figure():
    dashes = [(x, y, x + 14, y + 2) for x in range(100, 400, 24) for y in (100, 398)]
    dashes += [(x, y, x + 2, y + 14) for y in range(100, 400, 24) for x in (100, 398)]
    assert len(split_page(page(*dashes))) == 1


def test_many_specks_are_a_drawing_and_not_dust():
    dots = [(x, y, x + 2, y + 2) for x in range(100, 400, 12) for y in range(100, 400, 12)]
    assert len(split_page(page(*dots, height=600))) == 1


def test_faint_lines_count_on_white_but_not_what_is_as_light_as_the_paper():
    figure = (100, 100, 400, 500)
    assert boxes(page(figure, grey=190)) == [figure]
    assert boxes(page(figure, grey=210)) == []
    grey = page((0, 0, 600, 800), grey=200)
    grey.paste(150, figure)
    assert not ink_of(grey).any()
    grey.paste(120, figure)
    assert boxes(grey) == [figure]


def test_noise_is_read_in_a_while():
    """More groups than are looked at closely: the result is some regions, and no hang."""
    rng = np.random.default_rng(0)
    values = np.full((1600, 1600), 255, np.uint8)
    for x, y in rng.integers(0, 1580, (3000, 2)):
        values[y : y + 12, x : x + 12] = 0
    assert len(split_page(Image.fromarray(values))) <= MANY


def test_very_many_boxes_become_few():
    places = np.stack(np.meshgrid(range(20), range(20)), axis=-1).reshape(-1, 2)
    near = np.concatenate([50 * places, 50 * places + 10], axis=1)
    assert _few(near, page=1000).tolist() == [[0, 0, 960, 960]]
    assert _few(near[:MANY], page=1000).tolist() == near[:MANY].tolist()
    far = np.concatenate([100 * places, 100 * places + 10], axis=1)
    far[350, 2:] += 5
    assert _few(far, page=1000).tolist() == [far[350].tolist(), *far[: MANY - 1].tolist()]
    squares = [(x, y, x + 8, y + 8) for x in range(20, 1580, 50) for y in range(20, 1580, 50)]
    assert boxes(page(*squares, width=1600, height=1600)) == [(20, 20, 1578, 1578)]


@pytest.mark.parametrize("seed", range(6))
def test_reading_order(seed):
    """A grid whose figures are shifted a little is read row by row; of any order given."""
    rng = np.random.default_rng(seed)
    grid = [
        Region((100 * column + int(rng.integers(0, 20)), top, 100 * column + 70, top + 70))
        for row, column in itertools.product(range(3), range(4))
        for top in [100 * row + int(rng.integers(0, 25))]
    ]
    assert in_reading_order([grid[place] for place in rng.permutation(len(grid))]) == grid


def test_reading_order_of_a_column_beside_a_tall_figure():
    tall, upper, lower = (Region(box) for box in ((0, 0, 50, 300), (100, 10, 150, 100), (100, 200, 150, 290)))
    assert in_reading_order([lower, upper, tall]) == [tall, upper, lower]


def test_boxes_are_plain_numbers():
    (region,) = split_page(page((100, 100, 400, 500)))
    assert all(type(side) is int for side in region.box)
    assert type(region.labelled) is bool
