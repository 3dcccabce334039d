"""What an approximate index costs and loses beside the exact one: build, size, speed, recall under filters.

    python tools/benchmarks/index.py --work /tmp/index --sizes 100000 1000000 --output docs/benchmarks-index.md

Synthetic clustered vectors, seven figures a patent. A query is a figure with noise of 0.3 of its length, drawn with
another seed than those on which a faiss index is tuned. Dates are independent of the looks; the classes are regions of
the space, so that most queries look like nothing that a class filter permits, the hardest case for an index that
looks near the query only. Recall is that of the exact store's results, over all queries.
"""

import argparse
import multiprocessing
import os
import shutil
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.machine import describe
from benchmarks.synthetic_index import BATCH, figures_of, vectors_of
from fastreid.index import Figures, Filter, Index, create_index, open_index
from fastreid.index.recall import recall, sample_queries
from fastreid.utils.command import at_least_one, entry_point
from fastreid.utils.files import atomic_write

CLASSES = 32
DEPTHS = (10, 100)
SEED = 20_000  # of the queries
BATCH_QUERIES = 64


@dataclass(frozen=True)
class Built:
    """What building took: wall and CPU seconds of adding and compacting, bytes of the folder, and of private memory."""

    seconds: float
    cpu_seconds: float
    disk: int
    memory: int

    def row(self, name: str) -> list[str]:
        memory = f"{self.memory / 2**30:.1f}" if self.memory else "unknown"
        return [name, f"{self.seconds:.0f}", f"{self.cpu_seconds:.0f}", f"{self.disk / 2**20:,.0f}", memory]


def regions(vectors: np.ndarray, pids: np.ndarray) -> np.ndarray:
    """Return a class, 1..`CLASSES` (n,), for each figure: the anchor that its patent's first figure is nearest to."""
    anchors = np.random.default_rng(SEED).standard_normal((CLASSES, vectors.shape[1]), dtype=np.float32)
    _, first = np.unique(pids, return_index=True)
    classes = np.empty(len(first), dtype=np.int64)
    for start in range(0, len(first), 8192):
        classes[start : start + 8192] = 1 + np.argmax(vectors[first[start : start + 8192]] @ anchors.T, axis=1)
    return classes[pids - pids[0]]


def build(path: Path, data: Path, backend: str, sender) -> None:
    """Make the index of ``data`` in a process of its own; send what it took."""
    vectors, classes = np.load(data / "vectors.npy", mmap_mode="r"), np.load(data / "classes.npy")
    pids = np.load(data / "pids.npy")
    with PeakMemory() as peak:
        start = time.perf_counter(), time.process_time()
        with create_index(os.fspath(path), backend, dim=vectors.shape[1]) as index:
            for first in range(0, len(pids), BATCH):
                part = slice(first, first + BATCH)
                columns = dict(figures_of(pids[part], f"P{first // BATCH:03d}-").columns)
                columns["locarno"] = [f"{one:02d}" for one in classes[part]]
                index.add(Figures(columns), vectors[part])
            index.compact()
        took = time.perf_counter() - start[0], time.process_time() - start[1]
    disk = sum(file.stat().st_size for file in path.iterdir())
    sender.send(Built(*took, disk, peak.bytes))


class PeakMemory(threading.Thread):
    """The highest private memory of this process while the block runs, looked at ten times a second; 0 if unknown."""

    def __init__(self):
        super().__init__(daemon=True)
        self.bytes, self._ended = 0, threading.Event()

    def run(self) -> None:
        while not self._ended.wait(0.1):
            self.bytes = max(self.bytes, private_memory())

    def __enter__(self) -> "PeakMemory":
        self.start()
        return self

    def __exit__(self, *_) -> None:
        self._ended.set()
        self.join()


