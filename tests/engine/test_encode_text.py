"""The command encode-text: banks from texts, stopped and gone on with, and wrong input."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from fastreid.data.text_bank import TextBank
from fastreid.engine import encode_text
from fastreid.modeling.text_encoders import HashedWords

WORDS = ["chair", "stool", "round", "red", "arms", "with"]


def write_texts(path, count=40, seed=0):
    """Lines of three texts of each file, many of them equal; return the texts by file."""
    rng, texts = np.random.default_rng(seed), {}
    with open(path, "w") as file:
        for number in range(count):
            name = f"train/{number}.png"
            texts[name] = [" ".join(rng.choice(WORDS, size=2)) for _ in range(3)]
            for variant, text in enumerate(texts[name]):
                file.write(json.dumps({"file": name, "variant": variant, "text": text, "model": "m"}) + "\n")
    return texts


def encode(*arguments):
    """Run the command in this process; return its exit status."""
    return encode_text.main([*map(str, arguments), "MODEL.DEVICE", "cpu"])


@pytest.fixture
def texts(tmp_path):
    return write_texts(tmp_path / "texts.jsonl")


@pytest.fixture
def counted(monkeypatch):
    """Number of texts that are encoded, by call."""
    calls, original = [], HashedWords.embed
    monkeypatch.setattr(HashedWords, "embed", lambda self, given: (calls.append(len(given)), original(self, given))[1])
    return calls


def test_a_bank_of_texts(texts, tmp_path, counted, capsys):
    assert (
        encode("--texts", tmp_path / "texts.jsonl", "--output", tmp_path / "bank", "MODEL.TEXT_ENCODER.WIDTH", 32) == 0
    )
    bank = TextBank.open(tmp_path / "bank")
    assert {file: bank.texts(f"/data/{file}") for file in bank.files} == texts
    different = {text for of_file in texts.values() for text in of_file}
    assert counted == [len(different)] == [len(bank)]
    assert (bank.width, bank.dtype, bank.encoder) == (32, "float16", {"name": "HashedWords", "width": 32})
    expected = HashedWords(width=32).encode([bank.text(row) for row in range(len(bank))])
    assert np.abs(bank.vectors - expected).max() < 1e-3
    assert f"bank: {len(different)} different texts of 40 files, float16 vectors of 32" in capsys.readouterr().out
    assert {path.name[:5] for path in (tmp_path / "bank").iterdir()} == {"bank.", "data-"}


def test_a_bank_that_is_up_to_date_is_left_alone_and_any_other_made_anew(texts, tmp_path, counted):
    command = ["--texts", tmp_path / "texts.jsonl", "--output", tmp_path / "bank"]
    encode(*command)
    made = counted.copy()
    before = (tmp_path / "bank/bank.json").read_bytes()
    encode(*command)
    assert (counted, (tmp_path / "bank/bank.json").read_bytes()) == (made, before)
    narrow = ["MODEL.TEXT_ENCODER.WIDTH", "16"]
    for change in (narrow, ["--dtype", "float32", *narrow], ["--dtype", "float32"]):
        encode(*command, *change)
        assert len(counted) == len(made) + 1
        encode(*command, *change)
        assert len(counted) == len(made) + 1
        made = counted.copy()
    write_texts(tmp_path / "texts.jsonl", seed=1)
    encode(*command)
    assert len(counted) == len(made) + 1
    next((tmp_path / "bank").glob("data-*/vectors.npy")).write_bytes(b"broken")
    assert encode(*command) == 0
    assert len(counted) == len(made) + 2
    assert len(TextBank.open(tmp_path / "bank").files) == 40


def test_titles_and_captions_alone(tmp_path, capsys):
    figures = [{"file": "a.png", "caption": "A front view."}, {"file": "b.png"}, {"file": "c.png", "object": "Table"}]
    patents = [{"title": "Chair", "figures": figures[:2]}, {"figures": figures[2:]}, {"figures": [{"file": "d.png"}]}]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(patent) + "\n" for patent in patents))
    encode("--texts-from-metadata", tmp_path / "m.jsonl", "--output", tmp_path / "bank")
    bank = TextBank.open(tmp_path / "bank")
    found = {file: bank.texts(file) for file in bank.files}
    assert found == {"a.png": ["Chair. A front view."], "b.png": ["Chair"], "c.png": ["Table"]}
    assert "1 of 4 figures have neither title nor caption" in capsys.readouterr().out


def test_wrong_input_is_one_line(texts, tmp_path, capsys):
    (tmp_path / "bad.jsonl").write_text('{"file": "a.png", "text": "x"}\n{"file": "a.png"}\n')
    (tmp_path / "empty.jsonl").write_text("\n")
    np.savez(tmp_path / "some.npz", texts=np.array(["red chair"]), vectors=np.ones((1, 2)))
    given, bank = tmp_path / "texts.jsonl", ["--output", tmp_path / "b"]
    number = len({text for of_file in texts.values() for text in of_file})
    some = ["MODEL.TEXT_ENCODER.NAME", "Precomputed", "MODEL.TEXT_ENCODER.WEIGHTS", tmp_path / "some.npz"]
    for arguments, message in [
        (["--texts", tmp_path / "none.jsonl", *bank], f"--texts: no file {tmp_path / 'none.jsonl'}"),
        (["--texts-from-metadata", tmp_path / "none.jsonl", *bank], "--texts-from-metadata: no file "),
        (["--texts", tmp_path, *bank], f"--texts: {tmp_path} is a folder"),
        (["--texts", given, tmp_path / "bad.jsonl", *bank], "bad.jsonl:2: a line of texts must be a JSON object"),
        (["--texts", tmp_path / "empty.jsonl", *bank], "error: no text in "),
        (["--texts", given, "--output", tmp_path], "is no text bank, and not empty"),
        (["--texts", given, "--output", given], "--output cannot be written"),
        (["--texts", given, *bank, "MODEL.TEXT_ENCODER.NAME", "HashedWord"], "Did you mean 'HashedWords'"),
        (["--texts", given, *bank, "MODEL.TEXT_ENCODER.WIDTH", "0"], "MODEL.TEXT_ENCODER.WIDTH must be at least 1"),
        (["--texts", given, *bank, *some], f"has no vector for {number - 1} of {number} texts, such as '"),
    ]:
        assert encode(*arguments) == 1
        assert message in capsys.readouterr().err
    with pytest.raises(SystemExit):
        encode("--output", tmp_path / "bank")


def test_settings_that_this_encoder_does_not_read_are_said(texts, tmp_path, capsys):
    settings = ["MODEL.TEXT_ENCODER.WEIGHTS", "w.pt", "MODEL.TEXT_ENCODER.WIDTH", "8", "SOLVER.GAMMA", "0.2"]
    encode("--texts", tmp_path / "texts.jsonl", "--output", tmp_path / "bank", *settings)
    warnings = [line for line in capsys.readouterr().out.splitlines() if "without effect" in line]
    assert len(warnings) == 1
    assert "MODEL.TEXT_ENCODER.WEIGHTS = 'w.pt' (only for OpenClip, Precomputed" in warnings[0]


def test_two_processes_never_make_one_bank(texts, tmp_path, capsys):
    part = tmp_path / "bank" / encode_text.PART
    part.mkdir(parents=True)
    with open(part / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert encode("--texts", tmp_path / "texts.jsonl", "--output", tmp_path / "bank") == 1
    assert f"another process makes the bank in {tmp_path / 'bank'}" in capsys.readouterr().err
    assert encode("--texts", tmp_path / "texts.jsonl", "--output", tmp_path / "bank") == 0


def test_progress_is_a_line_every_ten_seconds(caplog):
    now = [100.0]
    progress = encode_text.Progress(50, 2450, clock=lambda: now[0])
    with caplog.at_level("INFO", logger=encode_text.__name__):
        for second, done in ((9.9, 99), (10, 150), (19, 200), (20, 250), (35, 2450)):
            now[0] = 100 + second
            progress.show(done)
    assert [record.getMessage() for record in caplog.records] == [
        "150 of 2450 texts; 10.0 texts/s; time left 0:03:50",
        "250 of 2450 texts; 10.0 texts/s; time left 0:03:40",
        "2450 of 2450 texts; 68.6 texts/s; time left 0:00:00",
    ]


def test_an_encoding_says_how_far_it_is(texts, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(encode_text, "CHUNK", 10)
    monkeypatch.setattr(encode_text.Progress.__init__, "__defaults__", (0.0, time.monotonic))
    assert encode("--texts", tmp_path / "texts.jsonl", "--output", tmp_path / "bank") == 0
    total, shown = len(TextBank.open(tmp_path / "bank")), capsys.readouterr().out
    for done in (*range(10, total, 10), total):
        assert f" {done} of {total} texts; " in shown
    assert "already there" not in shown


SLOW = """
import time
from fastreid.engine import encode_text
from fastreid.modeling.text_encoders import TEXT_ENCODER_REGISTRY, HashedWords

