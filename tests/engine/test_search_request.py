"""What a search may ask for."""

import json
from dataclasses import replace

import pytest

from fastreid.engine.search_request import DEEPEST, QueryItem, SearchRequest
from fastreid.index import Filter

WHOLE = {
    "query": [
        {"upload": "ab", "box": [1, 2, 30, 40], "rotate": 90, "mirror": True},
        {"figure": "F1", "box": None, "rotate": 0, "mirror": False},
    ],
    "text": "a chair",
    "variants": {"rotations": True, "mirror": False},
    "fusion": "max",
    "group": "figure",
    "filter": {"before": 20180101, "locarno": ["06"]},
    "exclude_own": False,
    "offset": 10,
    "limit": 5,
    "version": 3,
}


def test_a_request_is_the_same_after_json():
    request = SearchRequest.from_json(WHOLE)
    assert request.as_json() == WHOLE
    assert SearchRequest.from_json(json.loads(json.dumps(request.as_json()))) == request
    assert request.query == (QueryItem("ab", box=(1, 2, 30, 40), rotate=90, mirror=True), QueryItem(figure="F1"))
    assert (request.rotations, request.filter) == (True, Filter(before=20180101, locarno=("06",)))


def test_what_is_not_said_has_its_default_and_null_is_not_said():
    short = SearchRequest.from_json({"query": [{"figure": "F1"}]})
    assert short == SearchRequest((QueryItem(figure="F1"),))
    assert (short.fusion, short.group, short.exclude_own, short.offset, short.limit) == ("mean", "design", True, 0, 24)
    nothing = dict.fromkeys(
        ("text", "variants", "fusion", "group", "filter", "exclude_own", "offset", "limit", "version")
    )
    assert SearchRequest.from_json({**nothing, "query": [{"figure": "F1", "upload": None, "box": None}]}) == short


def test_white_space_of_a_text_does_not_count():
    assert SearchRequest(text="  a \n chair ").text == "a chair"
    with pytest.raises(ValueError, match="a search needs a query figure or a text"):
        SearchRequest(text="  ")


def test_only_a_figure_as_it_is_is_plain():
    plain = QueryItem(figure="F1")
    assert plain.is_plain
    assert not any(
        item.is_plain
        for item in (
            replace(plain, box=(0, 0, 2, 2)),
            replace(plain, rotate=90),
            replace(plain, mirror=True),
            QueryItem("a"),
        )
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"quer": []}, "a search has no 'quer'; it has query, text, .* Did you mean 'query'?"),
        ({"query": []}, "a search needs a query figure or a text"),
        ({"query": 5}, "query of a search must be a list of query figures; got 5"),
        ({"query": ["F1"]}, "a query figure must be an object; got 'F1'"),
        ({"query": [{"figure": "a"}] * 9}, "at most 8 query figures; got 9"),
        ({"query": [{}]}, "must name either an 'upload' or a 'figure'"),
        ({"query": [{"figure": "a", "upload": "b"}]}, "must name either an 'upload' or a 'figure'"),
        ({"query": [{"figure": 7}]}, "figure of a query figure must be a text; got 7"),
        ({"query": [{"figure": "a", "boxx": []}]}, "a query figure has no 'boxx'; .* Did you mean 'box'?"),
        ({"query": [{"figure": "a", "box": [1, 2, 3]}]}, r"must be \[left, top, right, bottom\]; got \[1, 2, 3\]"),
        ({"query": [{"figure": "a", "box": 4}]}, "got 4"),
        ({"query": [{"figure": "a", "box": [1, 2, 3.5, 4]}]}, "box of a query figure must be a whole number; got 3.5"),
        ({"query": [{"figure": "a", "box": [-1, 2, 3, 4]}]}, "box of a query figure must be at least 0; got -1"),
        ({"query": [{"figure": "a", "box": [3, 2, 3, 4]}]}, r"must not be empty; got \[3, 2, 3, 4\]"),
        ({"query": [{"figure": "a", "box": [1, 4, 3, 4]}]}, r"must not be empty; got \[1, 4, 3, 4\]"),
        ({"query": [{"figure": "a", "rotate": 45}]}, "rotate of a query figure must be one of 0, 90, 180, 270; got 45"),
        ({"query": [{"figure": "a", "mirror": 1}]}, "mirror of a query figure must be true or false; got 1"),
        ({"text": 5}, "text of a search must be a text; got 5"),
        ({"text": "x" * 1001}, "at most 1000 letters; got 1001"),
        ({"variants": True}, "variants of a search must be an object; got True"),
        ({"variants": {"rotation": True}}, "Did you mean 'rotations'?"),
        ({"variants": {"mirror": "yes"}}, "mirror of a search must be true or false; got 'yes'"),
        ({"fusion": "median"}, "fusion of a search must be one of 'mean', 'max'; got 'median'"),
        ({"fusion": {}}, "fusion of a search must be one of"),
        ({"group": "designs"}, "Did you mean 'design'?"),
        ({"filter": []}, r"filter of a search must be an object; got \[\]"),
        ({"filter": {"befor": 1}}, "filter of a search has no 'befor'; .* Did you mean 'before'?"),
        ({"filter": {"before": "2018"}}, "before of a Filter must be a date as the number yyyymmdd; got '2018'"),
        ({"filter": {"office": 5}}, "office of a Filter must be a list of texts; got 5"),
        ({"filter": {"office": "US"}}, "office of a Filter must be a list of texts; got 'US'"),
        ({"exclude_own": "no"}, "exclude_own of a search must be true or false; got 'no'"),
        ({"offset": -1}, "offset of a search must be at least 0; got -1"),
        ({"offset": True}, "offset of a search must be a whole number; got True"),
        ({"limit": 0}, "limit of a search must be at least 1; got 0"),
        ({"limit": 1001}, "limit of a search must be at most 1000; got 1001"),
        ({"limit": "5"}, "limit of a search must be a whole number; got '5'"),
        ({"offset": DEEPEST}, f"shows its first {DEEPEST} results; offset {DEEPEST} and limit 5 go beyond"),
        ({"version": 0}, "version of a search must be at least 1; got 0"),
        ({"version": 1.5}, "version of a search must be a whole number; got 1.5"),
    ],
)
def test_what_is_wrong_is_refused_by_a_value_error_alone(change, message):
    start = {"query": WHOLE["query"], "limit": 5} if "query" not in change else {}
    with pytest.raises(ValueError, match=message):
        SearchRequest.from_json({**start, **change})


@pytest.mark.parametrize("given", [None, [], "text", 5])
def test_something_else_than_an_object_is_refused(given):
    with pytest.raises(ValueError, match="a search must be an object"):
        SearchRequest.from_json(given)
