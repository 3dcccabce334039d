"""The embedded index: a folder of memory-mapped vectors with their metadata, searched exactly.

``manifest.json`` names the files that count. A commit writes new files, flushes them to the disk and then puts a new
manifest in the place of the old one, so that a reader, or whoever comes after a killed writer, finds the last version
whole.
"""

import contextlib
import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
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
from fastreid.index.errors import IndexLocked, VersionGone
from fastreid.index.figures import Figures
from fastreid.index.filters import Filter
from fastreid.index.open import MANIFEST
from fastreid.index.scan import BLOCK_NUMBERS, search_blocks
from fastreid.index.store_files import check_files, write_columns, write_file, write_vectors
from fastreid.index.store_manifest import Manifest, now
from fastreid.index.store_snapshot import Snapshot, load_newest, load_snapshot
from fastreid.utils.errors import nearest, require_choice, require_whole
from fastreid.utils.files import hold_lock

LOCK = "writer.lock"
KEPT = 8  # filters whose permitted rows, and whose facets, are kept
CHANGEABLE = ("config", "weights_path", "image_root", "options")


@INDEX_REGISTRY.register(name="store")
class Store(Index):
    """An index in a folder. Searches are exact: a scan of the permitted vectors."""

    name = "store"

    def __init__(self, folder: Path, snapshot: Snapshot, lock: contextlib.ExitStack | None = None):
        self.folder, self._snapshot, self._lock = folder, snapshot, lock
        self._kept: dict[str, OrderedDict[tuple, Any]] = {"permitted": OrderedDict(), "facets": OrderedDict()}
        self._guard = threading.Lock()  # of what is kept
        self._changing = threading.RLock()  # of the snapshot: one thread at a time takes over or makes a version

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
            made = now()
            info = IndexInfo(
                uuid.uuid4().hex, 1, 1, cls.name, dim, metric, 0, 0, made, made, dict(model or {}), config,
                weights_path, image_root, options,
            )  # fmt: skip
            manifest = Manifest(info)
            manifest.put(folder)
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
            store = cls(folder, load_newest(folder), lock)
            if write:
                store.sweep()
            return store
        except BaseException:
            if lock is not None:
                lock.close()
            raise

    @classmethod
    def take_over(cls, uri: str, **options: Any) -> None:
        """Commit a version in which the index in a folder is one of this backend; `compact` brings it into its form.

        What the backend before kept beside the vectors is dropped.
        """
        cls.check_options(options)
        folder = Path(uri)
        with _locked(folder):
            manifest = Manifest.read(folder)
            version = manifest.info.version + 1
            info = replace(
                manifest.info, backend=cls.name, options=options, version=version, changed=now(), recall={}
            )  # fmt: skip
            replace(manifest, info=info, extra={}).put(folder)

    def close(self) -> None:
        """See :meth:`Index.close`. Mapped files are let go with the last result or handle that looks into them."""
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
        with self._changing:
            old = self._snapshot
            manifest = Manifest.read(self.folder).info
            if (manifest.uid, manifest.version) == (old.manifest.info.uid, old.manifest.info.version):
                return False
            self._snapshot = load_newest(self.folder, old)
            return True

    def verify(self) -> None:
        """Compare all files with their checksums again; see :meth:`open` for the errors."""
        check_files(self.folder, Manifest.read(self.folder).entries())

    # -- writing -----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _change(self) -> Iterator[Snapshot]:
        """Give the version to be changed; what a change that fails has written goes at once.

        Raises:
            ValueError: the index is open for reading.
        """
        if self._lock is None:
            raise ValueError(f"the index at '{self.folder}' is open for reading; open it with write=True")
        with self._changing:
            try:
                yield self._snapshot
            except BaseException:
                with contextlib.suppress(OSError, ValueError):  # the first error is the one to tell
                    self.refresh()  # the new manifest may be in its place, though flushing its folder failed
                    self.sweep()
                raise

    def add(self, figures: Figures, vectors: np.ndarray) -> int:
        with self._change():
            known = self.rows_of(figures["figure_id"].tolist())
            if len(known):
                name = self.figures(known[:1])["figure_id"][0]
                raise ValueError(
                    f"figure_id '{name}' is in the index already ({len(known)} of {len(figures)} are); "
                    "update() replaces"
                )
            return self._add(figures, vectors, known)

    def update(self, figures: Figures, vectors: np.ndarray) -> int:
        with self._change():
            return self._add(figures, vectors, self.rows_of(figures["figure_id"].tolist()))

    def _add(self, figures: Figures, vectors: np.ndarray, replaced: np.ndarray) -> int:
        manifest = self._snapshot.manifest
        vectors = require_vectors(vectors, manifest.info.dim, manifest.info.metric, "vectors of new figures")
        if len(vectors) != len(figures):
            raise ValueError(f"{len(figures)} figures need as many vectors; got {len(vectors)}")
        if not len(figures):
            return manifest.info.version
        version, next_row = manifest.info.version + 1, manifest.next_row + len(figures)
        rows = np.arange(manifest.next_row, next_row)
        segments = (*manifest.segments, self._write_segment(figures, rows, np.full(len(rows), version), [vectors]))
        removed = (*manifest.removed, *self._write_removed(replaced, version))
        return self._commit(replace(manifest, segments=segments, removed=removed, next_row=next_row))

    def delete(self, figure_ids: Sequence[str] = (), patents: Sequence[str] = ()) -> int:
        with self._change() as snapshot:
            table, manifest = snapshot.table, snapshot.manifest
            alive = table.alive(manifest.info.version)
            for column, names in (("figure_id", figure_ids), ("patent", patents)):
                for name in names:
                    if not alive[table.named(column, [name])].any():
                        kept = table.some_values(column, alive)
                        raise KeyError(f"the index has no {column} '{name}'.{nearest(name, kept)}")
            rows = self.rows_of(figure_ids, patents)
            if not len(rows):
                return manifest.info.version
            removed = (*manifest.removed, *self._write_removed(rows, manifest.info.version + 1))
            return self._commit(replace(manifest, removed=removed))

    def compact(self) -> int:
        with self._change() as snapshot:
            manifest, table = snapshot.manifest, snapshot.table
            places = np.flatnonzero(table.alive(manifest.info.version))
            segments = ()
            if len(places):
                step = max(1, BLOCK_NUMBERS // manifest.info.dim)
                blocks = (snapshot.gather(places[start : start + step]) for start in range(0, len(places), step))
                segments = (self._write_segment(table.figures(places), table.row[places], table.added[places], blocks),)
            info = replace(manifest.info, oldest_version=manifest.info.version + 1)
            made = self.built(replace(manifest, info=info, segments=segments, removed=(), extra={}))
            version = self._commit(made, whole=True)
            self.sweep()
            return version

    def built(self, manifest: Manifest) -> Manifest:
        """Return the manifest of a compacted index with what a backend adds to it."""
        return manifest

    def set_info(self, **changed: Any) -> int:
        for name in changed:
            require_choice("set_info of an index", name, CHANGEABLE)
        with self._change() as snapshot:
            manifest = snapshot.manifest
            return self._commit(replace(manifest, info=replace(manifest.info, **changed)))

    def sweep(self) -> None:
        """Delete files that the manifest does not name; only the writer may."""
        named = {entry["name"] for entry in Manifest.read(self.folder).entries()}
        for path in self.folder.iterdir():
            ours = path.name.startswith(("segment-", "removed-", "extra-", f".{MANIFEST}."))
            if ours and path.name not in named:
                path.unlink(missing_ok=True)

    def fresh_path(self, kind: str, version: int, suffix: str) -> Path:
        """Return a path for a new file; ``kind`` is "segment", "removed" or "extra"."""
        return self.folder / f"{kind}-{version:08d}-{uuid.uuid4().hex[:8]}{suffix}"

    def _write_segment(self, figures: Figures, rows: np.ndarray, added: np.ndarray, blocks) -> dict[str, Any]:
        """Write figures with their vectors, float32 blocks (n, D) one after the other; return the manifest's entry."""
        path = self.fresh_path("segment", self.info.version + 1, ".vectors.npy")
        columns = path.with_name(path.name.replace(".vectors.npy", ".columns.npz"))
        vectors = write_vectors(path, (len(rows), self.info.dim), blocks)
        return {"rows": len(rows), "vectors": vectors, "columns": write_columns(columns, figures, rows, added)}

    def _write_removed(self, rows: np.ndarray, version: int) -> list[dict[str, Any]]:
        if not len(rows):
            return []
        path = self.fresh_path("removed", version, ".npy")
        return [{**write_file(path, lambda file: np.save(file, rows)), "version": version}]

    def _commit(self, manifest: Manifest, whole: bool = False) -> int:
        """Make ``manifest`` the next version; ``whole``: nothing of the old snapshot can be used again."""
        old = self._snapshot
        info = replace(manifest.info, version=old.manifest.info.version + 1, changed=now())
        manifest = replace(manifest, info=info)
        snapshot = load_snapshot(self.folder, manifest, None if whole else old)
        counted = snapshot.table.count(snapshot.table.alive(info.version))
        manifest = replace(manifest, info=replace(info, figures=counted.figures, designs=counted.designs))
        manifest.put(self.folder)
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
        """Return bool (N,), not to be changed: the rows of a snapshot that a version sees and a filter permits."""
        return self._keep("permitted", snapshot, filter, as_of, snapshot.table.mask)

    def _keep(
        self,
        what: str,
        snapshot: Snapshot,
        filter: Filter | None,
        as_of: int | None,
        make: Callable[[Filter, int], Any],
    ) -> Any:
        """Return ``make(filter, version)``, which is kept for the filters that were asked for last."""
        info, filter = snapshot.manifest.info, Filter() if filter is None else filter
        version, kept = _version(info, as_of), self._kept[what]
        key = info.uid, info.version, version, filter
        with self._guard:
            if key in kept:
                kept.move_to_end(key)
                return kept[key]
        made = make(filter, version)
        with self._guard:
            kept[key] = made
            while len(kept) > KEPT:
                kept.popitem(last=False)
        return made

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
        found = self._keep("facets", snapshot, filter, as_of, snapshot.table.facets)
        return {name: dict(counts) for name, counts in found.items()}


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