encode_text.CHUNK = 8


@TEXT_ENCODER_REGISTRY.register(node="MODEL.TEXT_ENCODER")
class SlowWords(HashedWords):
    def __init__(self, width=512):
        super().__init__(width)
        self.description["name"] = "SlowWords"

    def embed(self, texts):
        with open("encoded.txt", "a") as file:
            file.write("".join(text + "\\n" for text in texts))
        time.sleep(SECONDS)
        return super().embed(texts)
"""


def test_a_killed_encoding_goes_on_and_gives_the_same_bank(repo, tmp_path, monkeypatch, capsys):
    lines = [{"file": f"{i}.png", "text": f"chair {i}"} for i in range(100)]
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    command = [sys.executable, str(repo / "tools/encode_text.py"), "--texts", "texts.jsonl", "--output", "bank",
               "PLUGINS", "slow.py", "MODEL.TEXT_ENCODER.NAME", "SlowWords", "MODEL.DEVICE", "cpu"]  # fmt: skip
    (tmp_path / "slow.py").write_text(SLOW.replace("SECONDS", "0.2"))
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    progress = tmp_path / "bank/part/progress.json"
    while not (progress.exists() and json.loads(progress.read_text())["done"] >= 24):
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "bank/bank.json").exists()
    done = json.loads(progress.read_text())["done"]
    assert 24 <= done < 100
    (tmp_path / "slow.py").write_text(SLOW.replace("SECONDS", "0"))
    (tmp_path / "encoded.txt").unlink()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(encode_text, "CHUNK", 8)
    assert encode_text.main(command[2:]) == 0
    assert capsys.readouterr().out.count(f"{done} of 100 texts are already there from an earlier run") == 1
    assert (tmp_path / "encoded.txt").read_text().splitlines() == [line["text"] for line in lines[done:]]
    bank = TextBank.open(tmp_path / "bank")
    encode("--texts", tmp_path / "texts.jsonl", "--output", tmp_path / "whole")
    assert bank.vectors.tobytes() == TextBank.open(tmp_path / "whole").vectors.tobytes()
    assert [bank.texts(line["file"]) for line in lines] == [[line["text"]] for line in lines]


@pytest.mark.parametrize("what", ["texts", "width", "dtype", "lost", "damaged"])
def test_what_was_made_of_something_else_is_not_gone_on_with(texts, tmp_path, counted, monkeypatch, what):
    monkeypatch.setattr(encode_text, "CHUNK", 10)
    command = ["--texts", tmp_path / "texts.jsonl", "--output", tmp_path / "bank"]
    original = encode_text.Unfinished.add

    def stopped(self, vectors):
        original(self, vectors)
        if self.done == 20:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(encode_text.Unfinished, "add", stopped)
        assert encode(*command) == 130
    assert sum(counted) == 20
    if what == "texts":
        texts = write_texts(tmp_path / "texts.jsonl", seed=1)
    part = tmp_path / "bank/part"
    if what == "lost":
        (part / "vectors.npy").unlink()
    if what == "damaged":
        (part / "progress.json").write_text("{")
    change = {"width": ["MODEL.TEXT_ENCODER.WIDTH", 16], "dtype": ["--dtype", "float32"]}.get(what, [])
    assert encode(*command, *change) == 0
    bank = TextBank.open(tmp_path / "bank")
    assert sum(counted) == 20 + len(bank)
    assert {file: bank.texts(file) for file in bank.files} == texts
    expected = HashedWords(width=bank.width).encode([bank.text(row) for row in range(len(bank))])
    assert np.abs(bank.vectors - expected).max() < 1e-3
