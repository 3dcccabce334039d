"""The file of answers."""

import pytest

from fastreid.enrich.answers import Answers


def test_answers_and_costs_stay(tmp_path):
    path = tmp_path / "deep" / "a.sqlite"
    first = Answers(path)
    assert first.get("k") is None
    first.add(first.begin("k", 9.0), "k", "text", True, (3, 4), 0.5)
    first.fail(first.begin("bad", 9.0), 0.25, "no answer in time")
    first.begin("killed", 2.0)  # never heard of again
    assert first.spent == 2.75
    second = Answers(path)  # while the first one is open, as after a kill
    assert second.get("k") == ("text", True)
    assert second.get("bad") is None
    assert second.spent == 2.75
    second.add(second.begin("k", 9.0), "k", "later", False, None, 1.0)
    assert first.get("k") == ("later", False)
    second.forget(["k", "unknown"])
    assert first.get("k") is None
    assert first.spent == 3.75
    for one in (first, second):
        one.close()


def test_in_memory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answers = Answers()
    answers.add(answers.begin("k", 1.0), "k", "text", False, None, 0.0)
    assert answers.get("k") == ("text", False)
    assert answers.spent == 0.0
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_another_kind_is_left_alone(tmp_path):
    path = tmp_path / "a.sqlite"
    path.write_bytes(b"something else" * 100)
    with pytest.raises(ValueError, match=r"a\.sqlite is no file of answers"):
        Answers(path)
    assert path.read_bytes() == b"something else" * 100
