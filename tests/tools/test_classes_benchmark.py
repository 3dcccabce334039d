"""The benchmark of many classes, on a few: what does not fit is not run, and what fails says so."""

import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from benchmarks import machine, many_classes

GIB = many_classes.GIB
FULL, PARTIAL = many_classes.WAYS[0], many_classes.WAYS[4]
TINY = ["--sizes", "40000", "--dim", "64", "--batch", "4", "--steps", "1"]


def rows(path: Path) -> list[list[str]]:
    lines = [line for line in path.read_text().splitlines() if line.startswith("| 40,000")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.fixture
def output(tmp_path) -> Path:
    return tmp_path / "t.md"


def run_here(command: list[str], check: bool) -> None:
    """Do what the fresh process does; its import of all modules is what would take the time of this test."""
    assert check
    assert Path(command[1]).name == "classes.py"
    assert Path(command[1]).is_file()
    assert not many_classes.main(command[2:])


def test_rows_say_what_was_measured_and_what_was_not_run(quick_launch, output, monkeypatch):
    monkeypatch.setattr(many_classes.subprocess, "run", run_here)
    monkeypatch.setattr(many_classes, "WAYS", (FULL, PARTIAL))
    monkeypatch.setattr(many_classes, "PROCESS", 0)
    limit = many_classes.needed(40_000, 64, 4, 0.1, 2) / GIB + 1e-6
    assert not many_classes.main([*TINY, "--limit", str(limit), "--output", str(output)])
    full, partial = rows(output)
    assert full[1] == "full layer"
    assert full[6].startswith("not run: 0.04 needed in all, 0.02 permitted")
    assert partial[1:3] == ["partial FC, rate 0.1", "2"]
    assert partial[3] == f"{20_000 * 64 * 4 / GIB:.2f}"
    assert partial[7].endswith(" s")
    assert len(full) == len(partial) == 9
    assert list(output.parent.iterdir()) == [output]


def test_nothing_that_needs_more_than_is_free_is_run(output, monkeypatch):
    monkeypatch.setattr(many_classes, "in_fresh_process", None)
    monkeypatch.setattr(many_classes, "available_memory", lambda: GIB // 4)
    assert not many_classes.main([*TINY, "--limit", "1000", "--output", str(output)])
    found = rows(output)
    assert len(found) == len(many_classes.WAYS)
    assert all("needed in all, 0.23 permitted" in row[6] for row in found)


@pytest.mark.parametrize("status, told", [(-9, "exit status -9 (killed: out of memory?)"), (1, "exit status 1")])
def test_a_row_that_fails_does_not_take_the_others_along(output, monkeypatch, status, told):
    def ends(case, processes, folder):
        if processes == 1:
            raise subprocess.CalledProcessError(status, "python")
        return dict.fromkeys(("weights", "gradients", "state", "peak", "cpu", "wall"), GIB)

    monkeypatch.setattr(many_classes, "WAYS", (FULL, PARTIAL))
    monkeypatch.setattr(many_classes, "in_fresh_process", ends)
    monkeypatch.setattr(many_classes, "available_memory", lambda: None)
    assert many_classes.main([*TINY, "--output", str(output)]) == 1
    full, partial = rows(output)
    assert full[6] == f"failed: {told}"
    assert partial[6] == "1.00"


def test_a_million_classes_fit_into_12_gib_and_not_into_9(monkeypatch):
    full = many_classes.needed(1_000_000, 512, 64, 1.0, 1)
    assert 4 * 1_000_000 * 512 * 4 < full
    for free, fits in ((12, True), (9, False)):
        monkeypatch.setattr(many_classes, "available_memory", lambda free=free: free * GIB)
        assert (full / GIB <= many_classes.permitted(16)) == fits
    assert many_classes.needed(1_000_000, 512, 64, 0.1, 2) < 0.7 * full


@pytest.mark.parametrize("files, expected", [
    ({}, None),
    ({"proc/meminfo": "MemTotal: 9 kB\nMemAvailable:   7 kB\n"}, 7 * 1024),
    ({"proc/meminfo": "MemAvailable: 7 kB\n", "sys/fs/cgroup/memory.max": "max\n"}, 7 * 1024),
    ({"proc/meminfo": "MemAvailable: 7 kB\n", "sys/fs/cgroup/memory.max": "5000\n",
      "sys/fs/cgroup/memory.current": "4500\n", "sys/fs/cgroup/memory.stat": "anon 4400\nfile 100\n"}, 600),
])  # fmt: skip
def test_free_memory_is_that_of_the_machine_or_of_the_container(tmp_path, files, expected):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert machine.available_memory(tmp_path) == expected
