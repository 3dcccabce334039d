"""The embedded index with a faiss index beside it, which makes searches of millions of figures quick.

The vectors stay in the files of the store; faiss only proposes. Its proposals are scored exactly, rows that it does
not have yet (those added since `compact`) are scanned, removed ones and those that a filter excludes are masked, and
where few are permitted all of them are scanned: faiss would lose most of those.
"""

import logging
import math
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fastreid.index.base import INDEX_REGISTRY, Neighbours, exact_scores
from fastreid.index.filters import Filter
from fastreid.index.recall import QUERIES, RecallTest, lowest, random_masks, sample_queries
from fastreid.index.scan import search_blocks
from fastreid.index.store import Manifest, Snapshot, Store, load_snapshot
from fastreid.index.store_files import write_file

logger = logging.getLogger(__name__)
AUTO = "auto"
SMALL = 100_000  # rows below which "auto" needs no faiss
FEW = 50_000  # permitted rows that are scanned: about as quick, and nothing is lost
WIDER, SPARE = 2, 32  # proposals asked for: so many times k, and so many more
WIDTHS = (8, 16, 32, 64, 128, 256, 512, 1024, 2048)  # nprobe of an inverted file, efSearch of a graph, as tried in turn
WANTED = 0.99  # recall
WIDEST = 16  # times as wide at most for a filter
POINTS = 40  # per list, to train on
BLOCK = 1 << 16  # rows added to faiss at once


@INDEX_REGISTRY.register(name="faiss")
class FaissIndex(Store):
    """An index in a folder, approximate from ``SMALL`` rows on.

    Options:
        factory: a string of faiss's ``index_factory`` ("IVF4096,SQ8", "HNSW32", "OPQ64,IVF1024,PQ64x4fs,RFlat"), or
            "auto": exact below ``SMALL`` rows, above an inverted file of 8-bit vectors.

    `compact` builds the faiss index, chooses how widely it is searched so that recall is at least ``WANTED``, and
    measures that against exact search; see ``info.recall``.
    """

    name = "faiss"

    def __init__(self, *args: Any):
        super().__init__(*args)
        self._loaded: tuple[str, Any] | None = None
        self._loading = threading.Lock()

    @classmethod
    def check_options(cls, options: Mapping[str, Any]) -> None:
        super().check_options({name: value for name, value in options.items() if name != "factory"})
        factory = options.setdefault("factory", AUTO) if isinstance(options, dict) else options.get("factory", AUTO)
        if factory != AUTO:
            _new(factory, 64, "cosine")

    # -- building ----------------------------------------------------------------------------------------------------

    def built(self, manifest: Manifest) -> Manifest:
        """Return the manifest with a faiss index of its rows, where the factory asks for one."""
        info, count = manifest.info, sum(segment["rows"] for segment in manifest.segments)
        factory = self._factory(count)
        if not factory:
            options = {"factory": info.options.get("factory", AUTO)}
            return replace(manifest, info=replace(info, options=options, recall={}))
        snapshot = load_snapshot(self.folder, manifest)
        made = _build(factory, snapshot)
        width, found = self._tune(made, snapshot)
        if lowest(found) < WANTED:
            logger.warning("The faiss index %s reaches a recall of %s only; wanted is %s", factory, found, WANTED)
        options = {**info.options, "used": factory, "indexed": count, "width": width}
        info = replace(info, options=options, recall=found)
        return replace(manifest, info=info, extra={"faiss": self._write(made)})

    def _factory(self, rows: int) -> str:
        """The factory string for so many rows; "" for none."""
        factory = self.info.options.get("factory", AUTO)
        if factory != AUTO:
            return factory if rows else ""
        lists = 1 << round(math.log2(4 * math.sqrt(max(1, rows))))
        return f"IVF{lists},SQ8" if rows >= SMALL else ""

    def _tune(self, made: Any, snapshot: Snapshot) -> tuple[int, dict[str, float]]:
        """Return how widely to search, and the recall that this gives."""
        count = len(snapshot.table)
        rows = np.sort(np.random.default_rng(0).choice(count, min(QUERIES, count), replace=False))
        queries = self._queries(sample_queries(snapshot.gather(rows)), 1)
        metric = snapshot.manifest.info.metric

        def exact(queries, k, mask):
            return search_blocks(queries, snapshot.blocks(mask), k, metric, snapshot.gather).rows

        test, found = RecallTest(queries, random_masks(count), count, exact), {}
        for width in WIDTHS:

            def approximate(queries, k, mask, width=width):
                mask = np.ones(count, dtype=bool) if mask is None else mask
                if np.count_nonzero(mask) <= FEW:
                    return exact(queries, k, mask)
                return self._proposed(made, snapshot, queries, k, mask, width).rows

            found = test.measure(approximate)
            if lowest(found) >= WANTED or not _has_width(made):
                break
        return width, found

    def _write(self, made: Any) -> dict[str, Any]:
        import faiss

        with tempfile.NamedTemporaryFile(dir=self.folder, prefix="extra-") as scratch:
            faiss.write_index(made, scratch.name)

            def copy(file) -> None:
                while block := scratch.read(1 << 22):
                    file.write(block)

            return write_file(self.fresh_path("extra", self.info.version + 1, ".faiss"), copy)

    # -- searching ---------------------------------------------------------------------------------------------------

    def search(self, vectors: np.ndarray, k: int, filter: Filter | None = None, as_of: int | None = None) -> Neighbours:
        snapshot = self._snapshot
        queries = self._queries(vectors, k)
        mask = self.permitted(snapshot, filter, as_of)
        made = self._faiss(snapshot)
        if made is None or np.count_nonzero(mask) <= max(FEW, 4 * k):
            return self.exact(snapshot, queries, k, None if mask.all() else mask)
        width = snapshot.manifest.info.options["width"]
        found = self._proposed(made, snapshot, queries, k, mask, width)
        known = found.rows >= 0
        rows = np.full_like(found.rows, -1)
        rows[known] = snapshot.table.row[found.rows[known]]
        return Neighbours(rows, found.scores, exact=False)

    def _faiss(self, snapshot: Snapshot) -> Any:
        """The faiss index of a snapshot, mapped when it is first needed; ``None`` when it has none."""
        entry = (snapshot.manifest.extra or {}).get("faiss")
        if entry is None:
            return None
        with self._loading:
            if self._loaded is None or self._loaded[0] != entry["name"]:
                import faiss

                self._loaded = entry["name"], faiss.read_index(str(Path(self.folder, entry["name"])))
            return self._loaded[1]

    def _proposed(
        self, made: Any, snapshot: Snapshot, queries: np.ndarray, k: int, mask: np.ndarray, width: int
    ) -> Neighbours:
        """Return the best of what faiss proposes, and of the rows that it does not have, by places."""
        count, metric = made.ntotal, snapshot.manifest.info.metric
        head = mask[:count]
        share = np.count_nonzero(head) / count
        proposals = np.full((len(queries), 0), -1, dtype=np.int64)
        if share:
            wider = round(width * min(WIDEST, 1 / share)) if share < 1 else width
            params, kept = _parameters(made, wider, head if share < 1 else None)
            proposals = made.search(queries, min(count, WIDER * k + SPARE), params=params)[1]
            del kept
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


