"""Records of searches, and replays of them."""

import copy
import json

import pytest
from search_cases import PixelEncoder, draw, figures_of, make_index

import fastreid
from fastreid.engine.search_record import (
    check_record,
    compare,
    digest_of,
    load_record,
    record_of,
    replay,
    save_record,
    sealed,
)
from fastreid.engine.search_request import QueryItem, SearchRequest
from fastreid.engine.searcher import Searcher
from fastreid.index import Filter, OtherModel

IMAGES = {"a": draw(3, "rear")}
DESCRIBED = [
    {"upload": "a", "sha256": "ab" * 32, "name": "a.png", "width": 96, "height": 64},
    {"upload": "other", "sha256": "cd" * 32, "name": "b.png", "width": 9, "height": 6},
]


@pytest.fixture
def searcher(tmp_path):
    with make_index(tmp_path) as index:
        yield Searcher(index, PixelEncoder())


@pytest.fixture
def request_of_a():
    item = QueryItem("a", box=(0, 0, 90, 60), mirror=True)
    return SearchRequest((item, QueryItem(figure="D4-top")), filter=Filter(before=20160101), limit=4)


@pytest.fixture
def record(searcher, request_of_a):
    return sealed(record_of(searcher.search(request_of_a, IMAGES), searcher, DESCRIBED, "My search", "Look again"))


def test_a_record_says_all_that_a_search_depends_on(searcher, request_of_a, record):
    assert record["request"] == {**request_of_a.as_json(), "version": 2}
    assert (record["format"], record["name"], record["notes"]) == (1, "My search", "Look again")
    assert record["images"] == DESCRIBED[:1]  # the other one is not in the query
    assert record["model"] == PixelEncoder.identity
    assert record["index"] == {
        "uid": searcher.index.info.uid, "version": 2, "backend": "store", "metric": "cosine", "figures": 24,
        "designs": 8, "exact": True, "recall": {},
    }  # fmt: skip
    assert record["searched"] == {"figures": 15, "designs": 5}
    assert (record["total"], record["exact"], record["fastreid"]) == (5, True, fastreid.__version__)
    assert [result["rank"] for result in record["results"]] == [1, 2, 3, 4]
    assert {"patent", "score", "figure", "evidence"} < set(record["results"][0])


def test_a_record_is_the_same_after_the_file(tmp_path, record):
    save_record(tmp_path / "new" / "record.json", record)
    assert load_record(tmp_path / "new" / "record.json") == record


def test_a_replay_on_the_same_version_gives_the_same_after_the_index_changed(searcher, record):
    expected = copy.deepcopy(record["results"])
    searcher.index.delete(patents=[record["results"][0]["patent"]])
    searcher.index.add(figures_of([20]), searcher.index.vectors([3, 4, 5]))
    again = replay(record, searcher, IMAGES)
    assert (again.same, again.differences, again.notes, again.response.version) == (True, (), (), 2)
    assert list(again.response.results) == expected
    answer = again.as_json()
    assert answer == json.loads(json.dumps(answer))
    assert list(answer) == ["same", "differences", "notes", "recorded_version", "version", "response"]
    assert (answer["recorded_version"], answer["version"], answer["response"]["results"]) == (2, 2, expected)


def test_a_version_that_was_compacted_away_is_told_and_the_newest_is_searched(searcher, record):
    searcher.index.add(figures_of([20]), searcher.index.vectors([3, 4, 5]))  # too young for the filter
    searcher.index.compact()
    again = replay(record, searcher, IMAGES)
    assert again.same
    assert again.notes == (f"the index no longer has version 2; version {searcher.index.info.version} was searched",)
    gone = record["results"][0]["patent"]
    searcher.index.delete(patents=[gone])
    searcher.index.compact()
    again = replay(record, searcher, IMAGES)
    assert not again.same
    assert again.differences[0] == f"{gone} was rank 1 and is not found"
    assert again.recorded_version == 2


def test_another_index_with_the_same_figures_gives_the_same_and_is_told(tmp_path, record):
    with make_index(tmp_path / "other") as index:
        index.add(figures_of([20]), index.vectors([0, 1, 2]))
        again = replay(record, Searcher(index, PixelEncoder()), IMAGES)
    assert again.same
    assert again.notes == ("this is another index than the one of the record; its version 3 was searched",)


def test_a_record_of_another_model_is_refused(searcher, record):
    record["model"] = {**record["model"], "weights": "ee"}
    with pytest.raises(OtherModel, match="made with another model than that of this index: weights"):
        replay(record, searcher, IMAGES)


def test_another_image_gives_differences(searcher, record):
    again = replay(record, searcher, {"a": draw(1, "rear")})
    assert not again.same
    assert len(again.differences) >= 2


def result(rank, patent, score, figure="f"):
    return {"rank": rank, "patent": patent, "score": score, "figure": {"figure_id": f"{patent}-{figure}"}}


