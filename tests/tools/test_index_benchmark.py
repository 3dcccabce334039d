"""The benchmark of the embedded indexes, on tiny data."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from benchmarks import index_speed

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
    first = [path.stat().st_mtime_ns for path in sorted((tmp_path / "work").glob("*/manifest.json"))]
    index_speed.main(args)  # indexes are made once
    assert [path.stat().st_mtime_ns for path in sorted((tmp_path / "work").glob("*/manifest.json"))] == first
