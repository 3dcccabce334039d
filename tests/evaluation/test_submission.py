import re
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from fastreid.config import get_cfg
from fastreid.evaluation import Protocol
from fastreid.evaluation.submission import check_submission, count_lines, main, write_submission
from tests.evaluation.stand_ins import feature_file


@pytest.fixture
def lists(tmp_path):
    queries, database = tmp_path / "q.txt", tmp_path / "db.txt"
    queries.write_text("\ufeff" + "\r\n".join(f"queries/{i}.png" for i in range(3)) + "\n\n")
    database.write_text("\n".join(f"database/{i}.png" for i in range(12)))
    return queries, database


def valid():
    return np.array([np.arange(10), np.arange(10)[::-1], np.arange(2, 12)])


def test_writes_array_and_archive(tmp_path, lists):
    indices = np.arange(36, dtype=np.int32).reshape(3, 12) % 12
    path, archive = write_submission(indices, tmp_path / "out" / "result.npy")
    ranks = np.load(path)
    assert (ranks.dtype, ranks.shape) == (np.int64, (3, 10))
    assert ranks[1].tolist() == list(range(10))
    with zipfile.ZipFile(archive) as zipped:
        assert zipped.namelist() == ["result.npy"]
        assert zipped.read("result.npy") == path.read_bytes()
    assert check_submission(path, *lists) == []
    assert check_submission(archive, *lists) == []
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["result.npy", "result.zip"]


def test_ties_go_to_the_earlier_database_line_and_small_databases_have_fewer_columns(tmp_path):
    same = feature_file(2, 5, features=np.ones((7, 3)), relevance_known=False)
    indices = Protocol.from_config(get_cfg()).evaluate(same).indices
    assert indices.tolist() == [[0, 1, 2, 3, 4]] * 2
    path, _ = write_submission(indices, tmp_path / "r.npy")
    (tmp_path / "q").write_text("a\nb\n")
    (tmp_path / "d").write_text("a\nb\nc\nd\ne\n")
    assert check_submission(path, tmp_path / "q", tmp_path / "d") == []


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        (np.zeros((3, 10)), r"integers of shape \(Q, k\); got float64 \(3, 10\)"),
        (np.zeros(3, int), r"got int64 \(3,\)"),
        (np.array([[0, 1], [2, -1]]), "query line 2 has fewer than 2 permitted .* use TEST.RULE all"),
    ],
)
def test_refuses_to_write_nonsense(tmp_path, indices, message):
    with pytest.raises(ValueError, match=message):
        write_submission(indices, tmp_path / "result.npy")
    with pytest.raises(ValueError, match=r"named \*\.npy"):
        write_submission(valid(), tmp_path / "result.txt")
    assert list(tmp_path.iterdir()) == []


def with_value(row, column, value, dtype=np.int64):
    ranks = valid().astype(dtype)
    ranks[row, column] = value
    return ranks


@pytest.mark.parametrize(
    ("ranks", "message"),
    [
        (valid()[:2], "3 lines in the list, 2 rows here"),
        (valid()[:, :9], r"there must be 10 columns, min\(10, size of the database\); there are 9"),
        (valid()[0], r"must have shape \(3, 10\); it has \(10,\)"),
        (valid().astype(np.int32), "must be int64; it is int32"),
        (valid().astype(float), "must be int64; it is float64"),
        (with_value(1, 4, np.nan, float), "query line 2: values that are not whole numbers"),
        (with_value(1, 4, 0.5, float), "query line 2: values that are not whole numbers"),
        (with_value(2, 9, -1), "query line 3: negative values"),
        (with_value(0, 0, 12), "query line 1: values above 11, the last 0-based database line"),
        (with_value(0, 0, 5), "query line 1: the same database line more than once"),
        (valid()[:, ::-1] * 0, "query lines 1, 2, 3: the same database line more than once"),
        (np.full((3, 10), "a"), "must be whole numbers"),
    ],
)
def test_finds_what_is_wrong(tmp_path, lists, ranks, message):
    np.save(tmp_path / "r.npy", ranks)
    assert any(re.search(message, problem) for problem in check_submission(tmp_path / "r.npy", *lists))


def test_one_file_may_be_both_lists(tmp_path, lists, capsys):
    _, database = lists
    np.save(tmp_path / "r.npy", np.tile(np.arange(10), (12, 1)))
    assert main([str(tmp_path / "r.npy"), "--queries", str(database), "--database", str(database)]) == 0
    assert "12 queries against 12 database images" in capsys.readouterr().out
    database.write_text("\n")
    assert check_submission(tmp_path / "r.npy", database, database) == [f"the list {database} is empty"]


def test_suspects_one_based_lines(tmp_path, lists):
    np.save(tmp_path / "r.npy", valid() + 1)
    problems = check_submission(tmp_path / "r.npy", *lists)
    assert any("look 1-based, but must be 0-based" in problem for problem in problems)


@pytest.mark.parametrize("content", [b"", b"not an array", b"\x93NUMPY\x01\x00v\x00{"])
def test_files_that_are_no_arrays(tmp_path, lists, content):
    (tmp_path / "r.npy").write_bytes(content)
    (problem,) = check_submission(tmp_path / "r.npy", *lists)
    assert problem.startswith("cannot read")


def test_pickles_are_never_loaded(tmp_path, lists):
    np.save(tmp_path / "r.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    (problem,) = check_submission(tmp_path / "r.npy", *lists)
    assert "cannot read" in problem


def test_archive_with_other_content(tmp_path, lists):
    np.save(tmp_path / "answer.npy", valid())
    with zipfile.ZipFile(tmp_path / "r.zip", "w") as zipped:
        zipped.write(tmp_path / "answer.npy", "answer.npy")
    (problem,) = check_submission(tmp_path / "r.zip", *lists)
    assert "must hold result.npy and nothing else; it holds answer.npy" in problem


def test_empty_list_and_missing_result(tmp_path, lists):
    (tmp_path / "none.txt").write_text("\n \n")
    assert "is empty" in check_submission("r.npy", tmp_path / "none.txt", lists[1])[0]
    assert "cannot read" in check_submission(tmp_path / "absent.npy", *lists)[0]
    assert [count_lines(path) for path in lists] == [3, 12]
    lists[0].write_bytes("queries/é.png\r\n\r\n".encode("latin-1"))
    assert count_lines(lists[0]) == 1


def test_command_line(tmp_path, lists, repo, capsys):
    path, _ = write_submission(valid(), tmp_path / "result.npy")
    options = ["--queries", str(lists[0]), "--database", str(lists[1])]
    assert main([str(path), *options]) == 0
    assert capsys.readouterr().out == "valid: 3 queries against 12 database images\n"
    np.save(path, valid()[:2])
    script = [sys.executable, str(repo / "tools/check_submission.py"), str(path), *options]
    ran = subprocess.run(script, capture_output=True, text=True, cwd=tmp_path)
    assert ran.returncode == 1
    assert ran.stderr.startswith("wrong: there must be one row per query")
    assert main([str(path), "--queries", "absent", "--database", "absent"]) == 1
