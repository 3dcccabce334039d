"""The ink crop: groups of ink against loops, what is left out, and the crop of the notebook against OpenCV."""


import numpy as np
import pytest
from PIL import Image, ImageOps

from fastreid.data.transforms import InkCrop
from fastreid.data.transforms.contact_sheet import choose, main
from fastreid.data.transforms.ink import (
    REACH,
    InkGroups,
    cells_with_ink,
    find_frames,
    find_labels,
    find_specks,
    first_contour_box,
)

# "FIG.3", seven pixels high
LETTERS = [
    "##### ##### ##### .. #####",
    "#.... ..#.. #.... .. ....#",
    "#.... ..#.. #.... .. ....#",
    "####. ..#.. #..## .. .####",
    "#.... ..#.. #...# .. ....#",
    "#.... ..#.. #...# ## ....#",
    "#.... ##### ##### ## #####",
]


def page(*rectangles, height=400, width=300):
    """White (height, width) uint8 with black rectangles (left, top, right, bottom)."""
    values = np.full((height, width), 255, np.uint8)
    for left, top, right, bottom in rectangles:
        values[top:bottom, left:right] = 0
    return values


def label(factor=2):
    rows = np.array([[sign == "#" for sign in row.replace(" ", ".")] for row in LETTERS])
    return np.where(rows, 0, 255).astype(np.uint8).repeat(factor, 0).repeat(factor, 1)


def put(values, piece, left, top):
    values[top : top + piece.shape[0], left : left + piece.shape[1]] = piece
    return values


def crop(values, **options):
    options = {"margin": 0, "square": False, **options}
    return np.asarray(InkCrop(**options)(Image.fromarray(values)))


