"""One version of an embedded index as a process holds it: columns in memory, vectors mapped from their files."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastreid.index.errors import IndexCorrupt
from fastreid.index.scan import BLOCK_NUMBERS, Block
from fastreid.index.store_files import WHAT_NOW, check_files, read_columns
from fastreid.index.store_manifest import Manifest
from fastreid.index.table import Table

FEW_SHARE = 8  # permitted rows are gathered when they are fewer than one in so many, else all blocks are read
COPIED = 0.4  # share of permitted rows below which copying them is quicker than scoring the others too
SMALL_BYTES = 1 << 20  # vectors of a segment that are read and joined to others; a process may map 65,530 files only
TRIES = 20  # to open an index while a compaction takes its files away


@dataclass(frozen=True)
class Snapshot:
    """One version of an index as a reader holds it; files that are deleted meanwhile stay readable to it.

    Attributes:
        vectors: float32 (n, D) each, in the order of the rows: a mapped segment, or several small ones joined.
        starts: places at which those begin, and the end of the last one.
    """

    manifest: Manifest
    table: Table
    vectors: tuple[np.ndarray, ...]
    starts: np.ndarray

    def gather(self, places: np.ndarray) -> np.ndarray:
        """Return the vectors at some places, float32 (n, D)."""
        found = np.empty((len(places), self.manifest.info.dim), dtype=np.float32)
        segments = np.searchsorted(self.starts, places, side="right") - 1
        for number in np.unique(segments):
            here = segments == number
            found[here] = self.vectors[number][places[here] - self.starts[number]]
        return found

    def blocks(self, mask: np.ndarray | None = None) -> Iterator[Block]:
        """Yield places, rising, with their vectors: all, or those of a mask (N,) with others, whose place is -1."""
        step = max(1, BLOCK_NUMBERS // max(1, self.manifest.info.dim))
        if mask is not None and np.count_nonzero(mask) * FEW_SHARE <= len(mask):
            places = np.flatnonzero(mask)
            for start in range(0, len(places), step):
                part = places[start : start + step]
                yield part, self.gather(part)
            return
        for begin, vectors in zip(self.starts[:-1].tolist(), self.vectors, strict=True):
            for start in range(0, len(vectors), step):
                block = vectors[start : start + step]
                places = np.arange(begin + start, begin + start + len(block))
                if mask is not None:
                    good = mask[places[0] : places[-1] + 1]
                    count = np.count_nonzero(good)
                    if count < COPIED * len(good):
                        places, block = places[good], block[good]
                    elif count < len(good):
                        places = np.where(good, places, -1)
                if len(places):
                    yield places, block


def load_newest(folder: Path, known: Snapshot | None = None) -> Snapshot:
    """Check and load the newest version; where a compaction has just taken its files away, the one after it.

    Raises:
        FileNotFoundError: there is no index.
        IndexCorrupt: a file that ``known``, an earlier version, does not have is damaged or missing.
    """
    for _ in range(TRIES):
        manifest = Manifest.read(folder)
        try:
            old = set() if known is None else {entry["name"] for entry in known.manifest.entries()}
            check_files(folder, [entry for entry in manifest.entries() if entry["name"] not in old])
            return load_snapshot(folder, manifest, known)
        except FileNotFoundError as error:
            if Manifest.read(folder) == manifest:
                raise IndexCorrupt(f"{error.filename} is missing. {WHAT_NOW}") from error
    raise IndexCorrupt(f"the index at '{folder}' changes faster than it can be opened")


def load_snapshot(folder: Path, manifest: Manifest, known: Snapshot | None = None) -> Snapshot:
    """Map and read what ``known``, an earlier version, does not have."""
    if known is None or not _extends(manifest, known.manifest):
        old, table, vectors = Manifest(manifest.info), Table.empty(), []
    else:
        old, table, vectors = known.manifest, known.table, list(known.vectors)
    try:
        new = manifest.segments[len(old.segments) :]
        if new:
            mapped = [_mapped(folder / one["vectors"]["name"], one["rows"], manifest.info.dim) for one in new]
            vectors = _joined([*vectors, *mapped])
            table = table.extended([read_columns(folder / one["columns"]["name"]) for one in new])
        removals = manifest.removed[len(old.removed) :]
        if removals:
            lists = [(np.load(folder / one["name"], allow_pickle=False), one["version"]) for one in removals]
            table = table.without(lists)
    except FileNotFoundError:
        raise
    except (ValueError, KeyError, OSError) as error:
        raise IndexCorrupt(f"the index at '{folder}' is damaged: {error}. {WHAT_NOW}") from error
    starts = np.concatenate([[0], np.cumsum([len(part) for part in vectors])]).astype(np.int64)
    if starts[-1] != len(table):
        raise IndexCorrupt(
            f"the index at '{folder}' is damaged: {starts[-1]} vectors of {len(table)} figures. {WHAT_NOW}"
        )
    return Snapshot(manifest, table, tuple(vectors), starts)


def _extends(manifest: Manifest, old: Manifest) -> bool:
    """Whether a version only adds to an earlier one, so that what is held of that one can stay."""
    names = [segment["vectors"]["name"] for segment in manifest.segments[: len(old.segments)]]
    return names == [segment["vectors"]["name"] for segment in old.segments] and (
        manifest.removed[: len(old.removed)] == old.removed
    )


def _mapped(path: Path, rows: int, dim: int) -> np.ndarray:
    """Return the vectors of a segment, float32 (rows, dim): mapped, or read if they are few."""
    small = 4 * rows * dim < SMALL_BYTES
    vectors = np.load(path, mmap_mode=None if small else "r", allow_pickle=False)
    if vectors.shape != (rows, dim) or vectors.dtype != np.float32:
        raise ValueError(f"{os.fspath(path)} holds {vectors.dtype} {vectors.shape} instead of float32 ({rows}, {dim})")
    return vectors.view(np.ndarray)


def _joined(parts: list[np.ndarray]) -> list[np.ndarray]:
    """Return the vectors with neighbours that are small made one, up to ``SMALL_BYTES`` each; mapped ones stay."""
    runs: list[list[np.ndarray]] = []
    size = SMALL_BYTES
    for part in parts:
        if size + part.nbytes >= SMALL_BYTES:
            runs.append([])
            size = 0
        runs[-1].append(part)
        size += part.nbytes
    return [run[0] if len(run) == 1 else np.concatenate(run) for run in runs]
