"""The embedded index with a faiss index beside it, which makes searches of millions of figures quick.

The vectors stay in the files of the store; faiss only proposes. Its proposals are scored exactly, rows that it does
not have yet (those added since it was built) are scanned, removed ones and those that a filter excludes are masked, and
where few are permitted all of them are scanned: faiss would lose most of those.
"""

import logging
import math
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fastreid.index.base import INDEX_REGISTRY, Neighbours, exact_scores
from fastreid.index.errors import IndexCorrupt
from fastreid.index.faiss_parts import Proposer, build, new_index, reason_of
from fastreid.index.filters import Filter
from fastreid.index.recall import QUERIES, RecallTest, lowest, random_masks, sample_queries
from fastreid.index.scan import search_blocks
from fastreid.index.store import Manifest, Snapshot, Store, load_snapshot
from fastreid.index.store_files import WHAT_NOW, write_file
from fastreid.utils.errors import require_whole

logger = logging.getLogger(__name__)
AUTO = "auto"
SMALL = 100_000  # rows below which "auto" needs no faiss
FEW = 50_000  # permitted rows that are scanned: about as quick, and nothing is lost
UNINDEXED = 0.5  # share of rows that faiss does not have, above which adding builds it anew
DEEP, DEEPER, SPARE = 16, 64, 256  # proposals asked for: so many times k, and so many more
NARROWEST, STEP = 8, 1.5  # the width that is tried first, and how much wider the next one is
WANTED, AIM = 0.99, 0.994  # recall; building aims higher, so that other queries than its own reach it too
CODE = 4  # numbers of a vector that "auto" keeps in 4 bits
UNSELECTED = 0.5  # share of permitted rows below which an index that cannot leave rows out is of no use