def private_memory() -> int:
    """Bytes of this process that are no mapped file, which the system can drop; 0 where it does not say."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:")), 0)


def make_data(folder: Path, count: int, dim: int) -> None:
    """Write vectors, patents and classes once."""
    if (folder / "classes.npy").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    pids, vectors = vectors_of(count, dim)
    np.save(folder / "pids.npy", pids)
    np.save(folder / "vectors.npy", vectors)
    np.save(folder / "classes.npy", regions(vectors, pids))


def filters_of(index: Index) -> dict[str, Filter | None]:
    """Filters by what they leave: the newest figures, the figures of the largest classes, both together."""
    rows = np.random.default_rng(SEED).choice(index.info.figures, min(20_000, index.info.figures), replace=False)
    dates = np.sort(index.figures(rows)["date"])
    newest = [Filter(since=int(dates[int(len(dates) * (1 - share))])) for share in (0.5, 0.1, 0.01)]
    sizes = sorted(((one.figures, name) for name, one in index.facets()["class"].items()), reverse=True)
    classes = [tuple(name for _, name in sizes[:number]) for number in (1, 4)]
    found: dict[str, Filter | None] = {"none, 100 %": None}
    found |= {f"newest, {left(index, filter)}": filter for filter in newest}
    for names in classes:
        filter = Filter(locarno=names)
        found[f"{len(names)} class{'es' * (len(names) > 1)}, {left(index, filter)}"] = filter
    filter = Filter(locarno=classes[1], since=newest[0].since)
    found[f"4 classes, newest, {left(index, filter)}"] = filter
    return found


def left(index: Index, filter: Filter) -> str:
    return f"{100 * index.count(filter).figures / index.info.figures:.2g} %"


def ask(
    index: Index, queries: np.ndarray, filter: Filter | None, singles: int
) -> tuple[np.ndarray, float, float, bool]:
    """Return rows (Q, 100) of all queries, p50 of single queries in seconds, queries a second, and exactness."""
    found = index.search(queries[:1], DEPTHS[-1], filter)  # loads what later ones share
    times = []
    for place in range(singles):
        start = time.perf_counter()
        index.search(queries[place : place + 1], DEPTHS[0], filter)
        times.append(time.perf_counter() - start)
    start = time.perf_counter()
    blocks = [
        index.search(queries[first : first + BATCH_QUERIES], DEPTHS[-1], filter)
        for first in range(0, len(queries), BATCH_QUERIES)
    ]
    rate = len(queries) / (time.perf_counter() - start)
    rows = np.concatenate([block.rows for block in blocks])
    return rows, float(np.median(times)), rate, found.exact


def compare(paths: dict[str, Path], count: int, singles: int) -> list[list[str]]:
    """Rows of the table of searches; the first index is exact, and the one that the others are compared with."""
    rows, indexes = [], {name: open_index(os.fspath(path)) for name, path in paths.items()}
    exact = next(iter(indexes.values()))
    chosen = np.sort(np.random.default_rng(SEED).choice(exact.info.figures, count, replace=False))
    queries = sample_queries(exact.vectors(chosen), SEED)
    for words, filter in filters_of(exact).items():
        wanted = None
        for name, index in indexes.items():
            found, p50, rate, was_exact = ask(index, queries, filter, singles)
            wanted = found if wanted is None else wanted
            recalls = [f"{recall(found[:, :depth], wanted[:, :depth]):.4f}" for depth in DEPTHS]
            how = "exact" if was_exact else "approximate"
            rows.append([words, name, how, f"{p50 * 1000:.1f}", f"{rate:.0f}", *recalls])
            print(" | ".join(rows[-1]), flush=True)
    for index in indexes.values():
        index.close()
    return rows


def measure(work: Path, size: int, args: argparse.Namespace) -> list[str]:
    """Return the Markdown parts of one size."""
    from tabulate import tabulate

    data = work / f"data-{size}-{args.dim}"
    make_data(data, size, args.dim)
    paths, built, words = {}, [], []
    for backend in ("store", "faiss"):
        paths[backend] = work / f"index-{backend}-{size}-{args.dim}"
        shutil.rmtree(paths[backend], ignore_errors=True)
        receiver, sender = multiprocessing.Pipe(False)
        process = multiprocessing.get_context("spawn").Process(
            target=build, args=(paths[backend], data, backend, sender)
        )
        process.start()
        sender.close()
        try:
            built.append(receiver.recv().row(backend))
        except EOFError:
            raise RuntimeError(f"building the index {backend} failed; its words are above") from None
        process.join()
        print(" | ".join(built[-1]), flush=True)
    with open_index(os.fspath(paths["faiss"])) as index:
        info = index.info
        words.append(f"faiss: {dict(info.options)}; recall as it measured itself: {dict(info.recall) or 'exact'}.")
    load = f"Load of the machine: {os.getloadavg()[0]:.1f} of {os.cpu_count()} cores before the searches."
    searches = compare(paths, args.queries, args.singles)
    first = ["index", "build s", "CPU s", "MiB on disk", "private memory, GiB"]
    second = ["filter, what it leaves", "index", "search was", "p50 ms", "queries/s", *(f"recall@{d}" for d in DEPTHS)]
    return [
        f"### {size:,} vectors x {args.dim}",
        tabulate(built, first, tablefmt="github", disable_numparse=True),
        *words,
        load,
        tabulate(searches, second, tablefmt="github", disable_numparse=True),
    ]


@entry_point()
def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description="Measure exact and approximate indexes: build, size, speed, recall.",
        epilog="p50 is of single queries with k = 10, queries/s of blocks of 64 with k = 100.",
    )
    parser.add_argument("--work", type=Path, required=True, help="folder (9 GB for a million vectors)")
    parser.add_argument("--sizes", type=at_least_one, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--dim", type=at_least_one, default=512)
    parser.add_argument("--queries", type=at_least_one, default=256)
    parser.add_argument("--singles", type=at_least_one, default=30, help="queries that are timed one by one")
    parser.add_argument("--output", type=Path, help="Markdown file; default: the terminal")
    args = parser.parse_args(argv)
    if args.singles > args.queries:
        raise ValueError(f"--singles must be at most --queries, {args.queries}; got {args.singles}")
    machine = "| machine |  |\n| - | - |\n" + "\n".join(f"| {name} | {value} |" for name, value in describe("cpu"))
    parts = [machine]
    for size in args.sizes:
        parts += measure(args.work, size, args)
    text = "\n\n".join(parts) + "\n"
    if args.output:
        with atomic_write(args.output, "w") as file:
            file.write(text)
    else:
        print(text)
