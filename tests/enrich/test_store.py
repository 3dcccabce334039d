"""The file of texts and the one that grows beside it."""

import json
import os

import pytest

from fastreid.enrich.store import Store, short

NAMES = [f"{number}.png" for number in range(5)]
NAMED = frozenset(map(short, NAMES))


def head(name, source="s", prompt="p", captioner="c", **other):
    return {
        "file": name, "captioner": {"name": captioner}, "rewriter": {"name": "r"}, "prompt_sha256": prompt,
        "source_sha256": source, **other,
    }  # fmt: skip


def texts(name, number=3):
    return [f"text {i} of {name}, \u00e9\u2028" for i in range(number)]


def fill(path, names, **other):
    """Add figures as a process would that is killed then; return their places."""
    store = Store(path, NAMED)
    places = [store.add({**head(name, **other), "details": f"d {name}"}, texts(name)) for name in names]
    store._files.close()
    return places


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


def test_texts_grow_and_are_put_in_place_in_order(tmp_path):
    path = tmp_path / "deep" / "t.jsonl"
    store = Store(path, NAMED)
    places = {name: store.add({**head(name), "details": "d"}, texts(name)) for name in ("2.png", "0.png", "1.png")}
    assert not path.exists()
    assert len(store) == 3
    assert store.find(head("0.png")) == places["0.png"]
    store.finish([places[name] for name in ("0.png", "1.png", "2.png")])
    assert [line["file"] for line in read(path)] == ["0.png"] * 3 + ["1.png"] * 3 + ["2.png"] * 3
    assert read(path)[1] == {**head("0.png"), "variant": 1, "variants": 3, "text": texts("0.png")[1], "details": "d"}
    assert os.listdir(path.parent) == ["t.jsonl"]


def test_what_is_finished_is_found_and_joined_with_what_is_new(tmp_path):
    path = tmp_path / "t.jsonl"
    store = Store(path, NAMED)
    store.finish([store.add({**head(name), "details": "d"}, texts(name)) for name in NAMES[:2]])
    before, stamp = path.read_bytes(), path.stat().st_mtime_ns
    store = Store(path, NAMED)
    found = [store.find(head(name)) for name in NAMES]
    assert [place >= 0 for place in found] == [True, True, False, False, False]
    store.finish(found[:2])
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (before, stamp)  # nothing new: not written again
    store = Store(path, NAMED)
    new = store.add({**head("3.png"), "details": "d"}, texts("3.png", 2))
    store.finish([store.find(head("1.png")), new, store.find(head("0.png"))])
    assert [line["file"] for line in read(path)] == ["1.png"] * 3 + ["3.png"] * 2 + ["0.png"] * 3
    store = Store(path, NAMED)
    store.finish([store.find(head(name)) for name in ("0.png", "1.png", "3.png")])  # another order
    assert [line["file"] for line in read(path)] == ["0.png"] * 3 + ["1.png"] * 3 + ["3.png"] * 2
    store = Store(path, NAMED)
    store.finish([store.find(head(name)) for name in ("0.png", "3.png")])  # one less
    assert [line["file"] for line in read(path)] == ["0.png"] * 3 + ["3.png"] * 2


def test_only_texts_of_the_same_making_are_found(tmp_path):
    fill(tmp_path / "t.jsonl", NAMES[:1])
    store = Store(tmp_path / "t.jsonl", NAMED)
    assert store.find(head("0.png")) >= 0
    others = [
        head("1.png"), head("0.png", source="t"), head("0.png", prompt="q"), head("0.png", captioner="d"),
        {**head("0.png"), "rewriter": {"name": "s"}},
    ]  # fmt: skip
    assert [store.find(other) for other in others] == [-1] * 5
    assert store.details(head("0.png", prompt="q")) == "d 0.png"
    assert store.details({**head("0.png"), "rewriter": {"name": "s"}}) == "d 0.png"
    assert store.details(head("0.png", source="t")) is store.details(head("0.png", captioner="d")) is None
    store.close()


