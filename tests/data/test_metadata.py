"""Metadata files, and how an image finds its line."""

import json

import pytest

from fastreid.config import get_cfg
from fastreid.data.datasets import build_dataset
from fastreid.data.metadata import Metadata, date_number, read_metadata
from fastreid.data.path_index import PathIndex
from fastreid.data.records import Record

CHAIR = {
    "patent_id": "USD1", "date": "2018-11-06", "locarno": "0601", "title": "Chair", "figures": [
        {"file": "a/1.png", "view": "front", "caption": "FIG. 1 is a view."}, {"file": "a/2.png"}],
}  # fmt: skip


def write(path, *patents):
    path.write_text("".join(json.dumps(patent) + "\n" for patent in patents))
    return path


def test_the_longest_name_that_ends_a_path_counts():
    index = PathIndex(["1.png", "a/1.png", "b/a/2.png"])
    found = [index.find(path) for path in ("1.png", "/x/1.png", "/x/a/1.png", "a/1.png", "a/2.png", "ab/a/2.png", "")]
    assert found == [0, 0, 1, 1, -1, -1, -1]
    assert index.find("/x/b/a/2.png") == 2
    with pytest.raises(ValueError, match=r"'a/1\.png' is named more than once"):
        PathIndex(["a/1.png", "./a/1.png"])


def test_columns_of_a_record(tmp_path):
    treat = {"taxonomy": "D6", "figures": [{"file": "b/1.png", "object": "Pet treat"}]}
    metadata = Metadata([write(tmp_path / "m.jsonl", CHAIR, treat)])
    first, second, other, unknown = (
        metadata.complete(Record(f"/data/{path}", 1, 1, date=20000101))
        for path in ("a/1.png", "a/2.png", "b/1.png", "c")
    )
    assert (first.date, first.taxonomy, first.view, first.text) == (
        20181106,
        "0601",
        "front",
        "Chair. FIG. 1 is a view.",
    )
    assert (second.text, second.view) == ("Chair", None)
    assert (other.date, other.taxonomy, other.text) == (20000101, "D6", "Pet treat")
    assert unknown == Record("/data/c", 1, 1, date=20000101)


@pytest.mark.parametrize(
    ("given", "number"),
    [("2018-11-06", 20181106), ("20181106", 20181106), (20181106, 20181106), ("", None), (None, None), ("2018", None)],
)
def test_dates(given, number):
    assert date_number(given) == number


@pytest.mark.parametrize("line", ['{"figures": [{"view": "front"}]}', "{}", "[1]", '{"figures": [{"file": 3}]}', "{"])
def test_a_line_that_is_no_patent_is_named(tmp_path, line):
    path = tmp_path / "m.jsonl"
    path.write_text(json.dumps(CHAIR) + "\n\n" + line + "\n")
    with pytest.raises(ValueError, match=r"m\.jsonl:3: a line of metadata must be a JSON object"):
        list(read_metadata(path))


def test_lists_with_metadata(tmp_path):
    (tmp_path / "list.txt").write_text("a/1.png 7\na/2.png 7\n")
    write(tmp_path / "m.jsonl", CHAIR)
    cfg = get_cfg()
    settings = ["DATASETS.FILELIST.ROOT", str(tmp_path), "DATASETS.FILELIST.QUERY", "('list.txt',)"]
    cfg.merge_from_list([*settings, "DATASETS.FILELIST.METADATA", "('m.jsonl',)"])
    assert [record.taxonomy for record in build_dataset(cfg, "FileList").query] == ["0601", "0601"]
    cfg.merge_from_list(["DATASETS.FILELIST.METADATA", "('n.jsonl',)"])
    with pytest.raises(FileNotFoundError, match=r"DATASETS.FILELIST.METADATA: list 'n.jsonl' not found at"):
        _ = build_dataset(cfg, "FileList").query
