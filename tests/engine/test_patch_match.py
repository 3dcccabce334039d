"""Marks on two drawings."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from fastreid.config import get_cfg
from fastreid.engine.patch_match import (
    APART,
    COLOURS,
    LEAST,
    PatchMatch,
    draw_patch_match,
    ink_of,
    inked_patches,
    match_patches,
    mutual_nearest,
    spread_out,
)
from fastreid.engine.query_encoder import QueryEncoder


@pytest.fixture(scope="module")
def encoder():
    cfg = get_cfg()
    settings = {
        "MODEL.META_ARCHITECTURE": "HOG",
        "MODEL.HOG.CELLS": 12,
        "INPUT.SIZE_TEST": [144, 144],
        "INPUT.CHANNELS": 1,
    }
    cfg.merge_from_list([str(item) for pair in settings.items() for item in pair])
    return QueryEncoder(cfg)


def drawing(seed=0):
    """Lines in all directions, 240 x 240."""
    image = Image.new("L", (240, 240), 255)
    pen = ImageDraw.Draw(image)
    for ends in np.random.default_rng(seed).integers(20, 220, (9, 4)).tolist():
        pen.line(ends, 0, 3)
    return image


class Fixed:
    """An encoder whose maps are given; its pictures are the images as they are."""

    def __init__(self, *maps):
        self.maps = list(maps)

    def picture(self, image):
        return image

    def feature_map(self, image):
        return image, self.maps.pop(0)


def test_a_drawing_matches_itself_place_by_place(encoder):
    match = match_patches(encoder, drawing(), drawing())
    assert len(match.pairs) >= 6
    for first, second, cosine in match.pairs:
        assert first == second
        assert cosine == pytest.approx(1)
    assert match.query.size == match.figure.size == (480, 480)


def test_a_shifted_drawing_is_followed(encoder):
    shifted = Image.new("L", (240, 240), 255)
    shifted.paste(drawing().crop((0, 0, 220, 220)), (20, 20))
    match = match_patches(encoder, drawing(), shifted)
    moved = np.array([np.subtract(second, first) for first, second, _ in match.pairs])
    right = np.abs(moved - 40).max(axis=1) <= 25  # 20 of 240 pixels are 40 of 480; a patch has 40
    assert len(right) >= 4
    assert right.mean() >= 0.8


def test_marks_stand_on_ink_spread_out_and_best_first(encoder):
    match = match_patches(encoder, drawing(0), drawing(1))
    assert match.pairs
    cosines = [cosine for *_, cosine in match.pairs]
    assert cosines == sorted(cosines, reverse=True)
    assert min(cosines) >= LEAST
    for side, picture in enumerate((match.query, match.figure)):
        values = np.asarray(picture.convert("L"))
        points = np.array([pair[side] for pair in match.pairs])
        assert all(values[int(y), int(x)] < 160 for x, y in points)
        apart = np.linalg.norm(points[:, None] - points[None, :], axis=2) + 999 * np.eye(len(points))
        assert apart.min() >= 480 * (APART * 2**0.5 - 1 / 12)  # a mark moves to the ink of its patch


def test_count_and_no_map(encoder):
    assert len(match_patches(encoder, drawing(), drawing(), count=2).pairs) == 2
    best = match_patches(encoder, drawing(), drawing(1)).pairs
    assert match_patches(encoder, drawing(), drawing(1), count=1).pairs == best[:1]
    with pytest.raises(ValueError, match="count of match_patches must be at least 1; got 0"):
        match_patches(encoder, drawing(), drawing(), count=0)
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.META_ARCHITECTURE", "PerceptualHash", "INPUT.SIZE_TEST", "[32, 32]"])
    with pytest.raises(ValueError, match="PerceptualHash has no feature map"):
        match_patches(QueryEncoder(cfg), drawing(), drawing())


def test_what_all_patches_share_is_taken_off():
    """With a large common part every cosine is about 1, and its small differences would not decide."""
    rng = np.random.default_rng(0)
    own = rng.normal(size=(4, 4, 8))
    order = rng.permutation(16)
    first, second = own + 100, own.reshape(16, 8)[order].reshape(4, 4, 8) - 70
    black = Image.new("L", (80, 80), 0)
    match = match_patches(Fixed(first.astype("f4"), second.astype("f4")), black, black, count=16)
    assert match.pairs
    for (x, y), (u, v), cosine in match.pairs:
        there, back = 4 * int(y // 20) + int(x // 20), 4 * int(v // 20) + int(u // 20)
        assert order[back] == there
        assert cosine > 0.99


def test_patches_without_ink_and_labels_do_not_count():
    maps = np.random.default_rng(0).normal(size=(6, 6, 8)).astype("f4")
    page = Image.new("L", (300, 300), 255)
    page.paste(0, (60, 60, 90, 240))
    ImageDraw.Draw(page).text((170, 260), "FIG. 1", 0, ImageFont.load_default(20))
    match = match_patches(Fixed(maps, maps), page, page)
    assert match.pairs
    assert all(60 <= x < 90 for x, _ in (pair[0] for pair in match.pairs))
    blank = Image.new("L", (300, 300), 255)
    for pair in ((page, blank), (blank, page), (blank, blank)):
        assert match_patches(Fixed(maps, maps), *pair).pairs == ()


def test_a_label_alone_is_a_drawing():
    image = Image.new("L", (200, 100), 255)
    ImageDraw.Draw(image).text((40, 30), "FIG. 1", 0, ImageFont.load_default(30))
    np.testing.assert_array_equal(ink_of(image), np.asarray(image) < 160)


@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (7, 2)])
def test_inked_patches_against_loops(shape):
    ink = np.random.default_rng(1).random((45, 61)) < 0.012
    rows, columns = (
        np.linspace(0, side, parts + 1).round().astype(int) for side, parts in zip(ink.shape, shape, strict=True)
    )
    expected = [
        [ink[rows[r] : rows[r + 1], columns[c] : columns[c + 1]].mean() >= 0.01 for c in range(shape[1])]
        for r in range(shape[0])
    ]
    found = inked_patches(ink, shape)
    np.testing.assert_array_equal(found, expected)
    assert 0 < found.sum() < found.size


@pytest.mark.parametrize("seed", range(5))
def test_mutual_nearest_against_loops(seed):
    rng = np.random.default_rng(seed)
    first, second = (rng.integers(-1, 2, (count, 4)).astype(float) for count in (9, 12))  # many ties
    first, second = (each / np.maximum(np.linalg.norm(each, axis=1, keepdims=True), 1e-12) for each in (first, second))
    cosines = first @ second.T
    expected = [
        (row, int(np.argmax(cosines[row]))) for row in range(9)
        if int(np.argmax(cosines[:, np.argmax(cosines[row])])) == row and cosines[row].max() >= LEAST
    ]  # fmt: skip
    expected.sort(key=lambda pair: (-cosines[pair], pair[0]))
    rows, columns, values = mutual_nearest(first, second)
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == expected
    np.testing.assert_array_equal(values, [cosines[pair] for pair in expected])


def test_nothing_matches_nothing():
    for first, second in ((np.empty((0, 3)), np.eye(3)), (np.eye(3), np.empty((0, 3)))):
        assert [len(part) for part in mutual_nearest(first, second)] == [0, 0, 0]
    assert len(spread_out(np.empty((0, 2)), np.empty((0, 2)), np.empty(0), 5)) == 0
    assert len(mutual_nearest(np.array([[1.0, 0.0]]), np.array([[0.1, 0.99]]))[0]) == 0  # too little alike


def test_spread_out_looks_at_both_images():
    first = np.array([[0.1, 0.1], [0.9, 0.1], [0.12, 0.1], [0.1, 0.9]])
    second = np.array([[0.1, 0.1], [0.12, 0.1], [0.9, 0.9], [0.1, 0.9]])
    cosines = np.array([0.9, 0.8, 0.7, 0.6])
    assert spread_out(first, second, cosines, 9).tolist() == [0, 3]
    assert spread_out(first, second, cosines, 1).tolist() == [0]


def test_the_picture_has_both_drawings_and_each_mark_on_both():
    query, figure = Image.new("L", (200, 100), 255), Image.new("RGB", (100, 300), "white")
    query.paste(0, (0, 0, 200, 4))
    pairs = (((20.0, 50.0), (50.0, 40.0), 0.9), ((180.0, 50.0), (50.0, 260.0), 0.5))
    card = draw_patch_match(PatchMatch(query, figure, pairs))
    assert (card.mode, card.width) == ("RGB", 1000)
    values = np.asarray(card).astype(int)
    assert (values[0] == 255).all()  # a white card, on dark pages too
    assert (values[:, -1] == 255).all()
    for colour in COLOURS[:2]:
        exact = (values == colour).all(axis=2)
        assert exact[:, :500].sum() > 200
        assert exact[:, 500:].sum() > 200
    assert not (values == COLOURS[2]).all(axis=2).any()
    middle = np.argwhere((values[:, :500] == COLOURS[0]).all(axis=2)).mean(axis=0)
    assert abs(middle[1] - (22 + 20 * 2.3)) < 3  # the query is scaled to 460 pixels


def test_the_picture_of_no_match_says_so():
    empty = Image.new("L", (100, 100), 255)
    card = np.asarray(draw_patch_match(PatchMatch(empty, empty, ())))
    written = (card < 140).all(axis=2)
    assert written.sum() > 200


def test_colours_can_be_told_apart_and_carry_white_numbers():
    assert len(set(COLOURS)) == 12
    linear = np.array(COLOURS) / 255
    linear = np.where(linear <= 0.03928, linear / 12.92, ((linear + 0.055) / 1.055) ** 2.4)
    contrast = 1.05 / (linear @ [0.2126, 0.7152, 0.0722] + 0.05)
    assert contrast.min() >= 3  # WCAG AA for large bold text and graphics
    apart = np.linalg.norm(np.array(COLOURS)[:, None] - np.array(COLOURS)[None], axis=2) + 999 * np.eye(12)
    assert apart.min() >= 45