def test_a_process_may_be_killed_after_any_byte(tmp_path):
    path = tmp_path / "t.jsonl"
    fill(path, NAMES[:2])
    whole = (tmp_path / "t.jsonl.part").read_bytes()
    first = whole.index(b'{"file": "1.png"')
    ends = [place + 1 for place, byte in enumerate(whole) if byte == ord("\n")]
    sizes = {size for end in ends for size in range(end - 2, end + 2) if size <= len(whole)} | {
        *range(0, len(whole), 40)
    }
    for size in sorted(sizes):
        (tmp_path / "t.jsonl.part").write_bytes(whole[:size])
        store = Store(path, NAMED)
        found = [store.find(head(name)) >= 0 for name in NAMES[:2]]
        assert found == [size >= first, size >= len(whole)], size
        for name in NAMES[:3]:
            if store.find(head(name)) < 0:
                store.add({**head(name), "details": "d"}, texts(name))
        store.finish([store.find(head(name)) for name in NAMES[:3]])
        assert [(line["file"], line["text"]) for line in read(path)] == [
            (name, text) for name in NAMES[:3] for text in texts(name)
        ]
        path.unlink()


def test_a_kill_after_the_file_is_in_place_loses_nothing(tmp_path, monkeypatch):
    path = tmp_path / "t.jsonl"
    store = Store(path, NAMED)
    places = [store.add({**head(name), "details": "d"}, texts(name)) for name in NAMES]
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.unlink", lambda *args, **kwargs: None)
        store.finish(places)
    before = path.read_bytes()
    store = Store(path, NAMED)
    store.finish([store.find(head(name)) for name in NAMES])
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["t.jsonl"]


def test_a_figure_made_anew_counts_by_its_last_texts(tmp_path):
    path = tmp_path / "t.jsonl"
    fill(path, NAMES[:1])
    store = Store(path, NAMED)
    place = store.add({**head("0.png"), "details": "d"}, ["later"])
    assert store.find(head("0.png")) == place
    store._files.close()
    store = Store(path, NAMED)
    assert store.find(head("0.png")) == place
    store.finish([place])
    assert [line["text"] for line in read(path)] == ["later"]


def test_texts_of_other_figures_are_counted(tmp_path):
    path = tmp_path / "t.jsonl"
    fill(path, NAMES)
    store = Store(path, frozenset(map(short, NAMES[:3])))
    assert (store.num_others, store.others, len(store)) == (2, ["3.png"], 3)
    store.finish([store.find(head(name)) for name in NAMES[:3]])
    store = Store(path, frozenset(map(short, NAMES[:2])))
    places = [store.find(head(name)) for name in NAMES[:2]]
    assert store.num_others == 1
    assert not store.loses(places)
    assert store.loses(places[:1])
    store.close()


@pytest.mark.parametrize("line", ['{"file": "a.png", "text": "x"}', "words", "[1]", '{"a": 1}', "", "null"])
def test_another_file_is_left_alone(tmp_path, line):
    path = tmp_path / "t.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(ValueError, match=r"t\.jsonl exists and is no file of texts of this command"):
        Store(path, NAMED)
    assert path.read_text() == line + "\n"
    assert os.listdir(tmp_path) == ["t.jsonl"]


def test_lines_of_another_kind_in_the_growing_file_count_as_none(tmp_path):
    path = tmp_path / "t.jsonl"
    fill(path, NAMES[:2])
    part = tmp_path / "t.jsonl.part"
    lines = part.read_bytes().splitlines(keepends=True)
    other = lines[1].replace(b'"p"', b'"q"')
    for second in ([b"\x00" * 50 + b"\n"], [b"{}\n"], [lines[2]], [lines[4]], [other], []):
        part.write_bytes(b"".join([lines[0], *second, *lines[2:]]))
        store = Store(path, NAMED)
        assert [store.find(head(name)) >= 0 for name in NAMES[:2]] == [False, True]
        store._files.close()


def test_only_one_process_at_a_time(tmp_path):
    store = Store(tmp_path / "t.jsonl", NAMED)
    with pytest.raises(ValueError, match=r"another process works on .*t\.jsonl\.part"):
        Store(tmp_path / "t.jsonl", NAMED)
    assert os.listdir(tmp_path) == ["t.jsonl.part"]
    store.close()
    Store(tmp_path / "t.jsonl", NAMED).close()
    assert os.listdir(tmp_path) == []
