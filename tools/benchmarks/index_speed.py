"""How quick and how complete the embedded indexes are: the exact store against faiss with its default.

    python tools/benchmarks/index.py --work /tmp/bench --sizes 100000 1000000 --output docs/benchmarks-index.md

Synthetic vectors in clusters (`benchmarks.synthetic_index`), queries made of rows with noise. Latencies are those of
calls in this process, one after the other; recall is against the exact store, over all queries, of the first 10 and of
the first 100. Opening, with one search, is in a process of its own; the memory is what it holds beside the mapped
vectors.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.machine import describe
from benchmarks.synthetic_index import fill, linked_copy
from fastreid.index import Filter, Index, create_index, open_index
from fastreid.index.faiss_index import AUTO, FaissIndex
from fastreid.index.recall import recall, sample_queries
from fastreid.utils.command import at_least_one, entry_point
from fastreid.utils.files import atomic_write

ROOT = Path(__file__).resolve().parents[2]
QUERIES = 256
SINGLE = 40  # queries that are timed one by one
BATCH = 32
DEPTH = 100
PAGE = 24  # results of the searches that are timed
FILTERS = {
    "none": None,
    "dates, about 50 %": Filter(before=20120101),
    "dates, about 10 %": Filter(since=20180601),
    "dates, about 1 %": Filter(since=20191101),
    "a class": Filter(locarno=("06",)),
}


def build(path: Path, size: int, dim: int) -> float:
    """Make the exact index unless it is there; return the seconds that it took, without those of making figures."""
    if (known := _known(path)) is not None:
        return known
    with create_index(str(path), dim=dim) as index:
        return _note(path, fill(index, size) + timed(index.compact))


def build_faiss(path: Path, exact: Path, factory: str) -> float:
    """Make a copy of the exact index one with faiss; return the seconds that this took."""
    if (known := _known(path)) is not None:
        return known
    linked_copy(exact, path)
    start = time.perf_counter()
    FaissIndex.take_over(str(path), factory=factory)
    with open_index(str(path), write=True) as index:
        index.compact()
    return _note(path, time.perf_counter() - start)


def _known(path: Path) -> float | None:
    """The seconds that an index took which was finished; else what is left of it is taken away."""
    note = path.with_suffix(".seconds")
    if note.exists():
        return float(note.read_text())
    shutil.rmtree(path, ignore_errors=True)
    return None


def _note(path: Path, seconds: float) -> float:
    path.with_suffix(".seconds").write_text(str(seconds))
    return seconds


def opened(path: Path) -> tuple[float, float]:
    """Return the seconds that a fresh process takes to open an index and search it once, and its memory in MiB.

    Memory is what the process holds for itself: without the vectors, which are mapped from their file.
    """
    code = (
        "import sys, time, numpy as np; sys.path.insert(0, sys.argv[1])\n"
        "from fastreid.index import open_index\n"
        "own = lambda: int(next(x for x in open('/proc/self/smaps_rollup') if x.startswith('Anonymous')).split()[1])\n"
        "before, start = own(), time.perf_counter()\n"
        "with open_index(sys.argv[2]) as index:\n"
        "    index.search(np.ones((1, index.info.dim), dtype=np.float32), 10)\n"
        "    print(time.perf_counter() - start, (own() - before) / 1024)\n"
    )
    command = [sys.executable, "-c", code, str(ROOT), str(path)]
    seconds, mebibytes = map(float, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    return seconds, mebibytes


def queries_of(index: Index, size: int) -> np.ndarray:
    rows = np.sort(np.random.default_rng(1).choice(size, QUERIES, replace=False))
    return sample_queries(index.vectors(rows), seed=1)


def timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def speed(index: Index, queries: np.ndarray, filter: Filter | None) -> tuple[float, float]:
    """Return the median milliseconds of single queries and the queries per second in batches."""
    index.search(queries[:1], PAGE, filter)  # what all later ones share is not timed
    single = [timed(lambda query=query: index.search(query[None], PAGE, filter)) for query in queries[:SINGLE]]
    batches = [queries[start : start + BATCH] for start in range(0, 4 * BATCH, BATCH)]
    seconds = sum(timed(lambda batch=batch: index.search(batch, PAGE, filter)) for batch in batches)
    return float(np.median(single)) * 1000, len(batches) * BATCH / seconds


def rows_of_size(work: Path, size: int, dim: int, factories: Sequence[str]) -> tuple[list[list[str]], list[list[str]]]:
    """Return the rows of both tables for one size: building, searching."""
    store = work / f"index-store-{size}-{dim}"
    built, searched, wanted = [], [], {}
    for factory in ("", *factories):
        backend, path = "store", store
        if factory:
            backend, path = "faiss", work / f"index-faiss-{factory.replace(',', '_')}-{size}-{dim}"
        seconds = build_faiss(path, store, factory) if factory else build(store, size, dim)
        opening, memory = opened(path)
        with open_index(str(path)) as index:
            queries, info = queries_of(index, size), index.info
            used = (index.snapshot.manifest.extra or {}).get("faiss", {})
            bytes_ = sum(file.stat().st_size for file in path.iterdir())
            told = f"{used['factory']}, width {used['width']}" if used else "exact"
            own = ", ".join(f"{name} {value}" for name, value in info.recall.items()) or "-"
            built.append([f"{size:,}", backend, told, f"{seconds:.0f}", f"{bytes_ / 2**20:,.0f}"])
            built[-1] += [f"{opening:.1f}", f"{memory:,.0f}", own]
            for name, filter in FILTERS.items():
                share = index.count(filter).figures / size
                found = index.search(queries, DEPTH, filter)
                wanted.setdefault(name, found.rows)  # of the store, which comes first
                recalls = [f"{recall(found.rows[:, :k], wanted[name][:, :k]):.4f}" for k in (10, DEPTH)]
                median, rate = speed(index, queries, filter)
                row = [f"{size:,}", f"{name} ({share:.1%})", used.get("factory", "exact"), _yes(found.exact)]
                searched.append([*row, f"{median:.1f}", f"{rate:.0f}", *recalls])
                print(*searched[-1], sep=" | ", flush=True)
    return built, searched


def _yes(exact: bool) -> str:
    return "yes" if exact else "no"


def report(args: argparse.Namespace, load: float, built: list[list[str]], searched: list[list[str]]) -> str:
    """Return all as Markdown."""
    from tabulate import tabulate

    _, _, *words = str(__doc__).strip().split("\n\n")
    command = f"python tools/benchmarks/index.py --work DIR --sizes {' '.join(map(str, args.sizes))} --dim {args.dim}"
    command += f" --factories {' '.join(args.factories)}"
    table = partial(tabulate, tablefmt="github", disable_numparse=True)
    build_headers = ["vectors", "backend", "kind", "build s", "disk MiB", "open s", "memory MiB"]
    build_headers.append("recall that it measured itself")
    headers = ["vectors", "filter (left)", "index", "exact", "one query, p50 ms", f"queries/s in batches of {BATCH}"]
    parts = ["# Indexes: speed and recall", *words, f"```\n{command}\n```"]
    parts.append("| machine |  |\n| - | - |\n" + "\n".join(f"| {name} | {value} |" for name, value in describe("cpu")))
    threads = os.environ.get("OMP_NUM_THREADS", "as many as cores")
    parts.append(
        f"Threads of BLAS and faiss: {threads}. Load of the machine before: {load:.1f}; other work beside it makes all "
        "times longer, most of all with several threads. The seconds of building are those of when an index was made; "
        "those of faiss come after those of the exact index, from which it is made."
    )
    parts += [f"## Building, {args.dim} numbers a vector", table(built, build_headers)]
    parts += [f"## Searching, {PAGE} results", table(searched, [*headers, "recall@10", f"recall@{DEPTH}"])]
    return "\n\n".join(parts) + "\n"


@entry_point()
def main(argv: Sequence[str] | None = None) -> None:
    """Make the indexes where they are not there yet, measure, and write two tables."""
    parser = argparse.ArgumentParser(description="Speed and recall of the embedded indexes.")
    parser.add_argument("--work", type=Path, required=True, help="folder for indexes (5 GB for a million vectors)")
    parser.add_argument("--sizes", type=at_least_one, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--dim", type=at_least_one, default=512)
    parser.add_argument("--factories", nargs="+", default=[AUTO], help="of faiss (default: %(default)s)")
    parser.add_argument("--output", type=Path, help="Markdown file; default: the terminal")
    args = parser.parse_args(argv)
    args.work.mkdir(parents=True, exist_ok=True)
    load = os.getloadavg()[0]
    built, searched = [], []
    for size in args.sizes:
        parts = rows_of_size(args.work, size, args.dim, args.factories)
        built, searched = built + parts[0], searched + parts[1]
    text = report(args, load, built, searched)
    if args.output:
        with atomic_write(args.output, "w") as file:
            file.write(text)
    else:
        print(text, end="")
