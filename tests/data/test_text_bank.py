"""Text banks: what is written is read, by many processes, and never half of it."""

import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from fastreid.data import text_bank
from fastreid.data.packed_strings import PackedStrings
from fastreid.data.text_bank import FileTexts, TextBank, read_texts

TEXTS = {"a/1.png": ["a chair", "ein Stühlchen"], "a/2.png": ["a stool"], "1.png": ["a cup", "a chair", "a\ncup"]}
ORDER = ["a chair", "ein Stühlchen", "a stool", "a cup", "a\ncup"]


def vectors(count=5, width=7, seed=0):
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32) * 5


@pytest.fixture
def bank(tmp_path):
    return TextBank.write(tmp_path / "bank", TEXTS, vectors(), encoder={"name": "Test", "weights": "ab"})


def test_what_is_written_is_read(bank, tmp_path):
    for read in (bank, TextBank.open(tmp_path / "bank"), pickle.loads(pickle.dumps(bank))):
        assert (len(read), read.width, read.dtype, read.encoder) == (5, 7, "float16", {"name": "Test", "weights": "ab"})
        assert {file: read.texts(f"/data/{file}") for file in read.files} == TEXTS
        for file, texts in TEXTS.items():
            rows = read.rows(f"/some/where/{file}")
            assert rows.dtype == np.int64
            assert rows.tolist() == [ORDER.index(text) for text in texts]
        assert read.texts("/x/b/1.png") == TEXTS["1.png"]  # the longest name that ends the path
        assert read.rows("3.png").shape == (0,)
        assert read.texts("3.png") == []
        assert read.sha256 == FileTexts.of(TEXTS).sha256


@pytest.mark.parametrize(("dtype", "error"), [("float16", 1e-3), ("float32", 1e-6)])
def test_vectors_are_written_with_unit_length(tmp_path, monkeypatch, dtype, error):
    monkeypatch.setattr(text_bank, "BLOCK", 2)
    bank = TextBank.write(tmp_path, TEXTS, vectors(), dtype=dtype)
    assert isinstance(bank.vectors, np.memmap)
    assert bank.vectors.dtype == dtype
    expected = np.array([vector / np.sqrt((vector**2).sum()) for vector in vectors().astype(float)])
    assert np.abs(bank.vectors - expected).max() < error


def test_a_bank_of_nothing(tmp_path):
    bank = TextBank.write(tmp_path, {}, np.zeros((0, 4)))
    assert (len(bank), bank.width, bank.files, bank.rows("1.png").tolist()) == (0, 4, [], [])


def test_the_table_of_texts_against_a_loop():
    rng = np.random.default_rng(1)
    pairs = [(f"{rng.integers(9)}.png", f"text {rng.integers(12)}") for _ in range(60)]
    table, expected = FileTexts(iter(pairs)), {}
    for file, text in pairs:
        expected.setdefault(file, []).append(text)
    assert table.files == list(expected)
    assert table.texts == list(dict.fromkeys(text for _, text in pairs))
    for place, texts in enumerate(expected.values()):
        rows = table.rows[table.starts[place] : table.starts[place + 1]]
        assert [table.texts[row] for row in rows] == texts


def test_the_hash_of_texts_sees_every_change():
    variants = [
        {}, {"a": ["x"]}, {"a": ["y"]}, {"b": ["x"]}, {"a": ["x", "x"]}, {"a": ["x", "y"]}, {"a": ["y", "x"]},
        {"a": ["xy"]}, {"a": ["x"], "b": ["y"]}, {"a": ["x", "y"], "b": ["y"]}, {"ax": ["y"]},
        {"a": ["x", "y"], "b": ["x", "y"]}, {"a": ["x", "y"], "b": ["y", "x"]},
    ]  # fmt: skip
    assert len({FileTexts.of(variant).sha256 for variant in variants}) == len(variants)


def test_packed_strings(tmp_path):
    strings = ["", "plain", "zwei\nZeilen", "", "日本", "\ud800 alone"]
    PackedStrings.write(tmp_path / "s", iter(strings))
    packed = PackedStrings(tmp_path / "s")
    assert list(packed) == strings
    assert [packed[place] for place in range(len(packed))] == strings
    with pytest.raises(IndexError, match="there are 6 strings, counted from 0; got 6"):
        packed[6]


def test_no_bank(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"No text bank in '.*/none': it has no bank.json. Make one: tools/encode"
    ):
        TextBank.open(tmp_path / "none")


