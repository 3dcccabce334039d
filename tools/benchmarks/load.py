"""How many searches a second the page's service answers, and how long each waits.

    python tools/benchmarks/serve.py --work /tmp/serve --sizes 100000 1000000 --output docs/benchmarks-serve.md

A real server process (`tools/serve.py --no-model`) over synthetic vectors. Clients are threads of this process; each
sends its next search when it has the answer to the last one: "more like this" for a random figure, designs, 24 a page,
over HTTP on loopback with kept connections. No model runs, since how long a drawing takes to become a vector depends on
the model alone. The rows "in-process" are the same searches by calls, one after the other: what HTTP, JSON and waiting
cost is the difference.
"""

import argparse
import http.client
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.machine import describe
from benchmarks.synthetic_index import linked_copy, make_index
from fastreid.index import open_index
from fastreid.utils.command import at_least_one, entry_point
from fastreid.utils.files import atomic_write

ROOT = Path(__file__).resolve().parents[2]
PAGE = 24
HOST = "127.0.0.1"
HEADERS = {"Content-Type": "application/json"}
FILTERS = {
    "no filter": {},
    "before a date, 50 %": {"before": 20120101},
    "a class, 3 %": {"locarno": ["06"]},
}
CLIENTS = (1, 8, 32)
BUSY = 503


@dataclass(frozen=True)
class Load:
    """What some clients saw in some seconds: latency of each answer in seconds, and how many were told to come back."""

    latencies: np.ndarray
    busy: int
    seconds: float
    cpu_seconds: float = 0.0

    def row(self, name: str, clients: int | str) -> list[str]:
        if not len(self.latencies):
            return [name, str(clients), "0", "-", "-", "-", str(self.busy)]
        p50, p95, p99 = np.percentile(self.latencies, [50, 95, 99]) * 1000
        rate = len(self.latencies) / self.seconds
        return [name, str(clients), f"{rate:.1f}", f"{p50:.0f}", f"{p95:.0f}", f"{p99:.0f}", str(self.busy)]


@contextmanager
def running_server(index: Path, work: Path, port: int) -> Iterator[subprocess.Popen]:
    """A server process on ``port`` that has answered once; it ends with the block."""
    command = [sys.executable, ROOT / "tools/serve.py", "--index", index, "--port", port, "--no-model"]
    command += ["--state", work / "state"]
    with open(work / "server.log", "wb") as log:
        server = subprocess.Popen(list(map(str, command)), stdout=log, stderr=subprocess.STDOUT)
        try:
            _await(server, port, work)
            yield server
        finally:
            server.terminate()
            server.wait(30)


def _await(server: subprocess.Popen, port: int, work: Path) -> None:
    for _ in range(1200):
        if server.poll() is not None:
            raise RuntimeError(f"the server ended with status {server.returncode}; its words are in {work}/server.log")
        try:
            connection = http.client.HTTPConnection(HOST, port, timeout=60)
            connection.request("GET", "/api/status")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"the server did not answer within two minutes; its words are in {work}/server.log")


def body_of(figure_id: str, filter: dict) -> bytes:
    return json.dumps({"query": [{"figure": figure_id}], "filter": filter, "limit": PAGE}).encode()


class Client(threading.Thread):
    """Sends searches for figures ``ids`` until ``stop``."""

    def __init__(self, port: int, ids: Sequence[str], filter: dict, stop: threading.Event):
        super().__init__(daemon=True)
        self.connection = http.client.HTTPConnection(HOST, port, timeout=120)
        self.bodies = [body_of(name, filter) for name in ids]
        self.stop, self.latencies, self.busy, self.problem = stop, [], 0, ""

    def run(self) -> None:
        number = 0
        while not self.stop.is_set():
            body = self.bodies[number % len(self.bodies)]
            start = time.perf_counter()
            self.connection.request("POST", "/api/search", body, HEADERS)
            answer = self.connection.getresponse()
            text = answer.read()
            if answer.status == BUSY:
                self.busy += 1
                time.sleep(0.1)
            elif answer.status != 200:
                self.problem = f"{answer.status}: {text[:300]!r}"
                return
            else:
                self.latencies.append(time.perf_counter() - start)
                number += 1