@pytest.mark.parametrize("shape, cell", [((7, 11), 1), ((7, 11), 3), ((12, 9), 4), ((5, 5), 9), ((1, 6), 2)])
def test_cells_against_loops(shape, cell):
    ink = np.random.default_rng(cell).random(shape) < 0.2
    height, width = (-(-side // cell) for side in shape)
    expected = [[ink[y * cell : (y + 1) * cell, x * cell : (x + 1) * cell].any() for x in range(width)]
                for y in range(height)]  # fmt: skip
    np.testing.assert_array_equal(cells_with_ink(ink, cell), expected)


def groups_by_loops(inked, reach):
    """Cells that a chain of steps of at most 2 reach + 1 cells joins, as a set of frozensets."""
    open_cells, groups = set(zip(*map(list, np.nonzero(inked)), strict=True)), set()
    while open_cells:
        group, border = set(), [open_cells.pop()]
        while border:
            y, x = border.pop()
            group.add((y, x))
            near = {(v, u) for v, u in open_cells if max(abs(v - y), abs(u - x)) <= 2 * reach + 1}
            open_cells -= near
            border += near
        groups.add(frozenset(group))
    return groups


@pytest.mark.parametrize("seed", range(8))
def test_groups_against_loops(seed):
    ink = np.random.default_rng(seed).random((60, 80)) < 0.003 * (1 + seed % 4)
    groups = InkGroups.of(ink)
    assert groups.cell == 1
    found = {frozenset(zip(*map(list, np.nonzero(groups.numbers == g)), strict=True)) for g in groups}
    assert found == groups_by_loops(ink, REACH)
    for g in groups:
        rows, columns = np.nonzero(groups.numbers == g)
        assert groups.box_of([g]) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


@pytest.mark.parametrize("height, width", [(1210, 700), (903, 1711)])
def test_boxes_are_exact_where_a_cell_is_several_pixels(height, width):
    ink = np.zeros((height, width), bool)
    ink[101:304, 77:200] = ink[height - 3 :, width - 2 :] = True
    groups = InkGroups.of(ink)
    assert groups.cell > 2
    boxes = {groups.box_of([g]) for g in groups}
    assert boxes == {(77, 101, 200, 304), (width - 2, height - 3, width, height)}
    assert groups.box_of(groups) == (77, 101, width, height)
    for g in groups:
        assert (groups.pixels_of([g]) & ink).sum() == groups.ink_of(g).sum()


def test_dust_does_not_count_and_is_not_erased():
    values = page((50, 60, 200, 220), (280, 390, 281, 391), (100, 300, 101, 301))
    assert crop(values).shape == (160, 150)
    assert crop(values, speck=0).shape == (331, 231)
    values = page((50, 60, 60, 220), (190, 60, 200, 220), (120, 130, 121, 131))
    assert (crop(values)[70:71, 70:71] == 0).all()  # within the box it may be a part of the drawing


def test_size_of_dust_is_a_share_of_the_page():
    groups = InkGroups.of(page((50, 60, 200, 220), (280, 380, 283, 381)) < 128)
    assert find_specks(groups, 3 / 400) == set()
    assert len(find_specks(groups, 3.1 / 400)) == 1


def test_the_margin_is_a_share_of_the_longer_side_and_white():
    values = page((50, 60, 250, 100), (36, 46, 37, 47))
    found = crop(values, margin=0.1)
    assert found.shape == (40 + 2 * 20, 200 + 2 * 20)
    assert (found < 128).sum() == 40 * 200


def test_dust_that_lies_across_cells_is_known_by_its_ink():
    ink = page((200, 200, 800, 800), (103, 1403, 109, 1409), height=1600, width=1200) < 128
    groups = InkGroups.of(ink)
    assert (groups.cell, len(groups.boxes)) == (4, 2)
    assert [groups.sides_of(g) for g in find_specks(groups, 0.005)] == [[12, 12]]  # 6 of 1600 pixels
    assert find_specks(groups, 6 / 1600) == set()


@pytest.mark.parametrize("gap, number", [(6, 1), (7, 2)])
def test_gaps_of_up_to_a_hundredth_and_a_half_of_the_page_join(gap, number):
    dashes = page((50, 60, 80, 62), (80 + gap, 60, 110, 62))
    assert len(InkGroups.of(dashes < 128).boxes) == number


def test_dots_all_over_a_page_are_a_drawing():
    values = page(*((x, y, x + 1, y + 1) for x in range(20, 280, 30) for y in range(20, 380, 30)))
    assert crop(values).shape == (331, 241)


def test_frames_and_rules_on_demand():
    frame = page((10, 10, 290, 12), (10, 388, 290, 390), (10, 10, 12, 390), (288, 10, 290, 390), (80, 90, 200, 300))
    assert crop(frame).shape == (380, 280)
    assert crop(frame, frames=False).shape == (210, 120)
    nested = frame.copy()
    nested[:, :2] = 0  # the shadow of a scanned edge
    assert crop(nested, frames=False).shape == (210, 120)
    assert crop(page((10, 10, 290, 12), (80, 90, 200, 300)), frames=False).shape == (210, 120)


def test_what_is_no_frame():
    alone = page((10, 10, 290, 12), (10, 388, 290, 390), (10, 10, 12, 390), (288, 10, 290, 390))
    assert crop(alone, frames=False).shape == (380, 280)  # an empty picture frame is the drawing
    short = page((10, 10, 80, 12), (60, 90, 280, 300))
    assert crop(short, frames=False).shape == (290, 270)
    sides = page((10, 10, 290, 12), (10, 388, 290, 390), (10, 200, 13, 203))
    assert crop(sides, frames=False).shape == (380, 280)  # nothing is inside: the rules are the drawing
    assert find_frames(InkGroups.of(page() < 128), set()) == set()


def test_a_label_may_have_dust_about_it():
    values = put(page((20, 20, 180, 200)), label(4), 30, 260)
    values[291, 32:130:8] = 0
    assert len(find_labels(InkGroups.of(values < 128))) == 1


@pytest.mark.parametrize("turned", range(4))
@pytest.mark.parametrize("factor", [1, 2, 4])
def test_labels_are_found_from_all_sides(turned, factor):
    values = put(page((20, 20, 180, 200), height=400, width=300), np.rot90(label(factor), turned), 30, 260)
    assert len(find_labels(InkGroups.of(values < 128))) == 1
    assert crop(values, labels=False).shape == (180, 160)
    assert crop(values).shape[0] > 200


def test_labels_are_erased_within_the_drawing():
    ring = page((20, 20, 280, 24), (20, 376, 280, 380), (20, 20, 24, 380), (276, 20, 280, 380))
    values = put(ring.copy(), label(), 120, 180)
    np.testing.assert_array_equal(crop(values, labels=False), crop(ring))
    colours = Image.fromarray(values).convert("RGB")
    assert InkCrop(labels=False)(colours).mode == "RGB"
    np.testing.assert_array_equal(np.asarray(colours)[..., 0], values)


def test_a_number_apart_belongs_to_its_label():
    number = page((0, 0, 8, 14), height=14, width=8)
    beside = put(put(page((20, 20, 180, 200)), label(), 30, 260), number, 30 + 52 + 30, 260)
    assert len(find_labels(InkGroups.of(beside < 128))) == 2
    below = put(put(page((20, 20, 180, 200)), label(), 30, 260), number, 30 + 52 + 30, 300)
    assert len(find_labels(InkGroups.of(below < 128))) == 1
    far = put(put(page((20, 20, 180, 200)), label(), 30, 260), number, 230, 260)
    assert len(find_labels(InkGroups.of(far < 128))) == 1


@pytest.mark.parametrize(
    "rectangles",
    [
        [(30, 260, 40, 280)],  # one sign
        [(30, 260, 40, 280), (44, 260, 54, 280)],  # two
        [(30, 260, 80, 262), (30, 270, 80, 272), (30, 280, 80, 282)],  # lines
        [(30, 260, 40, 280), (44, 266, 54, 286), (58, 272, 68, 292)],  # stairs
        [(x, 260, x + 3, 280) for x in range(30, 270, 6)],  # a grating
        [(30, 250, 80, 310), (86, 250, 136, 310), (142, 250, 192, 310)],  # too large
        [(30, 260, 60, 272), (64, 260, 94, 272), (98, 260, 128, 272)],  # too wide
    ],
)
def test_what_is_no_label(rectangles):
    assert find_labels(InkGroups.of(page((20, 20, 180, 200), *rectangles) < 128)) == set()


def test_parallel_strokes_are_no_label():
    """Strokes of glass: their boxes overlap along every line, which those of letters hardly do."""
    values = page((20, 20, 180, 200))
    for start in (0, 5, 10):
        for step in range(14):
            values[280 - step, 40 + start + step] = 0
    assert find_labels(InkGroups.of(values < 128)) == set()


def test_a_page_with_nothing_but_a_label_keeps_it():
    values = put(page(), label(), 100, 100)
    assert crop(values, labels=False).shape == label().shape


# recorded from OpenCV 4.7.0 and 5.0.0: findContours(white, RETR_EXTERNAL, CHAIN_APPROX_SIMPLE), box of contours[0]
OPENCV = [
    ("...... ...... ###### ...... ...#..", (0, 3, 6, 5)),  # a line across the page: what is below
    ("...... .####. .#..#. .####. ......", (0, 0, 6, 5)),  # a closed figure on white: the page
    ("###### #.##.# #.##.# ######", (4, 1, 5, 3)),  # two areas begin in one row
    ("###### ##.### #.#### ####.# ######", (4, 3, 5, 4)),  # connected over a corner
    ("######## #......# #.####.# #.#..#.# #.####.# #......# ########", (1, 1, 7, 6)),  # an area in another
    ("######## #......# #.####.# #.#..#.# #.####.# #......# #..#..##", (1, 1, 7, 7)),
    ("..#.. ..#.. ..#..", (3, 0, 5, 3)),
    ("#### ####", None),
    ("#..... ..###. .#..#. ..###. #....#", (0, 0, 6, 5)),
    ("..##..#.# ..#.###.# #..#..### #.#..##.# .##.####. ##.#.#.#.", (6, 5, 7, 6)),
    ("#.#.#..## ##.#.#### ##.....#. .####.##. #.#####.# .###..#.#", (4, 5, 6, 6)),
    ("..#...#.# ########. #..#.##.. .#..#.#.. #.....##. .###.##.#", (0, 2, 6, 6)),
    (".###...#. #..#..### #..###..# ########. ####.#### ..#.###..", (7, 5, 9, 6)),
]


@pytest.mark.parametrize("rows, box", OPENCV)
def test_first_contour_is_that_of_opencv(rows, box):
    assert first_contour_box(np.array([[sign == "." for sign in row] for row in rows.split()])) == box


def first_contour_by_loops(white):
    """Flood the outside; the last first pixel, row by row, of an area beside it belongs to the wanted area."""
    padded = np.pad(white, 1)
    outside = flooded(~padded, (0, 0), [(0, 1), (1, 0), (0, -1), (-1, 0)])
    steps = [(v, u) for v in (-1, 0, 1) for u in (-1, 0, 1) if v or u]
    seen, last = set(), None
    for y, x in zip(*np.nonzero(padded), strict=True):
        if (y, x) not in seen:
            area = flooded(padded, (y, x), steps)
            seen |= area
            last = area if (y, x - 1) in outside else last
    if last is None:
        return None
    rows, columns = zip(*last, strict=True)
    return min(columns) - 1, min(rows) - 1, max(columns), max(rows)


def flooded(mask, start, steps):
    done, border = set(), [start]
    while border:
        y, x = border.pop()
        if (y, x) not in done and 0 <= y < mask.shape[0] and 0 <= x < mask.shape[1] and mask[y, x]:
            done.add((y, x))
            border += [(y + v, x + u) for v, u in steps]
    return done


@pytest.mark.parametrize("share", [0.3, 0.5, 0.65, 0.8])
def test_first_contour_against_loops(share):
    rng = np.random.default_rng(int(100 * share))
    for _ in range(60):
        white = rng.random(rng.integers(1, 16, 2)) < share
        assert first_contour_box(white) == first_contour_by_loops(white)


def test_the_notebooks_crop_does_nothing_on_a_white_border_but_make_the_page_black_and_white():
    values = page((50, 60, 200, 220))
    values[250:260, 60:90], values[270:280, 60:90] = 121, 120
    found = crop(values, method="notebook", threshold=121)
    np.testing.assert_array_equal(found, np.where(values > 120, 255, 0))
    values[250] = 0
    assert crop(values, method="notebook", threshold=121).shape == (149, 300)
    black = page((0, 0, 300, 400))
    assert crop(black, method="notebook").shape == (400, 300)
    assert InkCrop(method="notebook")(Image.fromarray(values).convert("RGB")).mode == "RGB"


@pytest.mark.parametrize(
    "options, message",
    [
        (
            {"method": "noteboook"},
            r"INPUT\.INK_CROP\.METHOD must be one of 'ink', 'notebook'.* Did you mean 'noteb",
        ),
        ({"speck": 1.0}, r"INPUT\.INK_CROP\.SPECK is a share .* got 1\.0"),
        ({"speck": -0.1}, r"INPUT\.INK_CROP\.SPECK"),
        ({"threshold": 256}, r"THRESHOLD must be in 1\.\.255"),
        ({"margin": -1}, r"MARGIN >= 0; got 128 and -1"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        InkCrop(**options)


def test_the_callers_image_stays_as_it_is():
    values = put(page((20, 20, 180, 200)), label(), 30, 260)
    image = Image.fromarray(values.copy())
    for options in ({}, {"labels": False, "frames": False}, {"method": "notebook"}):
        once, again = InkCrop(**options)(image), InkCrop(**options)(image)
        assert once.tobytes() == again.tobytes()
    np.testing.assert_array_equal(np.asarray(image), values)


def test_labels_of_real_sheets(testdata):
    root = testdata / "real" / "design_patents"
    sheets = [root / line.split()[0] for line in (root / "gallery.txt").read_text().splitlines()[::7]]
    distractors = [root / line.split()[0] for line in (root / "distractors.txt").read_text().splitlines()[::10]]
    found = []
    for paths in (sheets, distractors):
        found.append(0)
        for path in paths:
            ink = np.asarray(Image.open(path).convert("L")) < 128
            found[-1] += bool(find_labels(InkGroups.of(ink)))
    assert found[0] >= 0.75 * len(sheets)  # most have one
    assert found[1] <= 0.05 * len(distractors)  # these have none


def test_contact_sheet(tmp_path, capsys):
    for folder in "abc":
        (tmp_path / folder).mkdir()
        for name in "12":
            image = Image.fromarray(put(page((20, 20, 180, 200)), label(), 30, 260))
            ImageOps.expand(image, 10 * ord(folder) % 7, "white").save(tmp_path / folder / f"{name}.png")
    paths = sorted(tmp_path.rglob("*.png"))
    chosen = choose(paths, 2, seed=0)
    assert len({path.parent for path in chosen}) == 2
    assert chosen == choose(paths[::-1], 2, seed=0)
    assert choose(paths[::-1], 6, seed=0) == paths  # all there are
    assert main([str(tmp_path / "out.png"), *map(str, paths), "--number", "5"]) == 0
    assert f"{tmp_path / 'out.png'}: 3 of 6 drawings (one per folder)\n" in capsys.readouterr().out
    with Image.open(tmp_path / "out.png") as sheet:
        colours = {colour for _, colour in sheet.convert("RGB").getcolors()}
        assert len(colours) > 3
        assert sheet.mode == "P"
    assert main([str(tmp_path / "out.png"), str(tmp_path / "none.png")]) == 1
    assert "none.png" in capsys.readouterr().err
