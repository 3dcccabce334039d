"""List files and records."""

import pytest

from fastreid.data.datasets.lists import date_of, labelled_records, read_list, unlabelled_records
from fastreid.data.records import Record, as_record


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def test_byte_order_mark_windows_line_ends_blank_lines_and_spaces_in_paths(tmp_path):
    path = write(tmp_path / "l.txt", "a/b c.png 1\r\n\r\n  d.png\t2  \r\n", "utf-8-sig")
    assert read_list(path) == [(("a/b c.png", "1"), f"{path}:1"), (("d.png", "2"), f"{path}:3")]


def test_list_of_paths_keeps_spaces(tmp_path):
    path = write(tmp_path / "l.txt", "queries/a b.png\n")
    assert read_list(path, columns=1) == [(("queries/a b.png",), f"{path}:1")]
    (record,) = unlabelled_records(path, "/root", 1)
    assert record == Record("/root/queries/a b.png", 0, 1, source=f"{path}:1")


def test_third_field_is_the_camera(tmp_path):
    assert read_list(write(tmp_path / "l.txt", "a b.png 7 2\n"), columns=3)[0][0] == ("a b.png", "7", "2")


@pytest.mark.parametrize(
    "line, message",
    [("onlypath.png", r"l\.txt:2: a line must be `path identity`; got 'onlypath.png'"),
     ("a.png x7", r"l\.txt:2: the identity must be an integer; got 'x7'")],
)  # fmt: skip
def test_malformed_line_names_file_and_line(tmp_path, line, message):
    path = write(tmp_path / "l.txt", f"a.png 1\n{line}\n")
    with pytest.raises(ValueError, match=message):
        labelled_records([path], "/root", 1)


def test_date_comes_from_the_file_name_with_either_letter():
    assert date_of("I20180220/USD0810412-20180220/USD0810412-20180220-D00005.png") == 20180220
    assert date_of("x/USD0810412-20200107-P00001.png") == 20200107
    assert date_of("x/USD0534350-D00000.png") is None


def test_record_is_the_tuple_of_old_code():
    record = Record("a.png", 3, -1, date=20180102)
    path, pid, camid = record
    assert (path, pid, camid) == ("a.png", 3, -1) == record[:3]
    assert record[1] == 3
    assert len(record) == 3
    assert as_record(("a.png", "p", "c", 5)) == Record("a.png", "p", "c")
    with pytest.raises(ValueError, match="must be a Record or"):
        as_record(7)