def test_what_is_no_bank_or_not_whole_is_said(bank, tmp_path):
    folder = tmp_path / "bank"
    data = next(folder.glob("data-*"))
    for path in sorted(data.iterdir()):
        content = path.read_bytes()
        for damage in (content[:-1], b"", None):
            path.unlink()
            if damage is not None:
                path.write_bytes(damage)
            with pytest.raises(ValueError, match="bank is no whole text bank: .*tools/encode_text.py"):
                TextBank.open(folder)
            path.write_bytes(content)
    np.save(data / "rows.npy", np.full(6, 9))
    with pytest.raises(ValueError, match=r"rows.npy and starts.npy do not fit"):
        TextBank.open(folder)
    described = json.loads((folder / "bank.json").read_text())
    for changed, message in [
        ({**described, "format": 2}, "has text bank format 2; this version reads 1"),
        ({**described, "width": 3}, r"vectors.npy holds float16 \(5, 7\) instead of float16 \(5, 3\)"),
        ({**described, "files": 9}, "texts, files and starts have"),
        ({"format": 1}, "bank.json does not describe a text bank; KeyError"),
        ([], "bank.json does not describe a text bank"),
    ]:
        (folder / "bank.json").write_text(json.dumps(changed))
        with pytest.raises(ValueError, match=message):
            TextBank.open(folder)


def test_what_cannot_be_written_leaves_the_old_bank(bank, tmp_path):
    bad = vectors()
    bad[3, 2] = np.nan
    zero = vectors()
    zero[4] = 0
    for given, message in [
        (bad, r"vector 3 has the length nan; .* Its text: 'a cup'"),
        (zero, r"vector 4 has the length 0.0; .* Its text: 'a\\ncup'"),
        (vectors(4), r"5 texts need vectors of shape \(5, width\); got \(4, 7\)"),
        (vectors()[0], r"5 texts need vectors of shape"),
    ]:
        with pytest.raises(ValueError, match=message):
            TextBank.write(tmp_path / "bank", TEXTS, given)
    with pytest.raises(ValueError, match=r"'a\.png' is named more than once"):
        TextBank.write(tmp_path / "bank", {"a.png": ["x"], "./a.png": ["x"]}, vectors(1))
    with pytest.raises(ValueError, match=r"dtype of a TextBank must be one of 'float16', 'float32'; got 'int8'"):
        TextBank.write(tmp_path / "bank", TEXTS, vectors(), dtype="int8")
    assert TextBank.open(tmp_path / "bank").texts("a/2.png") == ["a stool"]
    assert len(list((tmp_path / "bank").iterdir())) == 2


KILLED = """
import sys
import numpy as np
from fastreid.data.text_bank import TextBank
for round in range(2, 10**9):
    TextBank.write(sys.argv[1], {f"{i}.png": [f"{round} {i}"] for i in range(200)}, np.full((200, 16), float(round)))
    print(round, flush=True)
"""


def test_a_killed_process_leaves_a_whole_bank(tmp_path):
    TextBank.write(tmp_path, {f"{i}.png": [f"1 {i}"] for i in range(200)}, np.full((200, 16), 1.0))
    for wait in (0.0, 0.013, 0.037):
        process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        process.stdout.readline()
        time.sleep(wait)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        bank = TextBank.open(tmp_path)
        assert len({bank.texts(f"{i}.png")[0].split()[0] for i in range(200)}) == 1
    (tmp_path / "data-of-somebody").mkdir()
    TextBank.write(tmp_path, {"a.png": ["x"]}, vectors(1))
    assert len(list(tmp_path.glob("data-*"))) == 2


def test_another_process_maps_it(bank):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_read, (bank,)) == TEXTS["a/1.png"]


def _read(bank):
    return bank.texts("/x/a/1.png")


def test_lines_of_texts(tmp_path):
    path = tmp_path / "texts.jsonl"
    path.write_text(
        '{"file": "a.png", "variant": 1, "text": "A cup", "model": "m"}\n\n{"file": "a.png", "text": "B"}\n'
    )
    assert [row["text"] for row in read_texts(path)] == ["A cup", "B"]
    for line in ('{"file": "a.png"}', "[]", '{"file": "a.png", "text": " "}', '{"file": 3, "text": "x"}', "{", "3"):
        path.write_text(f'{{"file": "a.png", "text": "B"}}\n{line}\n')
        with pytest.raises(ValueError, match=r"texts.jsonl:2: a line of texts must be a JSON object with `file` and"):
            list(read_texts(path))
