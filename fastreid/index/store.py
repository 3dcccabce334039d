"""The embedded index: a folder of memory-mapped vectors with their metadata, searched exactly.

``manifest.json`` names the files that count. A commit writes new files, flushes them to the disk and then puts a new
manifest in the place of the old one, so that a reader, or whoever comes after a killed writer, finds the last version
whole.
"""

import contextlib
import json
import os
import threading
import uuid
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from fastreid.index.base import (
    INDEX_REGISTRY,
    METRICS,
    Count,
    Index,
    IndexInfo,
    Neighbours,
    exact_scores,
    require_vectors,
)
from fastreid.index.errors import IndexCorrupt, IndexLocked, VersionGone
from fastreid.index.figures import Figures
from fastreid.index.filters import Filter
from fastreid.index.open import MANIFEST
from fastreid.index.scan import BLOCK_NUMBERS, Block, search_blocks
from fastreid.index.store_files import (
    WHAT_NOW,
    check_files,
    read_columns,
    sync_folder,
    write_columns,
    write_file,
)
from fastreid.index.table import Table
from fastreid.utils.errors import nearest, require_choice, require_whole
from fastreid.utils.files import atomic_write, hold_lock

FORMAT = 1
LOCK = "writer.lock"
FEW_SHARE = 8  # permitted rows are gathered when they are fewer than one in so many, else all blocks are read
MASKS = 8  # filters whose permitted rows are kept
TRIES = 20  # to open an index while a compaction takes its files away
CHANGEABLE = ("config", "weights_path", "image_root", "options")


@dataclass(frozen=True)
class Manifest:
    """What ``manifest.json`` says.

    Attributes:
        segments: in the order of their rows, each ``{"columns": entry, "vectors": entry, "rows": n}``.
        removed: entries of the lists of removed rows, one per commit that removed some.
        next_row: number of the next new row.
        extra: entries of further files by name, those of a backend that builds on this one.
    """

    info: IndexInfo
    segments: tuple[Mapping[str, Any], ...] = ()
    removed: tuple[Mapping[str, Any], ...] = ()
    next_row: int = 0
    extra: Mapping[str, Mapping[str, Any]] | None = None

    def entries(self) -> list[Mapping[str, Any]]:
        """Return the entries of all files."""
        of_segments = [segment[part] for segment in self.segments for part in ("columns", "vectors")]
        return [*of_segments, *self.removed, *(self.extra or {}).values()]

    def as_text(self) -> str:
        values = {
            "format": FORMAT,
            "backend": self.info.backend,
            "info": self.info.as_json(),
            "segments": self.segments,
        }
        values |= {"removed": self.removed, "next_row": self.next_row, "extra": self.extra or {}}
        return json.dumps({**values, "crc32": _crc32(values)}, indent=1)

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        path = folder / MANIFEST
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            checksum = values.pop("crc32", None)
            if values["format"] != FORMAT:
                raise IndexCorrupt(
                    f"{path} has format {values['format']}, this version reads {FORMAT}: use the version of fastreid "
                    "that wrote it, or build the index again"
                )
            if checksum != _crc32(values):
                raise IndexCorrupt(f"{path} is damaged: its checksum is wrong. {WHAT_NOW}")
            parts = {name: tuple(values[name]) for name in ("segments", "removed")}
            manifest = cls(IndexInfo(**values["info"]), **parts, next_row=values["next_row"], extra=values["extra"])
            manifest.entries()
        except FileNotFoundError:
            raise FileNotFoundError(
                f"No index at '{folder}': {path} is missing. tools/build_index.py makes one"
            ) from None
        except IndexCorrupt:
            raise
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise IndexCorrupt(f"{path} is damaged: {error}. {WHAT_NOW}") from error
        return manifest


