"""The benchmark of the embedded indexes, on tiny data."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from benchmarks import index_speed, needs

from fastreid.index import faiss_index


def cells(text, start):
    """The rows of the first table behind a line."""
    lines = text.partition(start)[2].strip().splitlines()
    table = lines[next(i for i, line in enumerate(lines) if line.startswith("|")) :]
    table = table[: next((i for i, line in enumerate(table) if not line.startswith("|")), len(table))]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def test_tables_of_both_backends(tmp_path, monkeypatch):
    for name, value in (("SMALL", 500), ("FEW", 100), ("DEEP", 2), ("DEEPER", 4)):
        monkeypatch.setattr(faiss_index, name, value)
    args = ["--work", str(tmp_path / "work"), "--sizes", "1200", "--dim", "16", "--output", str(tmp_path / "out.md")]
    (tmp_path / "work" / "index-store-1200-16").mkdir(parents=True)
    (tmp_path / "work" / "index-store-1200-16" / "segment-left").write_text("of a run that was killed")
    assert not index_speed.main(args)
    text = (tmp_path / "out.md").read_text()
    built, searched = cells(text, "## Building"), cells(text, "## Searching")
    assert [row[:2] for row in built[2:]] == [["1,200", "store"], ["1,200", "faiss"]]
    assert built[2][2] == "exact"
    assert built[3][2].startswith("IVF")
    assert searched[0][-2:] == ["recall@10", "recall@100"]
    rows = searched[2:]
    assert len(rows) == 2 * len(index_speed.FILTERS)
    for row in rows:
        assert row[3] in ("yes", "no")
        assert row[2] == "exact" or row[2].startswith("IVF")
        if row[3] == "yes":
            assert row[-2:] == ["1.0000", "1.0000"]
        assert float(row[-1]) > 0.9
    assert {row[3] for row in rows if row[2] != "exact"} == {"yes", "no"}
    needs.main(["--index", str(tmp_path / "out.md"), "--images-per-second", "20", "--output", str(tmp_path / "n.md")])
    [table] = needs.tables_of((tmp_path / "n.md").read_text())
    needed = {row[""]: [row[name] for name in needs.NAMES] for row in table}
    disk = float(built[2][4].replace(",", "")) / 1200 * 2**20
    assert needed["index on disk, exact"] == [needs._bytes(disk * size) for size in needs.SIZES]
    assert needed["features on one such machine"] == ["13.9 h", "5.79 days", "57.9 days", "579 days"]
    assert needed["image cache, 256 x 256 grey"][0] == "61 GiB"
    first = [path.stat().st_mtime_ns for path in sorted((tmp_path / "work").glob("*/manifest.json"))]
    index_speed.main(args)  # indexes are made once
    assert [path.stat().st_mtime_ns for path in sorted((tmp_path / "work").glob("*/manifest.json"))] == first


def test_capacity_of_a_file_that_is_none(tmp_path, capsys):
    (tmp_path / "x.md").write_text("| a | b |\n| - | - |\n| 1 | 2 |\n")
    assert needs.main(["--index", str(tmp_path / "x.md"), "--images-per-second", "20"]) == 1
    assert "x.md has no exact index: tools/benchmarks/index.py writes such a file" in capsys.readouterr().err
    assert needs.main(["--index", str(tmp_path / "x.md"), "--images-per-second", "0"]) == 1
    assert "--images-per-second must be above 0; got 0.0" in capsys.readouterr().err