def measure(port: int, clients: int, ids: Sequence[str], filter: dict, seconds: float) -> Load:
    """Let ``clients`` search for ``seconds``, after a search each that does not count."""
    stop = threading.Event()
    share = max(1, len(ids) // clients)
    threads = [Client(port, ids[i * share : (i + 1) * share] or ids, filter, stop) for i in range(clients)]
    for thread in threads:
        thread.connection.request("POST", "/api/search", thread.bodies[0], HEADERS)
    for thread in threads:
        thread.connection.getresponse().read()
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    stop.set()
    for thread in threads:
        thread.join()
    elapsed = time.perf_counter() - start
    problem = next((thread.problem for thread in threads if thread.problem), "")
    if problem:
        raise RuntimeError(f"the server answered {problem}")
    return Load(np.concatenate([thread.latencies for thread in threads]), sum(t.busy for t in threads), elapsed)


def in_process(index_path: Path, ids: Sequence[str], filter: dict, seconds: float) -> Load:
    """The same searches by calls, one after the other."""
    from fastreid.engine.search_request import SearchRequest
    from fastreid.engine.searcher import Searcher

    with open_index(str(index_path)) as index:
        searcher, latencies = Searcher(index), []
        start = time.perf_counter()
        for number in range(1 << 30):
            if time.perf_counter() - start > seconds and number > 1:
                break
            request = SearchRequest.from_json(json.loads(body_of(ids[number % len(ids)], filter)))
            before = time.perf_counter()
            searcher.search(request, {}).as_json()
            latencies.append(time.perf_counter() - before)
        # the first opens what all later ones share
        return Load(np.array(latencies[1:]), 0, sum(latencies[1:]))


class Writer(threading.Thread):
    """Adds ``batch`` figures in a commit, again and again, in a process of its own."""

    def __init__(self, index: Path, batch: int):
        super().__init__(daemon=True)
        code = (
            "import sys, time; sys.path[:0] = sys.argv[1:3]\n"
            "from benchmarks.synthetic_index import more_figures\n"
            "from fastreid.index import open_index\n"
            "with open_index(sys.argv[3], write=True) as index:\n"
            "    start = time.time()\n"
            "    while True:\n"
            "        seed = int(start * 1000) + index.info.version\n"
            "        print(index.add(*more_figures(index.info.dim, int(sys.argv[4]), seed)), flush=True)\n"
        )
        command = [sys.executable, "-c", code, ROOT / "tools", ROOT, index, batch]
        self.process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)
        self.commits = 0

    def run(self) -> None:
        for _ in self.process.stdout:
            self.commits += 1

    def stop(self) -> int:
        self.process.kill()
        self.process.wait()
        self.join()
        return self.commits


def table_of(path: Path, work: Path, port: int, args: argparse.Namespace) -> list[list[str]]:
    """All rows of one index."""
    with open_index(str(path)) as index:
        rng = np.random.default_rng(1)
        ids = index.figures(np.sort(rng.choice(index.info.figures, 512, replace=False)))["figure_id"].tolist()
        ids = [ids[i] for i in rng.permutation(len(ids))]
    rows = []
    for name, filter in FILTERS.items():
        rows.append(in_process(path, ids, filter, args.seconds).row(f"{name}, in-process", "-"))
        with running_server(path, work, port):
            for clients in args.clients:
                rows.append(measure(port, clients, ids, filter, args.seconds).row(name, clients))
    grown = path.with_name(path.name + "-grown")  # the index itself is measured again by the next run
    linked_copy(path, grown)
    with running_server(grown, work, port):
        writer = Writer(grown, args.batch)
        writer.start()
        loads = [(clients, measure(port, clients, ids, {}, args.seconds)) for clients in args.clients]
        seconds = sum(load.seconds for _, load in loads)
        rate = writer.stop() / seconds
        name = f"no filter, while a writer commits {rate:.1f} times a second, {args.batch} figures each"
        rows += [load.row(name, clients) for clients, load in loads]
    shutil.rmtree(grown)
    return rows


@entry_point()
def main(argv: Sequence[str] | None = None) -> None:
    from tabulate import tabulate

    parser = argparse.ArgumentParser(description="Measure the search service under load.")
    parser.add_argument("--work", type=Path, required=True, help="folder for indexes (4 GB for a million vectors)")
    parser.add_argument("--sizes", type=at_least_one, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--backends", nargs="+", default=["store", "faiss"])
    parser.add_argument("--clients", type=at_least_one, nargs="+", default=list(CLIENTS))
    parser.add_argument("--dim", type=at_least_one, default=512)
    parser.add_argument("--seconds", type=float, default=10, help="per row (default: %(default)s)")
    parser.add_argument("--batch", type=at_least_one, default=100, help="figures per commit of the writer")
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--output", type=Path, help="Markdown file; default: the terminal")
    args = parser.parse_args(argv)
    args.work.mkdir(parents=True, exist_ok=True)
    parts = ["| machine |  |\n| - | - |\n" + "\n".join(f"| {name} | {value} |" for name, value in describe("cpu"))]
    parts.append(f"Load of the machine before: {os.getloadavg()[0]:.1f}.")
    for size in args.sizes:
        for backend in args.backends:
            path = args.work / f"{backend}-{size}-{args.dim}"
            make_index(path, backend, size, args.dim)
            with open_index(str(path)) as index:
                kind = "exact" if index.info.exact else f"approximate, recall {dict(index.info.recall)}"
            rows = table_of(path, args.work, args.port, args)
            headers = ["search", "clients", "searches/s", "p50 ms", "p95 ms", "p99 ms", "503"]
            parts.append(f"### {size:,} vectors x {args.dim}, backend {backend} ({kind})")
            parts.append(tabulate(rows, headers, tablefmt="github", disable_numparse=True))
            print("\n\n".join(parts[-2:]), flush=True)
    text = "\n\n".join(parts) + "\n"
    if args.output:
        with atomic_write(args.output, "w") as file:
            file.write(text)
