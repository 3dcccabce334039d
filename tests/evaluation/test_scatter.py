"""Points, their bars and their names in a picture."""

import numpy as np
import pytest
from PIL import Image

from fastreid.evaluation.plots import COLORS, PAPER
from fastreid.evaluation.scatter import Scatter, _overlap, _padded, _places


def pixels(plot, color):
    """Rows and columns of the pixels of about this colour."""
    return np.nonzero((np.abs(np.asarray(plot.render(), dtype=int) - color) < 40).all(axis=2))


def test_a_point_stands_in_the_middle_of_its_bar():
    rows, columns = pixels(Scatter("t", "x", "y").point("a", 3, 50, 10), COLORS[0])
    assert np.ptp(rows) > 300
    assert abs((rows.min() + rows.max()) / 2 - (46 + 422) / 2) <= 1
    assert abs(np.median(columns) - (70 + 740) / 2) <= 1
    without, _ = pixels(Scatter("t", "x", "y").point("a", 3, 50), COLORS[0])
    assert np.ptp(without) < 12


def test_larger_values_stand_higher_and_further_right():
    plot = Scatter("t", "x", "y").point("low", 1, 10).point("high", 2, 20)
    (low_rows, low_columns), (high_rows, high_columns) = pixels(plot, COLORS[0]), pixels(plot, COLORS[1])
    assert high_rows.max() < low_rows.min()
    assert low_columns.max() < high_columns.min()


def test_names_do_not_cover_each_other_or_points():
    places = _places(100, 100, 80, 18)
    taken = [(82, 82, 118, 118)]
    for _ in range(12):
        box = next(box for box in places if not any(_overlap(box, other) for other in taken))
        taken.append(box)
    assert len(set(taken)) == 13
    assert _overlap((0, 0, 2, 2), (1, 1, 3, 3))
    assert not _overlap((0, 0, 2, 2), (2, 0, 3, 3))


def test_a_name_without_room_on_the_right_stands_on_the_left():
    left, *_, right, _ = next(_places(1400, 100, 300, 18))
    assert right <= 1400 - 18
    assert left == right - 300


def test_points_that_are_not_finite_and_empty_plots_are_drawn_without():
    empty = np.asarray(Scatter("t", "x", "y").render())
    assert (empty == PAPER).all(axis=2).mean() > 0.9
    assert not len(pixels(Scatter("t", "x", "y").point("a", np.nan, 1), COLORS[0])[0])
    assert _padded(np.array([2.0, 2.0])) == pytest.approx((1.84, 2.16))
    assert _padded(np.zeros(0)) == pytest.approx((-0.08, 1.08))


def test_a_plot_is_saved(tmp_path):
    Scatter("t", "x", "y").point("a", 1, 2).savefig(tmp_path / "plot.png")
    assert Image.open(tmp_path / "plot.png").size == (760, 480)
    with pytest.raises(ValueError, match="saved as .png or another kind of image"):
        Scatter("t", "x", "y").savefig(tmp_path / "plot.md")
