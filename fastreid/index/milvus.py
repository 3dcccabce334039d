"""An index in Milvus: ``milvus:PATH.db`` (Milvus Lite, in this process) or ``milvus:http://host:port?collection=NAME``.

Two collections: ``NAME`` holds the rows, ``NAME_manifest`` the manifest and the writer's lease. Milvus has no
transactions: the rows of a commit are written first, with the version to come, and the manifest last. Until then nobody
sees them, and what a killed writer left is taken back by the next one.

The lease names its owner. In a file, which one process has open at a time, it holds while the owner is open there. On
a cluster each step of a commit renews it, and a writer that has been silent for ``LEASE`` seconds may be replaced, so
clocks of writers should agree to a few seconds. Milvus cannot compare and set: of two writers that start in the same
moment both may be let in, until the first commit refuses one. Start one.

Designs and facets are counted here, from the columns of the permitted rows, which takes time in proportion to them.
Milvus Lite compares a query with all rows.
"""

import contextlib
import json
import logging
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from fastreid.index.base import INDEX_REGISTRY, Count, exact_scores
from fastreid.index.errors import IndexLocked
from fastreid.index.figures import Figures, class_of
from fastreid.index.milvus_link import Link, reason
from fastreid.index.milvus_rows import LENGTH, expression_of, make_collections, rows_of
from fastreid.index.server import Found, ServerIndex
from fastreid.index.server_manifest import Manifest
from fastreid.index.server_rows import ADDED, REMOVED, ROW, VECTOR, Condition, Permitted, parts

logger = logging.getLogger(__name__)
MOST = 16_384  # rows of one answer
WRITTEN = 1000  # rows of one call that writes
READ = 4096  # rows of one answer with their vectors
LEASE = 60.0  # seconds after which a writer on a cluster that says nothing counts as gone
MOST_EF = 32_768
_WRITERS: set[str] = set()  # owners of leases that are open in this process