@dataclass(frozen=True)
class Snapshot:
    """One version of an index as a reader holds it; files that are deleted meanwhile stay readable to it.

    Attributes:
        vectors: of each segment, float32 (n, D), memory-mapped.
        starts: places at which the segments begin, and the end of the last one.
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
        """Yield places, rising, with their vectors: all, or those of a mask (N,)."""
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
                    if not good.all():
                        places, block = places[good], block[good]
                yield places, block


@INDEX_REGISTRY.register(name="store")
class Store(Index):
    """An index in a folder. Searches are exact: a scan of the permitted vectors."""

    name = "store"

    def __init__(self, folder: Path, snapshot: Snapshot, lock: contextlib.ExitStack | None = None):
        self.folder, self._snapshot, self._lock = folder, snapshot, lock
        self._masks: OrderedDict[tuple, np.ndarray] = OrderedDict()
        self._guard = threading.Lock()

    # -- opening ---------------------------------------------------------------------------------------------------

    @classmethod
    def create(cls, uri: str, *, dim: int, metric: str = "cosine", model: Mapping[str, Any] | None = None,
               config: str = "", weights_path: str = "", image_root: str = "", **options: Any) -> "Store":  # fmt: skip
        require_whole("dim of an index", dim, 1)
        require_choice("metric of an index", metric, METRICS)
        cls.check_options(options)
        folder = Path(uri)
        folder.mkdir(parents=True, exist_ok=True)
        lock = _locked(folder)
        try:
            if (folder / MANIFEST).exists():
                raise FileExistsError(f"There is an index at '{folder}' already")
            now = _now()
            info = IndexInfo(
                uuid.uuid4().hex, 1, 1, cls.name, dim, metric, 0, 0, now, now, dict(model or {}), config, weights_path,
                image_root, options,
            )  # fmt: skip
            manifest = Manifest(info)
            _put(folder, manifest)
            return cls(folder, load_snapshot(folder, manifest), lock)
        except BaseException:
            lock.close()
            raise

    @classmethod
    def check_options(cls, options: Mapping[str, Any]) -> None:
        """Refuse options that this backend does not have."""
        if options:
            raise TypeError(f"the backend '{cls.name}' has no option '{next(iter(options))}'")

    @classmethod
    def open(cls, uri: str, write: bool = False) -> "Store":
        folder = Path(uri)
        lock = None
        if write:
            Manifest.read(folder)  # says that there is no index before it makes a lock in its folder
            lock = _locked(folder)
        try:
            store = cls(folder, _open(folder), lock)
            if write:
                store.sweep()
            return store
        except BaseException:
            if lock is not None:
                lock.close()
            raise

    @classmethod
    def drop_extra(cls, uri: str) -> None:
        """Commit a version without the files of the backend that builds on this one, when they cannot be opened."""
        folder = Path(uri)
        with _locked(folder):
            manifest = Manifest.read(folder)
            info = replace(manifest.info, version=manifest.info.version + 1, changed=_now(), recall={})
            _put(folder, replace(manifest, info=info, extra={}))

    def close(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    @property
    def info(self) -> IndexInfo:
        return self._snapshot.manifest.info

    @property
    def snapshot(self) -> Snapshot:
        """The version that searches see."""
        return self._snapshot

    def refresh(self) -> bool:
        old = self._snapshot
        manifest = Manifest.read(self.folder)
        if manifest.info.uid == old.manifest.info.uid and manifest.info.version == old.manifest.info.version:
            return False
        self._snapshot = _open(self.folder, old)
        return True

    def verify(self) -> None:
        """Compare all files with their checksums again; see :meth:`open` for the errors."""
        check_files(self.folder, Manifest.read(self.folder).entries())

    # -- writing -----------------------------------------------------------------------------------------------------

    def add(self, figures: Figures, vectors: np.ndarray) -> int:
        known = self.rows_of(figures["figure_id"].tolist())
        if len(known):
            name = self.figures(known[:1])["figure_id"][0]
            raise ValueError(
                f"figure_id '{name}' is in the index already ({len(known)} of {len(figures)} are); update() replaces"
            )
        return self._add(figures, vectors, known)

    def update(self, figures: Figures, vectors: np.ndarray) -> int:
        return self._add(figures, vectors, self.rows_of(figures["figure_id"].tolist()))

    def _add(self, figures: Figures, vectors: np.ndarray, replaced: np.ndarray) -> int:
        self._require_writer()
        manifest = self._snapshot.manifest
        vectors = require_vectors(vectors, manifest.info.dim, manifest.info.metric, "vectors of new figures")
        if len(vectors) != len(figures):
            raise ValueError(f"{len(figures)} figures need as many vectors; got {len(vectors)}")
        if not len(figures):
            return manifest.info.version
        version = manifest.info.version + 1
        rows = np.arange(manifest.next_row, manifest.next_row + len(figures))
        segment = self._write_segment(figures, rows, np.full(len(rows), version), [vectors])
        removed = (*manifest.removed, *self._write_removed(replaced, version))
        return self._commit(
            replace(
                manifest,
                segments=(*manifest.segments, segment),
                removed=removed,
                next_row=manifest.next_row + len(rows),
            )
        )

    def delete(self, figure_ids: Sequence[str] = (), patents: Sequence[str] = ()) -> int:
        self._require_writer()
        table, manifest = self._snapshot.table, self._snapshot.manifest
        alive = table.alive(manifest.info.version)
        for column, names in (("figure_id", figure_ids), ("patent", patents)):
            for name in names:
                places = table.named(column, [name])
                if not alive[places].any():
                    kept = [table.values[column][code] for code in np.unique(table.arrays[column][alive]).tolist()]
                    raise KeyError(f"the index has no {column} '{name}'.{nearest(name, kept[:10000])}")
        rows = self.rows_of(figure_ids, patents)
        if not len(rows):
            return manifest.info.version
        removed = (*manifest.removed, *self._write_removed(rows, manifest.info.version + 1))
        return self._commit(replace(manifest, removed=removed))

    def compact(self) -> int:
        self._require_writer()
        snapshot = self._snapshot
        manifest, table = snapshot.manifest, snapshot.table
        places = np.flatnonzero(table.alive(manifest.info.version))
        segments = ()
        if len(places):
            step = max(1, BLOCK_NUMBERS // manifest.info.dim)
            parts = [places[start : start + step] for start in range(0, len(places), step)]
            blocks = (snapshot.gather(part) for part in parts)
            segments = (self._write_segment(table.figures(places), table.row[places], table.added[places], blocks),)
        version = manifest.info.version + 1
        info = replace(manifest.info, oldest_version=version)
        self._commit(self.built(replace(manifest, info=info, segments=segments, removed=(), extra={})), whole=True)
        self.sweep()
        return version

    def built(self, manifest: Manifest) -> Manifest:
        """Return the manifest of a compacted index with what a backend adds to it."""
        return manifest

    def set_info(self, **changed: Any) -> int:
        self._require_writer()
        for name in changed:
            require_choice("set_info of an index", name, CHANGEABLE)
        manifest = self._snapshot.manifest
        return self._commit(replace(manifest, info=replace(manifest.info, **changed)))

    def sweep(self) -> None:
        """Delete files that the manifest does not name; only the writer may."""
        named = {entry["name"] for entry in self._snapshot.manifest.entries()}
        for path in self.folder.iterdir():
            ours = path.name.startswith(("segment-", "removed-", "extra-", f".{MANIFEST}."))
            if ours and path.name not in named:
                path.unlink(missing_ok=True)

    def _require_writer(self) -> None:
        if self._lock is None:
            raise ValueError(f"the index at '{self.folder}' is open for reading; open it with write=True")

    def fresh_path(self, kind: str, version: int, suffix: str) -> Path:
        """Return a path for a new file; ``kind`` is "segment", "removed" or "extra"."""
        return self.folder / f"{kind}-{version:08d}-{uuid.uuid4().hex[:8]}{suffix}"

    def _write_segment(self, figures: Figures, rows: np.ndarray, added: np.ndarray, blocks) -> dict[str, Any]:
        version, dim = self.info.version + 1, self.info.dim
        columns = self.fresh_path("segment", version, ".columns.npz")

        def write(file) -> None:
            header = {
                "descr": np.lib.format.dtype_to_descr(np.dtype(np.float32)),
                "fortran_order": False,
                "shape": (len(rows), dim),
            }
            np.lib.format.write_array_header_1_0(file, header)
            for block in blocks:
                file.write(np.ascontiguousarray(block, dtype=np.float32).data)

        entry = write_file(columns.with_name(columns.name.replace(".columns.npz", ".vectors.npy")), write)
        return {"rows": len(rows), "vectors": entry, "columns": write_columns(columns, figures, rows, added)}

    def _write_removed(self, rows: np.ndarray, version: int) -> list[dict[str, Any]]:
        if not len(rows):
            return []
        path = self.fresh_path("removed", version, ".npy")
        return [{**write_file(path, lambda file: np.save(file, rows)), "version": version}]

    def _commit(self, manifest: Manifest, whole: bool = False) -> int:
        """Make ``manifest`` the next version; ``whole``: nothing of the old snapshot can be used again."""
        old = self._snapshot
        info = replace(manifest.info, version=old.manifest.info.version + 1, changed=_now())
        manifest = replace(manifest, info=info)
        snapshot = load_snapshot(self.folder, manifest, None if whole else old)
        counted = snapshot.table.count(snapshot.table.alive(info.version))
        manifest = replace(manifest, info=replace(info, figures=counted.figures, designs=counted.designs))
        _put(self.folder, manifest)
        self._snapshot = replace(snapshot, manifest=manifest)
        return info.version

    # -- reading -----------------------------------------------------------------------------------------------------

    def search(self, vectors: np.ndarray, k: int, filter: Filter | None = None, as_of: int | None = None) -> Neighbours:
        snapshot = self._snapshot
        queries = self._queries(vectors, k)
        mask = self.permitted(snapshot, filter, as_of)
        return self.exact(snapshot, queries, k, None if mask.all() else mask)

    def _queries(self, vectors: np.ndarray, k: int) -> np.ndarray:
        require_whole("k of a search", k, 1)
        return require_vectors(vectors, self.info.dim, self.info.metric, "vectors of a query")

    @staticmethod
    def exact(snapshot: Snapshot, queries: np.ndarray, k: int, mask: np.ndarray | None) -> Neighbours:
        """Return the ``k`` nearest rows of a mask (N,), ``None`` for all rows."""
        found = search_blocks(queries, snapshot.blocks(mask), k, snapshot.manifest.info.metric, snapshot.gather)
        known = found.rows >= 0
        rows = np.full_like(found.rows, -1)
        rows[known] = snapshot.table.row[found.rows[known]]
        return Neighbours(rows, found.scores)

    def permitted(self, snapshot: Snapshot, filter: Filter | None, as_of: int | None) -> np.ndarray:
        """Return bool (N,): the rows of a snapshot that a version sees and a filter permits."""
        version = _version(snapshot.manifest.info, as_of)
        key = snapshot.manifest.info.version, version, Filter() if filter is None else filter
        with self._guard:
            if key in self._masks:
                self._masks.move_to_end(key)
                return self._masks[key]
        mask = snapshot.table.mask(Filter() if filter is None else filter, version)
        with self._guard:
            self._masks[key] = mask
            while len(self._masks) > MASKS:
                self._masks.popitem(last=False)
        return mask

    def scores(self, vectors: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return exact_scores(self._queries(vectors, 1), self.vectors(rows), self.info.metric)

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        snapshot = self._snapshot
        return snapshot.gather(snapshot.table.places(rows))

    def figures(self, rows: np.ndarray) -> Figures:
        table = self._snapshot.table
        return table.figures(table.places(rows))

    def rows_of(
        self, figure_ids: Sequence[str] = (), patents: Sequence[str] = (), as_of: int | None = None
    ) -> np.ndarray:
        snapshot = self._snapshot
        table = snapshot.table
        places = np.union1d(table.named("figure_id", figure_ids), table.named("patent", patents)).astype(np.int64)
        return table.row[places[table.alive(_version(snapshot.manifest.info, as_of))[places]]]

    def count(self, filter: Filter | None = None, as_of: int | None = None) -> Count:
        snapshot = self._snapshot
        return snapshot.table.count(self.permitted(snapshot, filter, as_of))

    def facets(self, filter: Filter | None = None, as_of: int | None = None) -> dict[str, dict[str, Count]]:
        snapshot = self._snapshot
        return snapshot.table.facets(Filter() if filter is None else filter, _version(snapshot.manifest.info, as_of))


def _version(info: IndexInfo, as_of: int | None) -> int:
    """Return the version to look at; ``VersionGone`` for one that cannot be."""
    if as_of is None:
        return info.version
    if not info.oldest_version <= as_of <= info.version:
        raise VersionGone(
            f"version {as_of} cannot be searched: the index has versions {info.oldest_version} to {info.version}"
        )
    return as_of


def _locked(folder: Path) -> contextlib.ExitStack:
    """Return the writer's lock of a folder, held until it is closed."""
    stack = contextlib.ExitStack()
    stack.enter_context(hold_lock(folder / LOCK, IndexLocked(f"another process is writing to the index at '{folder}'")))
    return stack