@INDEX_REGISTRY.register(name="faiss")
class FaissIndex(Store):
    """An index in a folder, approximate from ``SMALL`` rows on.

    Options:
        factory: a string of faiss's ``index_factory`` ("IVF4096,SQ8", "HNSW32", "OPQ64,IVF1024,PQ64x4fs,RFlat"), or
            "auto": exact below ``SMALL`` rows, above an inverted file of vectors in 4-bit codes. They are small and
            scanned so quickly that even where features hardly cluster, and most lists must be looked into, it is
            several times as quick as 8-bit vectors; that many proposals are scored exactly makes up for their error.

    `compact`, and adding when more than ``UNINDEXED`` of the rows are new to it, builds the faiss index, chooses how
    widely and deeply it is searched so that recall is at least ``WANTED``, and measures that against exact search: see
    ``info.recall``. A factory that does not reach it is told in the log.
    """

    name = "faiss"

    def __init__(self, *args: Any):
        super().__init__(*args)
        self._loaded: tuple[str, Proposer | None] | None = None
        self._loading = threading.Lock()

    @classmethod
    def create(cls, uri: str, *, dim: int, metric: str = "cosine", factory: str = AUTO, **settings: Any) -> "Store":
        require_whole("dim of an index", dim, 1)
        if not isinstance(factory, str):
            raise TypeError(f"factory of a faiss index must be a text such as 'IVF1024,SQ8'; got {factory!r}")
        if factory != AUTO:
            new_index(factory, dim, metric)
        return super().create(uri, dim=dim, metric=metric, factory=factory, **settings)

    @classmethod
    def take_over(cls, uri: str, **options: Any) -> None:
        """See :meth:`Store.take_over`; ``ValueError`` for a factory that does not suit the index."""
        info, factory = Manifest.read(Path(uri)).info, options.get("factory", AUTO)
        if factory != AUTO:
            new_index(factory, info.dim, info.metric)
        super().take_over(uri, **options)

    @classmethod
    def check_options(cls, options: Mapping[str, Any]) -> None:
        super().check_options({name: value for name, value in options.items() if name != "factory"})

    @classmethod
    def open(cls, uri: str, write: bool = False) -> "Store":
        """See :meth:`Index.open`. For a writer a damaged faiss file is none: the vectors are whole without it."""
        try:
            return super().open(uri, write)
        except IndexCorrupt as error:
            entry = _entry(Manifest.read(Path(uri)))
            if entry is None or entry["name"] not in str(error):
                raise
            if not write:
                again = f"`tools/build_index.py compact --index {uri}` makes it anew, nothing else is lost"
                raise IndexCorrupt(f"{Path(uri, entry['name'])} is damaged or missing: {again}") from error
        logger.warning("%s is damaged: all is scanned until the index is compacted", Path(uri, entry["name"]))
        cls.take_over(uri, **Manifest.read(Path(uri)).info.options)
        return super().open(uri, write)

    def set_info(self, **changed: Any) -> int:
        """As :meth:`Index.set_info`; another factory counts from the next `compact` on."""
        if "options" in changed:
            self.check_options(changed["options"])
            factory = changed["options"].get("factory", AUTO)
            if factory != AUTO:
                new_index(factory, self.info.dim, self.info.metric)
        return super().set_info(**changed)

    # -- building ----------------------------------------------------------------------------------------------------

    def _commit(self, manifest: Manifest, whole: bool = False) -> int:
        count = sum(segment["rows"] for segment in manifest.segments)
        new = count - (_entry(manifest) or {"rows": 0})["rows"]
        if whole or not self._factory(count) or new <= max(FEW, UNINDEXED * count):
            return super()._commit(manifest, whole)
        try:
            version = super()._commit(self.built(manifest))
        except ValueError as error:  # it is for compact() to fail; what is added here must not be lost
            logger.warning("No faiss index: %s", error)
            return super()._commit(manifest)
        self.sweep()
        return version

    def built(self, manifest: Manifest) -> Manifest:
        """Return the manifest with a faiss index of its rows, where the factory asks for one."""
        info, count = manifest.info, sum(segment["rows"] for segment in manifest.segments)
        factory = self._factory(count)
        if not factory:
            return replace(manifest, info=replace(info, recall={}), extra={})
        snapshot = load_snapshot(self.folder, manifest)
        made = Proposer(build(factory, snapshot))
        width, deep, found = self._tune(made, snapshot)
        if lowest(found) < WANTED:
            logger.warning("The faiss index %s reaches a recall of %s only; wanted is %s", factory, found, WANTED)
        entry = {**self._write(made.made), "rows": count, "width": width, "deep": deep, "factory": factory}
        self._loaded = entry["name"], made
        return replace(manifest, info=replace(info, recall=found), extra={"faiss": entry})

    def _factory(self, rows: int) -> str:
        """The factory string for so many rows; "" for none."""
        factory = self.info.options.get("factory", AUTO)
        if factory != AUTO:
            return factory if rows else ""
        lists, dim = 1 << round(math.log2(math.sqrt(max(1, rows)))), self.info.dim
        code = "SQ8" if dim % CODE else f"PQ{dim // CODE}x4fs"
        return f"IVF{lists},{code}" if rows >= SMALL else ""

    def _tune(self, made: Proposer, snapshot: Snapshot) -> tuple[int, int, dict[str, float]]:
        """Return how widely and how deeply to search, and the recall that this gives."""
        count, metric = len(snapshot.table), snapshot.manifest.info.metric
        rows = np.sort(np.random.default_rng(0).choice(count, min(QUERIES, count), replace=False))
        queries = self._queries(sample_queries(snapshot.gather(rows)), 1)

        def exact(queries, k, mask):
            return search_blocks(queries, snapshot.blocks(mask), k, metric, snapshot.gather).rows

        test, found = RecallTest(queries, random_masks(count), count, exact), {}
        for width, deep in _efforts(made.widest):

            def planned(queries, k, mask, width=width, deep=deep):
                mask = np.ones(count, dtype=bool) if mask is None else mask
                if _scanned(made, mask, k, deep):
                    return exact(queries, k, mask)
                return self._proposed(made, snapshot, queries, k, mask, width, deep).rows

            found = test.measure(planned)
            if lowest(found) >= AIM:
                break
        return width, deep, found

    def _write(self, made: Any) -> dict[str, Any]:
        import faiss

        path = self.fresh_path("extra", self.info.version + 1, ".faiss")
        return write_file(path, lambda file: faiss.write_index(made, faiss.PyCallbackIOWriter(file.write)))

    # -- searching ---------------------------------------------------------------------------------------------------

    def search(self, vectors: np.ndarray, k: int, filter: Filter | None = None, as_of: int | None = None) -> Neighbours:
        snapshot = self._snapshot
        queries = self._queries(vectors, k)
        mask = self.permitted(snapshot, filter, as_of)
        made, entry = self._faiss(snapshot), _entry(snapshot.manifest)
        if made is None or _scanned(made, mask, k, entry["deep"]):
            return self.exact(snapshot, queries, k, None if mask.all() else mask)
        found = self._proposed(made, snapshot, queries, k, mask, entry["width"], entry["deep"])
        known = found.rows >= 0
        rows = np.full_like(found.rows, -1)
        rows[known] = snapshot.table.row[found.rows[known]]
        return Neighbours(rows, found.scores, exact=False)

    def _faiss(self, snapshot: Snapshot) -> Proposer | None:
        """The faiss index of a snapshot, read when it is first needed; ``None`` when there is none (any more)."""
        entry = _entry(snapshot.manifest)
        if entry is None:
            return None
        with self._loading:
            if self._loaded is None or self._loaded[0] != entry["name"]:
                self._loaded = entry["name"], _read(Path(self.folder, entry["name"]), entry["rows"])
            return self._loaded[1]

    def _proposed(
        self, made: Proposer, snapshot: Snapshot, queries: np.ndarray, k: int, mask: np.ndarray, width: int, deep: int
    ) -> Neighbours:
        """Return the best of what faiss proposes, and of the rows that it does not have, by places."""
        count, metric = made.count, snapshot.manifest.info.metric
        head = mask[:count]
        proposals = made.propose(queries, deep * k + SPARE, width, None if head.all() else head)
        rest = mask.copy()
        rest[:count] = False
        if rest.any():
            newer = search_blocks(queries, snapshot.blocks(rest), k, metric, snapshot.gather).rows
            proposals = np.concatenate([proposals, newer], axis=1)
        rows, scores = np.full((len(queries), k), -1, dtype=np.int64), np.full((len(queries), k), -np.inf)
        least = min(k, np.count_nonzero(mask))
        for place, query in enumerate(queries):
            places = np.unique(proposals[place][proposals[place] >= 0])
            if len(places) < least:  # faiss found too few of the permitted ones
                found = search_blocks(query[None], snapshot.blocks(mask), k, metric, snapshot.gather)
                rows[place], scores[place] = found.rows[0], found.scores[0]
                continue
            exact = exact_scores(query[None], snapshot.gather(places), metric)[0]
            order = np.lexsort((places, -exact))[:k]
            rows[place, : len(order)], scores[place, : len(order)] = places[order], exact[order]
        return Neighbours(rows, scores, exact=False)