def _new(factory: str, dim: int, metric: str) -> Any:
    """Return an empty faiss index; ``ValueError`` for a string that faiss does not take."""
    import faiss

    kind = faiss.METRIC_INNER_PRODUCT if metric == "cosine" else faiss.METRIC_L2
    try:
        return faiss.index_factory(dim, factory, kind)
    except RuntimeError as error:
        reason = str(error).rpartition("Error: ")[2].strip() or str(error)
        raise ValueError(f"factory of a faiss index: '{factory}' is none that faiss takes ({reason})") from error


def _build(factory: str, snapshot: Snapshot) -> Any:
    """Return a trained faiss index of all vectors, built on GPUs where faiss has them."""
    import faiss

    info, count = snapshot.manifest.info, len(snapshot.table)
    made = _new(factory, info.dim, info.metric)
    inverted = faiss.try_extract_index_ivf(made)
    lists = inverted.nlist if inverted is not None else 0
    if lists:
        inverted.cp.max_points_per_centroid = POINTS
        inverted.cp.min_points_per_centroid = 1
    rows = max(POINTS * lists, 50_000)
    chosen = np.arange(count) if rows >= count else np.sort(np.random.default_rng(0).choice(count, rows, replace=False))
    on_gpu = faiss.get_num_gpus() > 0
    if on_gpu:
        made = faiss.index_cpu_to_all_gpus(made)
    if not made.is_trained:
        made.train(snapshot.gather(chosen))
    for start in range(0, count, BLOCK):
        made.add(snapshot.gather(np.arange(start, min(count, start + BLOCK))))
    return faiss.index_gpu_to_cpu(made) if on_gpu else made


def _has_width(made: Any) -> bool:
    """Whether there is a width to choose."""
    import faiss

    return faiss.try_extract_index_ivf(made) is not None or isinstance(faiss.downcast_index(made), faiss.IndexHNSW)


def _parameters(made: Any, width: int, mask: np.ndarray | None) -> tuple[Any, list]:
    """Return search parameters, and what must live as long as they do."""
    import faiss

    options: dict[str, Any] = {}
    kept: list[Any] = []
    if mask is not None:
        bits = np.packbits(mask, bitorder="little")
        options["sel"] = faiss.IDSelectorBitmap(bits)
        kept += [bits, options["sel"]]
    kind = faiss.downcast_index(made)
    if isinstance(kind, faiss.IndexRefine):
        inner, more = _parameters(kind.base_index, width, mask)
        return faiss.IndexRefineSearchParameters(k_factor=4.0, base_index_params=inner), [*kept, inner, *more]
    if isinstance(kind, faiss.IndexPreTransform):
        inner, more = _parameters(kind.index, width, mask)
        return faiss.SearchParametersPreTransform(index_params=inner), [*kept, inner, *more]
    if isinstance(kind, faiss.IndexIVF):
        return faiss.SearchParametersIVF(nprobe=min(width, kind.nlist), **options), kept
    if isinstance(kind, faiss.IndexHNSW):
        return faiss.SearchParametersHNSW(efSearch=width, **options), kept
    return (faiss.SearchParameters(**options) if options else None), kept
