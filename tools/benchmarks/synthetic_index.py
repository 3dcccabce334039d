"""Indexes of synthetic figures to measure on: clustered vectors, seven figures a patent, with dates and classes."""

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.data import clustered_blocks
from fastreid.index import Figures, Index, create_index
from fastreid.utils.locarno import CLASS_NAMES

FIGURES_PER_PATENT = 7
SPREAD = 1.3  # of the images of an identity; see `data`
BATCH = 50_000  # figures per commit
VIEWS = ("perspective", "front", "rear", "left", "right", "top", "bottom")
OFFICES = ("US", "EM", "WO", "JP", "KR", "CN")
YEARS = (2004, 2019)  # first and last, grants spread evenly


def figures_of(pids: np.ndarray, prefix: str) -> Figures:
    """Metadata of the figures of patents ``pids`` (n,), which follows from the numbers alone."""
    rows = []
    for place, pid in enumerate(pids.tolist()):
        mixed = pid * 2654435761 % 2**32
        year = YEARS[0] + mixed % (YEARS[1] - YEARS[0] + 1)
        number = place % FIGURES_PER_PATENT
        rows.append(
            {
                "figure_id": f"{prefix}{pid}/D{place:07d}.png",
                "patent": f"{prefix}{pid}",
                "figure": str(number + 1),
                "view": VIEWS[number],
                "title": f"Article {mixed // 7 % 997}",
                "locarno": f"{1 + mixed // 16 % len(CLASS_NAMES):02d}-{1 + mixed // 512 % 9:02d}",
                "date": year * 10000 + (1 + mixed // 4096 % 12) * 100 + 1 + mixed // 65536 % 28,
                "office": OFFICES[mixed // 3 % len(OFFICES)],
                "path": f"{prefix}{pid}/D{place:07d}.png",
            }
        )
    return Figures.of(rows)


def batches_of(count: int, dim: int, seed: int = 0) -> Iterator[tuple[Figures, np.ndarray]]:
    """Yield figures and their unit vectors, float32 (n, dim), a commit at a time: they need not fit into memory."""
    pids = np.arange(count) // FIGURES_PER_PATENT
    blocks = clustered_blocks(pids, dim, SPREAD, np.random.default_rng(seed), BATCH)
    for number, vectors in enumerate(blocks):
        yield figures_of(pids[number * BATCH : (number + 1) * BATCH], f"P{number:03d}-"), vectors


def more_figures(dim: int, count: int, seed: int) -> tuple[Figures, np.ndarray]:
    """Return figures that no index of `make_index` has, for a writer."""
    vectors = np.random.default_rng(seed).standard_normal((count, dim), dtype=np.float32)
    return figures_of(np.arange(count) // FIGURES_PER_PATENT, f"N{seed}-"), vectors


def make_index(path: Path, backend: str, count: int, dim: int, **options) -> None:
    """Make the index at ``path`` once; one that was not finished is made anew."""
    done = path.with_name(path.name + ".done.json")
    wanted = {"backend": backend, "count": count, "dim": dim, "options": options}
    if done.exists() and json.loads(done.read_text()) == wanted:
        return
    shutil.rmtree(path, ignore_errors=True)
    with create_index(os.fspath(path), backend, dim=dim, **options) as index:
        fill(index, count)
        index.compact()
    done.write_text(json.dumps(wanted))


def linked_copy(path: Path, copy: Path) -> None:
    """Copy an index in a folder. Its files never change, so the copy shares them and takes no room of its own."""
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(path, copy, copy_function=os.link, ignore=shutil.ignore_patterns("*.lock"))


def fill(index: Index, count: int) -> float:
    """Add all figures, batch by batch; return the seconds that adding took, without making them."""
    seconds = 0.0
    for figures, vectors in batches_of(count, index.info.dim):
        start = time.perf_counter()
        index.add(figures, vectors)
        seconds += time.perf_counter() - start
    return seconds