def _entry(manifest: Manifest) -> Mapping[str, Any] | None:
    """What the manifest says of the faiss file: beside its checksum "rows", "width", "deep", "factory"."""
    return (manifest.extra or {}).get("faiss")


def _efforts(widest: int) -> Iterator[tuple[int, int]]:
    """Yield ever wider searches, at last a deeper one too; ``widest`` is 0 where there is no width to choose."""
    width = min(NARROWEST, widest)
    while width < widest:
        yield width, DEEP
        width = math.ceil(width * STEP)
    yield widest, DEEP
    yield widest, DEEPER


def _scanned(made: Proposer, mask: np.ndarray, k: int, deep: int) -> bool:
    """Whether the rows of a mask are scanned, not asked for: they are few, or all would be proposed."""
    permitted = np.count_nonzero(mask)
    if permitted <= FEW or deep * k >= permitted:
        return True
    return not made.selects and permitted < UNSELECTED * len(mask)


def _read(path: Path, rows: int) -> Proposer | None:
    """Read a faiss index; ``None`` when a compaction has taken it away, since all can be scanned then."""
    import faiss

    try:
        made = Proposer(faiss.read_index(str(path)))
    except RuntimeError as error:
        if not path.exists():
            return None
        raise IndexCorrupt(f"{path} is damaged: {reason_of(error)}. {WHAT_NOW}") from error
    if made.count != rows:
        raise IndexCorrupt(f"{path} is damaged: it has {made.count} vectors instead of {rows}. {WHAT_NOW}")
    return made
