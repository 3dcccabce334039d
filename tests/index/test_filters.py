"""Figures and filters: their checks, and random filters against conditions in words."""

import numpy as np
import pytest

from fastreid.index import Figures, Filter
from fastreid.index.figures import class_of, one_form
from tests.index.naive import permits, some_figures, some_filter

ONE = {"figure_id": ["a"], "patent": ["P"]}


@pytest.mark.parametrize("seed", range(40))
def test_a_filter_permits_what_its_conditions_say(seed):
    rng = np.random.default_rng(seed)
    figures, filter = some_figures(rng, [f"f{i}" for i in range(60)]), some_filter(rng)
    wanted = [permits(filter, figures.row(place)) for place in range(len(figures))]
    assert filter.mask(figures.columns).tolist() == wanted
    assert bool(filter) == (filter.as_json() != {})
    assert Filter.from_json(filter.as_json()).mask(figures.columns).tolist() == wanted


def test_before_is_the_rule_granted_before():
    """The same day is not before, and an unknown date never is."""
    from fastreid.retrieval import get_rule

    dates = np.array([0, 20091231, 20100101, 20100102])
    rule = get_rule("granted_before").permits({"dates": np.array([20100101])}, {"dates": dates})
    assert Filter(before=20100101).accepts_dates(dates).tolist() == rule.tolist() == [False, True, False, False]
    assert Filter(since=20100101).accepts_dates(dates).tolist() == [False, False, True, True]
    assert Filter().accepts_dates(dates).all()


def test_a_class_takes_all_its_codes_and_no_others():
    codes = ["06", "06-01", "16-01", "14-06", "D6", "D6/300", "D16/1", ""]
    for value, wanted in (
        ("06", ["06", "06-01"]),
        ("6", ["06", "06-01"]),
        ("D6", ["D6", "D6/300"]),
        ("06-01", ["06-01"]),
    ):
        good = Filter(locarno=(value,)).accepts("locarno", codes)
        assert [code for code, one in zip(codes, good, strict=True) if one] == wanted
    assert [class_of(code) for code in codes] == ["06", "06", "16", "14", "D6", "D6", "D16", ""]


@pytest.mark.parametrize(
    "given, kept",
    [
        ("0601", "06-01"),
        ("6-1", "06-01"),
        ("LOC (13) Cl. 14-04", "14-04"),
        ("1400", "14"),
        ("D14/486", "D14/486"),
        ("", ""),
    ],
)
def test_codes_are_kept_in_one_form(given, kept):
    assert one_form(given) == kept
    assert Figures({**ONE, "locarno": [given]})["locarno"][0] == kept


@pytest.mark.parametrize(
    "values, message",
    [
        ({"before": 2010}, "before of a Filter must be a date yyyymmdd of the calendar, or 0 for none; got 2010"),
        ({"since": 20101301}, "since of a Filter must be a date"),
        ({"before": 20180231}, "before of a Filter must be a date yyyymmdd of the calendar.*; got 20180231"),
        ({"since": 19000229}, "since of a Filter must be a date"),
        ({"date_field": "granted"}, "date_field of a Filter must be one of 'date', 'filed'; got 'granted'"),
        ({"ofice": ["US"]}, "has no 'ofice'.*Did you mean 'office'?"),
    ],
)
def test_conditions_that_cannot_be(values, message):
    with pytest.raises(ValueError, match=message):
        Filter.from_json(values)


@pytest.mark.parametrize(
    "values", [{"office": "US"}, {"office": [1]}, {"title": 3}, {"before": "20100101"}, {"before": True}]
)
def test_conditions_of_another_kind(values):
    with pytest.raises(TypeError, match=f"{next(iter(values))} of a Filter must be"):
        Filter.from_json(values)


@pytest.mark.parametrize(
    "columns, message",
    [
        ({"figure_id": ["a"]}, "must contain 'patent'"),
        ({**ONE, "titel": ["x"]}, "got 'titel'. Did you mean 'title'?"),
        ({**ONE, "title": ["x", "y"]}, r"column 'title' of Figures must have shape \(1,\); got \(2,\)"),
        ({"figure_id": ["a", "b", "a"], "patent": list("PPP")}, "figure_id 'a' is given twice"),
        ({"figure_id": ["a", " "], "patent": ["P", "P"]}, "figure_id of figure 1 is empty"),
        ({"figure_id": ["a"], "patent": [None]}, "patent of figure 0 is empty"),
        ({**ONE, "date": [2010]}, "date of figure 0 must be a date yyyymmdd, or 0 when unknown; got 2010"),
        ({**ONE, "date": [20101301]}, "date of figure 0 must be a date"),
        ({**ONE, "filed": ["2010-01-01"]}, "column 'filed' of Figures must hold dates as whole numbers"),
    ],
)
def test_figures_that_cannot_be(columns, message):
    with pytest.raises(ValueError, match=message):
        Figures(columns)


def test_missing_values_are_empty():
    figures = Figures.of(
        [{"figure_id": "a", "patent": 12, "title": None, "date": None}, {"figure_id": "b", "patent": "P"}]
    )
    assert figures.row(0)["patent"] == "12"
    assert figures.row(1) == {
        **dict.fromkeys(figures.columns, ""),
        "figure_id": "b",
        "patent": "P",
        "date": 0,
        "filed": 0,
    }
    assert len(figures.take(np.array([1]))) == 1
    assert figures.take(np.array([True, False])).row(0) == figures.row(0)
    assert len(Figures.of([])) == 0
