"""The page on text banks is run: its files, an encoder from outside, and what it says of a bank."""

import json

from tests.docs.test_docs import said, write_files


def test_the_text_bank_page_runs(repo, tmp_path):
    assert write_files(repo / "docs" / "text-bank.md", tmp_path) == ["my_bank.py", "my_encoder.py"]
    lines = [
        {"file": "a/1.png", "text": "A chair"},
        {"file": "a/1.png", "text": "A stool"},
        {"file": "b.png", "text": "A cup"},
    ]
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    command = "--texts texts.jsonl --output bank PLUGINS my_encoder.py MODEL.TEXT_ENCODER.NAME Letters"
    said(tmp_path, str(repo / "tools/encode_text.py"), *command.split())
    shown = said(tmp_path, "my_bank.py", "bank", "/data/a/1.png").splitlines()
    assert shown[0] == "3 texts of 2 files by Letters, 27 numbers each"
    assert shown[1].endswith("  A chair")
    assert float(shown[1].split()[0]) > 0.999 > float(shown[2].split()[0])
    assert {path.suffix for path in next((tmp_path / "bank").glob("data-*")).iterdir()} == {".npy", ".txt"}
