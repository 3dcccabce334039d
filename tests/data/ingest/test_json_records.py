"""Records are read one at a time, from a list or from lines, and damaged ones do not hide the next."""

import json
import random
import tracemalloc

import pytest

from fastreid.data.ingest import json_records
from fastreid.data.ingest.json_records import read_records

RECORDS = [{"id": k, "text": f'a "quoted" }}, {{ \\ {k} é \n', "box": [1, {"x": None}]} for k in range(50)]


def good(path):
    return [record for _, record, _ in read_records(path) if record is not None]


def faults(path):
    return [(place, fault) for place, record, fault in read_records(path) if record is None]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(RECORDS),
        json.dumps(RECORDS, indent=2),
        json.dumps(RECORDS, ensure_ascii=False),
        "\n\n  " + json.dumps(RECORDS) + "\n",
        "\n".join(map(json.dumps, RECORDS)),
        "\n \n".join(json.dumps(record) + "," for record in RECORDS) + "\n\n",
        "\r\n".join(map(json.dumps, RECORDS)),
    ],
)
@pytest.mark.parametrize("bom", ["", "\ufeff"])
@pytest.mark.parametrize("chunk", [1 << 20, 7, 64])
def test_both_forms(tmp_path, monkeypatch, text, bom, chunk):
    monkeypatch.setattr(json_records, "CHUNK", chunk)
    (tmp_path / "a.json").write_text(bom + text, encoding="utf-8", newline="")
    assert good(tmp_path / "a.json") == RECORDS
    assert faults(tmp_path / "a.json") == []


@pytest.mark.parametrize("text", ["", "  \n ", "[]", "[ ]\n"])
def test_files_without_records(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    assert list(read_records(tmp_path / "a.json")) == []


def test_damaged_lines_are_named(tmp_path):
    (tmp_path / "a.json").write_text('{"a": 1}\n{"a": \n\n[1]\nnull\n' + "[" * 100_000 + '\n{"a": 2}')
    assert good(tmp_path / "a.json") == [{"a": 1}, {"a": 2}]
    assert [place for place, _ in faults(tmp_path / "a.json")] == ["line 2", "line 4", "line 5", "line 6"]
    assert faults(tmp_path / "a.json")[1][1] == "a record must be an object; got list"
    assert [place for place, _, _ in read_records(tmp_path / "a.json")][-1] == "line 7"


@pytest.mark.parametrize("longest", [1 << 20, 100])
@pytest.mark.parametrize("chunk", [1 << 20, 50])
def test_damaged_records_of_a_list_do_not_hide_the_next(tmp_path, monkeypatch, chunk, longest):
    monkeypatch.setattr(json_records, "CHUNK", chunk)
    monkeypatch.setattr(json_records, "LONGEST", longest)
    (tmp_path / "a.json").write_text('[{"a": 1}, {"a": x}, {"a": 2}, 7, {"a" 3}, {"b": 4},\n{"a": 5}]')
    assert good(tmp_path / "a.json") == [{"a": 1}, {"a": 2}, {"b": 4}, {"a": 5}]
    assert [place for place, _ in faults(tmp_path / "a.json")] == ["record 2", "record 4", "record 5"]


def test_a_list_that_is_cut_off_is_said(tmp_path):
    records = [{"id": k, "box": [k, {"x": "]"}]} for k in range(3)]
    text = json.dumps(records)
    for end in range(1, len(text)):
        (tmp_path / "a.json").write_text(text[:end])
        found, bad = good(tmp_path / "a.json"), faults(tmp_path / "a.json")
        assert found == records[: len(found)]
        assert len(bad) == 1
    (tmp_path / "a.json").write_text(text[:-1])
    assert faults(tmp_path / "a.json") == [("record 4", "the file ends before its list does")]


def test_bytes_that_are_no_text_spoil_one_record(tmp_path):
    (tmp_path / "a.json").write_bytes(b'{"a": "\xff\xfe"}\n{"a": 1}\n')
    assert good(tmp_path / "a.json") == [{"a": "\ufffd\ufffd"}, {"a": 1}]


@pytest.mark.parametrize("form", ["list", "lines"])
def test_memory_is_that_of_a_chunk_and_progress_ends_at_the_size(tmp_path, monkeypatch, form):
    monkeypatch.setattr(json_records, "CHUNK", 1 << 14)
    monkeypatch.setattr(json_records, "LONGEST", 1 << 14)
    rng = random.Random(0)
    rows = [json.dumps({"id": k, "text": "x" * rng.randrange(200)}) for k in range(10_000)]
    path = tmp_path / "a.json"
    path.write_text("[" + ",\n".join(rows) + "]" if form == "list" else "\n".join(rows))
    seen = []
    tracemalloc.start()
    assert sum(record["id"] for _, record, _ in read_records(path, seen.append)) == sum(range(10_000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < path.stat().st_size / 8
    assert seen == sorted(seen)
    assert seen[-1] > 0.9 * path.stat().st_size