@INDEX_REGISTRY.register(name="milvus")
class Milvus(ServerIndex):
    """An index in Milvus.

    Options (chosen when it is made, but for exact_rows):
        ann: "" for exact search, "hnsw" for an approximate index (on a cluster).
        exact_rows: permitted rows up to which search is exact all the same: they come here to be compared.
        m, ef_construction: of HNSW.
        shards: into how many channels a cluster spreads what is written.
        replicas: how often its query nodes hold the rows in memory, so that more searches go at the same time.
        partition_key: "class_code" spreads the rows over ``partitions`` by their Locarno class; a search within classes
            then reads the partitions of those alone. "" for none.
        partitions: of the partition key.
    """

    name = "milvus"
    OPTIONS: ClassVar[Mapping[str, Any]] = {
        "ann": "", "exact_rows": 10_000, "m": 16, "ef_construction": 128, "shards": 1, "replicas": 1,
        "partition_key": "", "partitions": 32,
    }  # fmt: skip
    CHOICES: ClassVar[Mapping[str, tuple[str, ...]]] = {**ServerIndex.CHOICES, "partition_key": ("", "class_code")}
    LEAST: ClassVar[Mapping[str, int]] = {**ServerIndex.LEAST, "shards": 1, "replicas": 1}

    def __init__(self, link: Link, manifest: Manifest | None, write: bool):
        super().__init__(link.where, manifest, write)
        self._link, self._client, self._collection = link, link.client, link.collection
        self._owner, self._lock, self._closed = uuid.uuid4().hex, threading.RLock(), False
        self._unsure = False  # whether a commit has failed, of which rows may have been written

    # -- opening -----------------------------------------------------------------------------------------------------

    @classmethod
    def create(
        cls, uri: str, *, dim: int, metric: str = "cosine", model: Mapping[str, Any] | None = None,
        config: str = "", weights_path: str = "", image_root: str = "", **options: Any,
    ) -> "Milvus":  # fmt: skip
        manifest = cls._first_manifest(dim, metric, model, config, weights_path, image_root, options)
        _require_short(manifest)
        index = cls(Link(uri, new=True, write=True), manifest, write=True)
        try:
            with index._told():
                if index._is_made():
                    raise FileExistsError(f"There is an index at '{index.where}' already")
                for name in (index._collection, f"{index._collection}_manifest"):
                    index._client.drop_collection(name)  # left by one who was killed while making them
                layout = {name: index._option(name) for name in ("shards", "partition_key", "partitions")}
                make_collections(index._client, index._collection, dim, index._kind(), **layout)
                index._load_rows()
                index._save(manifest)
        except BaseException:
            index._let_go()
            raise
        return index

    @classmethod
    def open(cls, uri: str, write: bool = False) -> "Milvus":
        index = cls(Link(uri, write=write), None, write)
        try:
            with index._told():
                if not index._is_made():
                    raise index._link.nothing_here()
                if write:
                    index._lease()
                index._manifest = index._load()
                index._load_rows()
                if write:
                    index._take_back()
        except BaseException:
            index._let_go()
            raise
        return index

    def _is_made(self) -> bool:
        """Whether there is an index: its first manifest ends the making."""
        name = f"{self._collection}_manifest"
        if not self._client.has_collection(name):
            return False
        self._client.load_collection(name)
        return bool(self._entry(0))

    def _load_rows(self) -> None:
        """Have the rows loaded by query nodes. Milvus Lite, which has none, takes no number of replicas."""
        replicas = {} if self._link.local else {"replica_number": self._option("replicas")}
        self._client.load_collection(self._collection, **replicas)

    def _kind(self) -> dict[str, Any]:
        """The index of vectors, in Milvus' words."""
        metric = "IP" if self.info.metric == "cosine" else "L2"
        if not self._option("ann"):
            return {"index_type": "FLAT", "metric_type": metric}
        how = {"M": int(self._option("m")), "efConstruction": int(self._option("ef_construction"))}
        return {"index_type": "HNSW", "metric_type": metric, "params": how}

    def close(self) -> None:
        try:
            if self.write and not self._closed:
                with self._told():
                    if self._holder() == self._owner:
                        self._client.delete(f"{self._collection}_manifest", filter="id in [1]")
        except ConnectionError as error:
            logger.warning("%s. The writer's lease is left to end by itself", error)
        finally:
            self._let_go()

    def _let_go(self) -> None:
        if not self._closed:
            self._closed = True
            _WRITERS.discard(self._owner)
            self._link.close()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Tell errors of Milvus in one line; none of them knows the password."""
        from pymilvus.exceptions import MilvusException

        if self._closed:
            raise ValueError(f"the index at '{self.where}' is closed")
        try:
            yield
        except MilvusException as error:
            raise ConnectionError(f"Milvus at {self.where} says: {reason(error)}") from error

    # -- the one writer ----------------------------------------------------------------------------------------------

    def _holder(self) -> str:
        """The owner of the lease that holds, "" for none."""
        held = json.loads(self._entry(1) or "{}")
        if not held:
            return ""
        # nobody but this process has its file open: the owner is here, or was killed
        holds = held["owner"] in _WRITERS if self._link.local else held["until"] > time.time()
        return held["owner"] if holds else ""

    def _lease(self) -> None:
        """Become the writer, or go on being it; ``IndexLocked`` while another one is, or where one was meanwhile."""
        holder = self._holder()
        if holder not in ("", self._owner):
            raise IndexLocked(f"another process is writing to the index at '{self.where}'")
        if not holder and self._owner in _WRITERS and self._load() != self._manifest:
            raise IndexLocked(f"another process has written to the index at '{self.where}' meanwhile; try again")
        self._put_entry(1, json.dumps({"owner": self._owner, "until": time.time() + LEASE}))
        _WRITERS.add(self._owner)

    def _take_back(self) -> None:
        """Undo what a killed writer left of a commit, and finish a compaction that it had not finished."""
        version, oldest = self.info.version, self.info.oldest_version
        self._client.delete(self._collection, filter=f"{ADDED} > {version}")
        self._mark(f"{REMOVED} > {version}", 0)
        self._client.delete(self._collection, filter=f"{REMOVED} > 0 and {REMOVED} <= {oldest}")

    # -- writing -----------------------------------------------------------------------------------------------------

    def _require_writer(self) -> None:
        super()._require_writer()
        if self._unsure:  # the commit that failed may have gone through all the same, or in part
            with self._told():
                if self._holder() not in ("", self._owner):
                    raise IndexLocked(f"another process is writing to the index at '{self.where}'")
                self._manifest = self._load()
                self._lease()
                self._take_back()
            self._unsure = False

    def _load(self) -> Manifest:
        with self._told():
            return Manifest.of_text(self._entry(0), self.where)

    def _save(self, manifest: Manifest) -> None:
        _require_short(manifest)
        with self._told():
            self._lease()
            self._put_entry(0, manifest.as_text())

    def _entry(self, number: int) -> str:
        """The manifest (0) or the lease (1); "" where there is none."""
        found = self._client.query(
            f"{self._collection}_manifest", filter=f"id in [{number}]", output_fields=["content"],
            consistency_level="Strong",
        )  # fmt: skip
        return found[0]["content"] if found else ""

    def _put_entry(self, number: int, content: str) -> None:
        entry = {"id": number, "content": content, "unused": [0.0, 0.0]}
        self._client.upsert(f"{self._collection}_manifest", [entry])

    def _most_bytes(self) -> int | None:
        return LENGTH // 2  # of the armoured form, two letters per byte

    def _commit(
        self, manifest: Manifest, figures: Figures | None, vectors: np.ndarray | None, gone: np.ndarray
    ) -> None:
        version, first = manifest.info.version, self._manifest.next_row
        self._unsure = True
        with self._lock, self._told():
            for start in range(0, 0 if figures is None else len(figures), WRITTEN):
                part = slice(start, start + WRITTEN)
                self._lease()
                self._client.upsert(
                    self._collection, rows_of(figures.take(part), vectors[part], first + start, version)
                )
            for part in parts(gone.tolist(), WRITTEN):
                self._lease()
                self._mark(f"{ROW} in {part}", version)
            self._save(manifest)
        self._unsure = False

    def _mark(self, expression: str, version: int) -> None:
        """Say of some rows which version removed them; Milvus replaces whole rows."""
        for part in self._pages(expression, ["*"]):
            self._client.upsert(self._collection, [{**row, REMOVED: version} for row in part])

    def _compact(self, manifest: Manifest) -> None:
        with self._lock, self._told():
            # the manifest first: a reader of an earlier version must learn that it is going before its rows are
            self._save(manifest)
            self._client.delete(self._collection, filter=f"{REMOVED} > 0")
            self._client.flush(self._collection)

    def set_info(self, **changed: Any) -> int:
        options = changed.get("options", self.info.options)
        for name in self.OPTIONS.keys() - {"exact_rows"}:
            if options.get(name, self.OPTIONS[name]) != self._option(name):
                raise ValueError(f"option {name} of a milvus index is chosen when it is made, {self._option(name)!r}")
        return super().set_info(**changed)

    # -- reading -----------------------------------------------------------------------------------------------------

    def _near(self, queries: np.ndarray, n: int, permitted: Permitted, share: float | None) -> list[Found]:
        if n > MOST or (share is None and self._option("ann")):
            return self._scan(queries, n, permitted)
        if not len(queries):
            return []
        params = {} if share is None else {"params": {"ef": int(min(MOST_EF, max(64, 2 * n / share)))}}
        with self._told():
            answers = self._client.search(
                self._collection, data=queries.tolist(), anns_field=VECTOR, limit=n, filter=expression_of(permitted),
                output_fields=[VECTOR], search_params=params, consistency_level="Strong",
            )  # fmt: skip
        sign = 1.0 if self.info.metric == "cosine" else -1.0
        return [
            self._found(
                [hit[ROW] for hit in hits], [hit["distance"] * sign for hit in hits], [hit["entity"] for hit in hits]
            )
            for hits in answers
        ]

    def _found(self, rows: list[int], scores: Sequence[float], entities: list[Mapping[str, Any]]) -> Found:
        vectors = np.array([entity[VECTOR] for entity in entities], dtype=np.float32).reshape(-1, self.info.dim)
        return Found(np.array(rows, dtype=np.int64), np.array(scores, dtype=np.float64), vectors)

    def _scan(self, queries: np.ndarray, n: int, permitted: Permitted) -> list[Found]:
        """Compare with all permitted rows here: for more than Milvus gives, and exactly beside an approximate index."""
        kept = [self._found([], [], []) for _ in queries]
        for page in self._pages(expression_of(permitted), [ROW, VECTOR]):
            new = self._found([row[ROW] for row in page], np.zeros(len(page)), page)
            scores = exact_scores(queries, new.vectors, self.info.metric)
            for place, old in enumerate(kept):
                pairs = (old.rows, new.rows), (old.scores, scores[place]), (old.vectors, new.vectors)
                rows, both, vectors = (np.concatenate(pair) for pair in pairs)
                order = np.lexsort((rows, -both))[:n]
                kept[place] = Found(rows[order], both[order], vectors[order])
        return kept

    def _fetch(self, rows: np.ndarray, version: int, columns: Sequence[str]) -> dict[int, tuple]:
        found = {}
        for part in parts(rows.tolist(), READ):
            for page in self._pages(f"{ROW} in {part} and {ADDED} <= {version}", [ROW, *columns]):
                found |= {row[ROW]: tuple(row[name] for name in columns) for row in page}
        return found

    def _named(self, column: str, values: Sequence[str], version: int) -> list[tuple[int, str, str]]:
        permitted = Permitted(version, (Condition((column,), "in", list(values)),))
        pages = self._pages(expression_of(permitted), [ROW, "figure_id", "patent"])
        return [(row[ROW], row["figure_id"], row["patent"]) for page in pages for row in page]

    def _count(self, permitted: Permitted) -> Count:
        patents = [row["patent"] for page in self._pages(expression_of(permitted), ["patent"]) for row in page]
        return Count(len(patents), len(set(patents)))

    def _figures_in(self, permitted: Permitted) -> int:
        with self._told():
            answer = self._client.query(
                self._collection, filter=expression_of(permitted), output_fields=["count(*)"],
                consistency_level="Strong",
            )  # fmt: skip
        return int(answer[0]["count(*)"])

    def _facets(self, facets: Sequence[str], date_field: str, permitted: Permitted) -> dict[str, dict[str, Count]]:
        source = {"class": "locarno", "year": date_field}
        columns = sorted({"patent", *(source.get(facet, facet) for facet in facets)})
        figures: dict[str, Counter] = {facet: Counter() for facet in facets}
        designs: dict[str, dict[str, set]] = {facet: {} for facet in facets}
        for page in self._pages(expression_of(permitted), columns):
            for row in page:
                for facet in facets:
                    value = row[source.get(facet, facet)]
                    value = (
                        class_of(value)
                        if facet == "class"
                        else str(value // 10_000 or "")
                        if facet == "year"
                        else value
                    )
                    figures[facet][value] += 1
                    designs[facet].setdefault(value, set()).add(row["patent"])
        return {
            facet: {value: Count(number, len(designs[facet][value])) for value, number in figures[facet].items()}
            for facet in facets
        }

    def _pages(self, expression: str, columns: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
        """Yield the rows that an expression permits, page by page."""
        # Milvus Lite looks at all rows for each page: the fewer the better
        size = WRITTEN if "*" in columns else READ if VECTOR in columns else MOST
        with self._told():
            pages = self._client.query_iterator(
                self._collection, filter=expression, output_fields=list(columns), batch_size=size,
                consistency_level="Strong",
            )  # fmt: skip
            try:
                while page := pages.next():
                    yield list(page)
            finally:
                pages.close()


def _require_short(manifest: Manifest) -> None:
    if len(manifest.as_text().encode()) > LENGTH:
        raise ValueError(f"the description of the index has more than {LENGTH} bytes, which Milvus does not take")