def test_differences_are_told_in_words():
    old = [result(1, "A", 0.9), result(2, "B", 0.8), result(3, "C", 0.7)]
    assert compare(old, copy.deepcopy(old)) == []
    assert compare(old, [result(1, "A", 0.900009), *old[1:]]) == []  # within what machines differ by
    assert compare(old, [result(1, "A", 0.90002), *old[1:]]) == ["A scored 0.900000 and scores 0.900020"]
    assert compare(old, [result(1, "A", float("nan")), *old[1:]]) == ["A scored 0.900000 and scores nan"]
    assert compare(old, [result(1, "A", 0.9, "g"), *old[1:]]) == ["A was shown by A-f and is by A-g"]
    assert compare(old, [old[0], result(2, "C", 0.7), result(3, "B", 0.8)]) == [
        "B was rank 2 and is rank 3", "C was rank 3 and is rank 2",
    ]  # fmt: skip
    assert compare(old, [old[0], result(2, "D", 0.75), old[2]]) == [
        "B was rank 2 and is not found",
        "D is new, at rank 2",
    ]
    assert compare(old, old[:2]) == ["C was rank 3 and is not found"]
    assert compare([], old[:1]) == ["A is new, at rank 1"]


def test_figures_are_compared_by_their_names():
    old = [
        {"rank": 1, "score": 0.9, "figure": {"figure_id": "F1"}},
        {"rank": 2, "score": 0.8, "figure": {"figure_id": "F2"}},
    ]
    new = [{**old[1], "rank": 1}, {**old[0], "rank": 2}]
    assert compare(old, old) == []
    assert compare(old, new) == ["F1 was rank 1 and is rank 2", "F2 was rank 2 and is rank 1"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda record: record.pop("format"), "it is no JSON object with a 'format'"),
        (lambda record: record.update(format=2), "it has format 2; this version of fastreid reads format 1"),
        (lambda record: record.pop("results"), "it lacks 'results'"),
        (lambda record: record.update(results={}), "'results' of it has the wrong type: {}"),
        (lambda record: record["index"].pop("version"), "its index lacks 'version'"),
        (lambda record: record["images"][0].pop("sha256"), r"images\[0\] lacks 'sha256'"),
        (lambda record: record["images"].append(5), r"images\[1\] must be an object; got 5"),
        (
            lambda record: record["results"][1].update(score="high"),
            r"'score' of results\[1\] has the wrong type: 'high'",
        ),
        (lambda record: record["results"][2]["figure"].clear(), r"the figure of results\[2\] lacks 'figure_id'"),
        (lambda record: record["request"].update(fusion="sum"), "fusion of a search must be one of"),
    ],
)
def test_a_file_that_is_no_record_is_refused(tmp_path, record, spoil, message):
    spoil(record)
    (tmp_path / "bad.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match=f"bad.json is not the record of a search: {message}"):
        load_record(tmp_path / "bad.json")
    with pytest.raises(ValueError, match=message):
        check_record(record)
    with pytest.raises(ValueError, match=message):
        save_record(tmp_path / "record.json", record)
    assert not (tmp_path / "record.json").exists()


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b"5", b"[" * 100_000])
def test_a_file_of_anything_else_is_refused(tmp_path, content):
    (tmp_path / "bad.json").write_bytes(content)
    with pytest.raises(ValueError, match="bad.json is not the record of a search"):
        load_record(tmp_path / "bad.json")


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_record(tmp_path / "none.json")


def test_a_changed_record_is_noticed_whoever_wrote_its_numbers(record):
    check_record(record)
    check_record({**record, "name": "Another", "notes": "More"})
    check_record(json.loads(json.dumps(record)))
    whole = json.loads(
        json.dumps(record), parse_float=lambda text: int(float(text)) if float(text) % 1 == 0 else float(text)
    )
    check_record(whole)  # as JavaScript writes 1.0
    for change in ({"total": 6}, {"searched": {"figures": 14, "designs": 5}}, {"results": record["results"][:3]}):
        with pytest.raises(ValueError, match="changed after it was written"):
            check_record({**record, **change})
    earlier = {name: value for name, value in record.items() if name != "sha256"}
    check_record(earlier)
    assert digest_of(earlier) == record["sha256"]


def test_a_replay_that_searched_something_else_is_not_the_same(searcher, record):
    record["searched"] = {"figures": 14, "designs": 5}
    again = replay(record, searcher, IMAGES)
    assert not again.same
    assert again.differences == ("15 figures of 5 designs were searched; in the record it is 14 figures of 5 designs",)


def test_after_a_compaction_other_counts_are_told(searcher, record):
    searcher.index.delete(["D0-front"])
    searcher.index.compact()
    again = replay(record, searcher, IMAGES)
    assert again.same
    assert again.notes[1] == "14 figures of 5 designs were searched; in the record it is 15 figures of 5 designs"
