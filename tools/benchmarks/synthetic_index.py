"""Indexes of synthetic figures to measure on: clustered vectors, seven figures a patent, with dates and classes."""

import json
import os
import shutil
from pathlib import Path

import numpy as np

from benchmarks.data import clustered
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


def vectors_of(count: int, dim: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return patent numbers, int64 (count,), and their unit vectors, float32 (count, dim)."""
    pids = np.arange(count) // FIGURES_PER_PATENT
    return pids, clustered(pids, dim, SPREAD, np.random.default_rng(seed))


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
    pids, vectors = vectors_of(count, dim)
    with create_index(os.fspath(path), backend, dim=dim, **options) as index:
        fill(index, pids, vectors)
        index.compact()
    done.write_text(json.dumps(wanted))


def fill(index: Index, pids: np.ndarray, vectors: np.ndarray) -> None:
    """Add all figures, batch by batch."""
    for start in range(0, len(pids), BATCH):
        part = pids[start : start + BATCH]
        figures = figures_of(part, f"P{start // BATCH:03d}-")
        index.add(figures, vectors[start : start + BATCH])
