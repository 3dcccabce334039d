"""What collections of a million to a billion figures need, extrapolated from what was measured on one machine.

    python tools/benchmarks/capacity.py --index docs/benchmarks-index-10m.md --images-per-second 20

Each number is the measured one of the largest index in the file, taken further by a rule that the table names. It says
of which order the machines are; whoever buys some should measure again at a tenth of the size.
"""

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fastreid.utils.command import at_least_one, entry_point
from fastreid.utils.files import atomic_write

SIZES = (10**6, 10**7, 10**8, 10**9)
NAMES = ("1 M", "10 M", "100 M", "1 B")
MIB, GIB, HOUR = 2**20, 2**30, 3600


@dataclass(frozen=True)
class Measured:
    """The largest index of a kind: figures, seconds to build and open, bytes on disk and in memory, ms of a search."""

    size: int
    build: float
    open: float
    disk: float
    memory: float
    search: float


def tables_of(text: str) -> list[list[dict[str, str]]]:
    """Return the tables of a Markdown text, each a list of rows by the names of their columns."""
    found, header = [], None
    for line in text.splitlines():
        if not line.startswith("|"):
            header = None
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if header is None:
            header = cells
            found.append([])
        elif set("".join(cells)) - set("-: "):
            found[-1].append(dict(zip(header, cells, strict=True)))
    return found


def measured_of(path: Path) -> dict[str, Measured]:
    """Return the largest exact and the largest approximate index of a file that ``index.py`` wrote.

    Raises:
        ValueError: the file has none of them.
    """
    tables = tables_of(path.read_text(encoding="utf-8"))
    built = [row for table in tables for row in table if "disk MiB" in row]
    searched = [row for table in tables for row in table if "one query, p50 ms" in row]
    found = {}
    for kind in ("exact", "approximate"):
        rows = [row for row in built if (row["kind"] == "exact") == (kind == "exact")]
        if not rows:
            raise ValueError(f"{path} has no {kind} index: tools/benchmarks/index.py writes such a file")
        row = max(rows, key=lambda row: _number(row["vectors"]))
        name = row["kind"].split(", width")[0]
        time = next(
            each["one query, p50 ms"] for each in searched
            if each["vectors"] == row["vectors"] and each["index"] == name and each["filter (left)"].startswith("none")
        )  # fmt: skip
        disk, memory = (_number(row[column]) * MIB for column in ("disk MiB", "memory MiB"))
        found[kind] = Measured(
            int(_number(row["vectors"])), _number(row["build s"]), _number(row["open s"]), disk, memory, float(time)
        )
    return found


def _number(text: str) -> float:
    return float(text.replace(",", ""))


def rows_of(measured: dict[str, Measured], images_per_second: float, side: int, node: float) -> list[list[str]]:
    """Return the rows of the table: what, how it was taken further, and a number for each size."""
    exact, ann = measured["exact"], measured["approximate"]

    def row(what: str, rule: str, value: Callable[[float], str]) -> list[str]:
        return [what, rule, *(value(size) for size in SIZES)]

    def linear(value: float, of: Measured, show: Callable[[float], str]) -> Callable[[float], str]:
        return lambda size: show(value * size / of.size)

    def memory(size: float) -> float:
        return ann.memory * size / ann.size

    pace = images_per_second
    return [
        row(f"image cache, {side} x {side} grey", "bytes x figures", lambda size: _bytes(side * side * size)),
        row("features on one such machine", "linear", lambda size: _time(size / pace)),
        row("features on 100 of them", "linear, shards are independent", lambda size: _time(size / pace / 100)),
        row("index on disk, exact", "linear", linear(exact.disk, exact, _bytes)),
        row("index on disk, with faiss", "linear", linear(ann.disk, ann, _bytes)),
        row("memory of a search process, exact", "linear, vectors are mapped", linear(exact.memory, exact, _bytes)),
        row("memory of a search process, faiss", "linear", lambda size: _bytes(memory(size))),
        row("building, exact", "linear", linear(exact.build, exact, _time)),
        row("building, faiss, after that", "N^1.5: as there are sqrt(N) lists",
            lambda size: _time(ann.build * (size / ann.size) ** 1.5)),
        row("opening (checksums of all files)", "linear", linear(exact.open, exact, _time)),
        row("one search, exact", "linear", linear(exact.search / 1000, exact, _time)),
        row("one search, faiss", "linear, as many shares of the lists", linear(ann.search / 1000, ann, _time)),
        row(f"machines of {node:g} GiB, codes and columns in memory", "memory / three quarters of a machine's",
            lambda size: f"{max(1, math.ceil(memory(size) / (0.75 * node * GIB))):,}"),
        row(f"machines of {node:g} GiB, vectors in memory too", "the same with the index on disk",
            lambda size: f"{max(1, math.ceil((memory(size) + ann.disk * size / ann.size) / (0.75 * node * GIB))):,}"),
    ]  # fmt: skip


def _bytes(value: float) -> str:
    for unit, factor in (("TiB", 2**40), ("GiB", GIB)):
        if value >= factor:
            return f"{_short(value / factor)} {unit}"
    return f"{_short(value / MIB)} MiB"


def _time(seconds: float) -> str:
    for unit, factor in (("days", 24 * HOUR), ("h", HOUR), ("min", 60)):
        if seconds >= 2 * factor:
            return f"{_short(seconds / factor)} {unit}"
    return f"{_short(seconds)} s" if seconds >= 1 else f"{_short(1000 * seconds)} ms"


def _short(value: float) -> str:
    """Three digits, and all of those before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


@entry_point()
def main(argv: Sequence[str] | None = None) -> None:
    """Read what was measured and write the table."""
    from tabulate import tabulate

    parser = argparse.ArgumentParser(description="What collections of a million to a billion figures need.")
    parser.add_argument("--index", type=Path, required=True, metavar="FILE.md", help="written by index.py")
    parser.add_argument(
        "--images-per-second", type=float, required=True, help="of feature extraction, as throughput.py measured it"
    )
    parser.add_argument("--side", type=at_least_one, default=256, help="of a cached image (default: %(default)s)")
    parser.add_argument("--node", type=float, default=64, help="GiB of memory of a machine (default: %(default)s)")
    parser.add_argument("--output", type=Path, help="Markdown file; default: the terminal")
    args = parser.parse_args(argv)
    if not 0 < args.images_per_second < math.inf:
        raise ValueError(f"--images-per-second must be above 0; got {args.images_per_second}")
    measured = measured_of(args.index)
    rows = rows_of(measured, args.images_per_second, args.side, args.node)
    basis = ", ".join(f"{name} at {each.size:,} figures" for name, each in measured.items())
    text = tabulate(rows, ["", "rule", *NAMES], "github", disable_numparse=True)
    text += f"\n\nMeasured: {basis}; features {args.images_per_second:g} images a second.\n"
    if args.output:
        with atomic_write(args.output, "w") as file:
            file.write(text)
    else:
        print(text, end="")