def _put(folder: Path, manifest: Manifest) -> None:
    sync_folder(folder)  # the names of the new files, before one that refers to them
    with atomic_write(folder / MANIFEST, "w") as file:
        file.write(manifest.as_text())
    sync_folder(folder)


def _open(folder: Path, known: Snapshot | None = None) -> Snapshot:
    """Load the newest version; where a compaction has just taken its files away, the one after it."""
    for _ in range(TRIES):
        manifest = Manifest.read(folder)
        try:
            old = set() if known is None else {entry["name"] for entry in known.manifest.entries()}
            check_files(folder, [entry for entry in manifest.entries() if entry["name"] not in old])
            return load_snapshot(folder, manifest, known)
        except FileNotFoundError as error:
            if Manifest.read(folder).info.version == manifest.info.version:
                raise IndexCorrupt(f"{error.filename} is missing. {WHAT_NOW}") from error
    raise IndexCorrupt(f"the index at '{folder}' changes faster than it can be opened")


def load_snapshot(folder: Path, manifest: Manifest, known: Snapshot | None = None) -> Snapshot:
    """Map and read what ``known``, an earlier version, does not have."""
    old = known.manifest if known is not None else Manifest(manifest.info)
    names = [segment["vectors"]["name"] for segment in manifest.segments]
    extends = names[: len(old.segments)] == [segment["vectors"]["name"] for segment in old.segments]
    extends = extends and manifest.removed[: len(old.removed)] == old.removed
    if known is None or not extends:
        old, table, vectors = Manifest(manifest.info), Table.empty(), []
    else:
        table, vectors = known.table, list(known.vectors)
    try:
        for segment in manifest.segments[len(old.segments) :]:
            vectors.append(_mapped(folder / segment["vectors"]["name"], segment["rows"], manifest.info.dim))
            table = table.extended(*read_columns(folder / segment["columns"]["name"]))
        for entry in manifest.removed[len(old.removed) :]:
            table = table.without(np.load(folder / entry["name"], allow_pickle=False), entry["version"])
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


def _mapped(path: Path, rows: int, dim: int) -> np.ndarray:
    vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    if vectors.shape != (rows, dim) or vectors.dtype != np.float32:
        raise ValueError(f"{os.fspath(path)} holds {vectors.dtype} {vectors.shape} instead of float32 ({rows}, {dim})")
    return vectors.view(np.ndarray)


def _crc32(values: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(values, sort_keys=True).encode())


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
