"""An index in Milvus: ``milvus:PATH.db`` (Milvus Lite, in this process) or ``milvus:http://host:port?collection=NAME``.

Two collections: ``NAME`` holds the rows, ``NAME_manifest`` the manifest and the writer's lease. Milvus has no
transactions: the rows of a commit are written first, with the version to come, and the manifest last. Until then nobody
sees them, and what a killed writer left is taken back by the next one.

Conditions are expressions, in which texts would need quoting. So they are compared in a form of two letters per byte
(`armoured`), which has nothing to quote and of which a part is a part of the text.

Designs and facets are counted here, from the columns of the permitted rows, which takes time in proportion to them.
Milvus Lite compares a query with all rows, and one process may open its file at a time.
"""

import json
import logging
import os
import re
import socket
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit, urlunsplit

import numpy as np

from fastreid.index.base import INDEX_REGISTRY, Count, exact_scores
from fastreid.index.errors import IndexLocked
from fastreid.index.figures import DATE_COLUMNS, TEXT_COLUMNS, Figures
from fastreid.index.server import Found, Manifest, ServerIndex
from fastreid.index.server_rows import (
    ADDED,
    FACET_COLUMNS,
    REMOVED,
    ROW,
    VECTOR,
    Condition,
    Permitted,
    columns_of,
    parts,
)

COLLECTION = "fastreid_index"
PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,100}")
LENGTH = 65_535  # bytes of a text in Milvus
KEYS = ("figure_id", "patent", "locarno", "class_code", "office", "view", "applicant", "title_folded")
MOST = 16_384  # rows of one answer
WRITTEN = 1000  # rows of one call
LEASE = 60.0  # seconds after which a writer that says nothing counts as gone
_LOCAL: Counter = Counter()  # files of Milvus Lite, and how often they are open in this process
_GUARD = threading.Lock()
NUMBERS = (ROW, ADDED, REMOVED, *DATE_COLUMNS)


@INDEX_REGISTRY.register(name="milvus")
class Milvus(ServerIndex):
    """An index in Milvus.

    Options:
        ann: "" for exact search, "hnsw" for an approximate index (on a cluster).
        exact_rows: permitted rows up to which search is exact all the same.
        m, ef_construction: of HNSW.
    """

    name = "milvus"
    OPTIONS: ClassVar[Mapping[str, Any]] = {"ann": "", "exact_rows": 50_000, "m": 16, "ef_construction": 128}

    def __init__(self, client, collection: str, where: str, manifest: Manifest, write: bool):
        super().__init__(where, manifest, write)
        self._client, self._collection = client, collection
        self._owner, self._lock, self._closed = uuid.uuid4().hex, threading.RLock(), False

    # -- opening -----------------------------------------------------------------------------------------------------

    @classmethod
    def create(
        cls, uri: str, *, dim: int, metric: str = "cosine", model: Mapping[str, Any] | None = None,
        config: str = "", weights_path: str = "", image_root: str = "", **options: Any,
    ) -> "Milvus":  # fmt: skip
        manifest = cls._first_manifest(dim, metric, model, config, weights_path, image_root, options)
        client, collection, where = _connect(uri, new=True)
        try:
            if client.has_collection(f"{collection}_manifest"):
                raise FileExistsError(f"There is an index at '{where}' already")
            index = cls(client, collection, where, manifest, write=True)
            index._make()
            index._lease()
            index._save(manifest)
        except BaseException:
            _disconnect(client, where)
            raise
        return index

    @classmethod
    def open(cls, uri: str, write: bool = False) -> "Milvus":
        client, collection, where = _connect(uri)
        try:
            if not client.has_collection(f"{collection}_manifest"):
                raise FileNotFoundError(f"No index at '{where}'. tools/build_index.py makes one")
            for name in (collection, f"{collection}_manifest"):
                client.load_collection(name)
            index = cls(client, collection, where, Manifest.of_text(_entry(client, collection, 0), where), write)
            if write:
                index._lease()
                index._manifest = index._load()
                index._take_back()
        except BaseException:
            _disconnect(client, where)
            raise
        return index

    def _make(self) -> None:
        from pymilvus import DataType

        schema = self._client.create_schema(auto_id=False, enable_dynamic_field=False)
        for name in NUMBERS:
            schema.add_field(name, DataType.INT64, is_primary=name == ROW)
        for name in (*TEXT_COLUMNS, *map(_key, KEYS)):
            schema.add_field(name, DataType.VARCHAR, max_length=LENGTH)
        schema.add_field(VECTOR, DataType.FLOAT_VECTOR, dim=self.info.dim)
        self._client.create_collection(
            self._collection, schema=schema, index_params=self._index(), consistency_level="Strong"
        )
        schema = self._client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("content", DataType.VARCHAR, max_length=LENGTH)
        schema.add_field("unused", DataType.FLOAT_VECTOR, dim=2)  # Milvus wants a vector in every collection
        flat = self._client.prepare_index_params()
        flat.add_index("unused", index_type="FLAT", metric_type="L2")
        self._client.create_collection(
            f"{self._collection}_manifest", schema=schema, index_params=flat, consistency_level="Strong"
        )

    def _index(self):
        params = self._client.prepare_index_params()
        metric = "IP" if self.info.metric == "cosine" else "L2"
        if self._option("ann"):
            how = {"M": int(self._option("m")), "efConstruction": int(self._option("ef_construction"))}
            params.add_index(VECTOR, index_type="HNSW", metric_type=metric, params=how)
        else:
            params.add_index(VECTOR, index_type="FLAT", metric_type=metric)
        return params

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            if self.write:
                self._client.delete(f"{self._collection}_manifest", filter="id in [1]")
            _disconnect(self._client, self.where)

    def _lease(self) -> None:
        """Become the writer, or go on being it; ``IndexLocked`` while another one is."""
        held = json.loads(_entry(self._client, self._collection, 1) or "{}")
        here = held.get("host") == socket.gethostname()
        dead = here and held.get("pid") != os.getpid() and not _is_alive(held.get("pid", 0))
        if held and held.get("owner") != self._owner and held["until"] > time.time() and not dead:
            raise IndexLocked(f"another process is writing to the index at '{self.where}'")
        mine = {"owner": self._owner, "host": socket.gethostname(), "pid": os.getpid(), "until": time.time() + LEASE}
        self._put_entry(1, json.dumps(mine))

    def _take_back(self) -> None:
        """Undo what a killed writer left of a commit."""
        version = self.info.version
        self._client.delete(self._collection, filter=f"{ADDED} > {version}")
        self._mark(f"{REMOVED} > {version}", 0)

    # -- what a server must do ---------------------------------------------------------------------------------------

    def _load(self) -> Manifest:
        return Manifest.of_text(_entry(self._client, self._collection, 0), self.where)

    def _save(self, manifest: Manifest) -> None:
        self._put_entry(0, manifest.as_text())

    def _put_entry(self, number: int, content: str) -> None:
        if len(content.encode()) > LENGTH:
            raise ValueError(f"the description of the index has more than {LENGTH} bytes, which Milvus does not take")
        entry = {"id": number, "content": content, "unused": [0.0, 0.0]}
        self._client.upsert(f"{self._collection}_manifest", [entry])

    def _most_bytes(self) -> int | None:
        return LENGTH // 2  # of the armoured form, two letters per byte

    def _commit(
        self, manifest: Manifest, figures: Figures | None, vectors: np.ndarray | None, gone: np.ndarray
    ) -> None:
        with self._lock:
            self._lease()
            version = manifest.info.version
            if figures is not None and len(figures):
                for part in parts(_rows(figures, vectors, self._manifest.next_row, version), WRITTEN):
                    self._client.upsert(self._collection, part)
            for part in parts(gone.tolist(), WRITTEN):
                self._mark(f"{ROW} in {part}", version)
            self._save(manifest)

    def _mark(self, expression: str, version: int) -> None:
        """Say of some rows which version removed them; Milvus replaces whole rows."""
        for part in self._pages(expression, ["*"]):
            self._client.upsert(self._collection, [{**row, REMOVED: version} for row in part])

    def _compact(self, manifest: Manifest) -> None:
        with self._lock:
            self._lease()
            # the manifest first: a reader of an earlier version must learn that it is going before its rows are
            self._save(manifest)
            self._client.delete(self._collection, filter=f"{REMOVED} > 0")
            self._client.flush(self._collection)

    def _near(self, queries: np.ndarray, n: int, permitted: Permitted, share: float | None) -> list[Found]:
        if n > MOST or (share is None and self._option("ann")):
            return self._scan(queries, n, permitted)
        if not len(queries):
            return []
        params = {"params": {"ef": int(min(32_768, max(64, 2 * n / share)))}} if share is not None else {}
        answers = self._client.search(
            self._collection, data=queries.tolist(), anns_field=VECTOR, limit=n, filter=_expression(permitted),
            output_fields=[VECTOR], search_params=params, consistency_level="Strong",
        )  # fmt: skip
        return [self._found(answer) for answer in answers]

    def _found(self, answer) -> Found:
        sign = 1 if self.info.metric == "cosine" else -1
        rows = np.array([hit[ROW] for hit in answer], dtype=np.int64)
        vectors = np.array([hit["entity"][VECTOR] for hit in answer], dtype=np.float32).reshape(
            len(rows), self.info.dim
        )
        return Found(rows, sign * np.array([hit["distance"] for hit in answer], dtype=np.float64), vectors)

    def _scan(self, queries: np.ndarray, n: int, permitted: Permitted) -> list[Found]:
        """Compare with all permitted rows here: for more than Milvus gives, and exactly beside an approximate index."""
        kept: list[Found | None] = [None] * len(queries)
        for part in self._pages(_expression(permitted), [ROW, VECTOR]):
            rows = np.array([row[ROW] for row in part], dtype=np.int64)
            vectors = np.array([row[VECTOR] for row in part], dtype=np.float32).reshape(len(rows), self.info.dim)
            scores = exact_scores(queries, vectors, self.info.metric)
            for place, old in enumerate(kept):
                new = Found(rows, scores[place], vectors)
                if old is not None:
                    pairs = ((old.rows, new.rows), (old.scores, new.scores), (old.vectors, new.vectors))
                    new = Found(*(np.concatenate(pair) for pair in pairs))
                best = np.lexsort((new.rows, -new.scores))[:n]
                kept[place] = Found(new.rows[best], new.scores[best], new.vectors[best])
        nothing = Found(np.empty(0, dtype=np.int64), np.empty(0), np.empty((0, self.info.dim), dtype=np.float32))
        return [one or nothing for one in kept]

    def _fetch(self, rows: np.ndarray, version: int, columns: Sequence[str]) -> dict[int, tuple]:
        found = {}
        for part in parts(rows.tolist(), WRITTEN):
            for page in self._pages(f"{ROW} in {part} and {ADDED} <= {version}", [ROW, *columns]):
                found |= {row[ROW]: tuple(row[name] for name in columns) for row in page}
        return found

    def _named(self, column: str, values: Sequence[str], version: int) -> list[tuple[int, str, str]]:
        found = []
        for part in parts(list(values), WRITTEN):
            permitted = Permitted(version, (Condition((column,), "in", list(part)),))
            for page in self._pages(_expression(permitted), [ROW, "figure_id", "patent"]):
                found += [(row[ROW], row["figure_id"], row["patent"]) for row in page]
        return found

    def _count(self, permitted: Permitted) -> Count:
        patents = [row["patent"] for page in self._pages(_expression(permitted), ["patent"]) for row in page]
        return Count(len(patents), len(set(patents)))

    def _figures_in(self, permitted: Permitted) -> int:
        answer = self._client.query(
            self._collection, filter=_expression(permitted), output_fields=["count(*)"], consistency_level="Strong"
        )
        return int(answer[0]["count(*)"])

    def _facets(self, facets: Sequence[str], date_field: str, permitted: Permitted) -> dict[str, dict[str, Count]]:
        from fastreid.index.figures import class_of

        figures: dict[str, Counter] = {facet: Counter() for facet in facets}
        designs: dict[str, dict[str, set]] = {facet: {} for facet in facets}
        columns = {"class": "locarno", "year": date_field}
        needed = sorted({"patent", *(columns.get(facet, FACET_COLUMNS.get(facet, facet)) for facet in facets)})
        for page in self._pages(_expression(permitted), needed):
            for row in page:
                for facet in facets:
                    value = row[columns.get(facet, facet)]
                    if facet == "class":
                        value = class_of(value)
                    elif facet == "year":
                        value = str(value // 10_000) if value else ""
                    figures[facet][value] += 1
                    designs[facet].setdefault(value, set()).add(row["patent"])
        return {
            facet: {value: Count(number, len(designs[facet][value])) for value, number in figures[facet].items()}
            for facet in facets
        }

    def _pages(self, expression: str, columns: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
        """Yield the rows that an expression permits, page by page."""
        pages = self._client.query_iterator(
            self._collection, filter=expression, output_fields=list(columns), batch_size=WRITTEN,
            consistency_level="Strong",
        )  # fmt: skip
        try:
            while page := pages.next():
                yield list(page)
        finally:
            pages.close()


def armoured(text: str) -> str:
    """Return a text in two letters per byte: a to p for its upper half, A to P for the lower."""
    return "".join(chr(97 + (byte >> 4)) + chr(65 + (byte & 15)) for byte in text.encode())


def _key(column: str) -> str:
    return f"{column}_key"


def _expression(permitted: Permitted) -> str:
    """Return the conditions as an expression of Milvus."""
    version = permitted.version
    found = [f"{ADDED} <= {version} and ({REMOVED} == 0 or {REMOVED} > {version})"]
    for condition in permitted.conditions:
        found.append("(" + " or ".join(_one(column, condition) for column in condition.columns) + ")")
    return " and ".join(found)


def _one(column: str, condition: Condition) -> str:
    if condition.sign in ("<", ">", ">="):
        return f"{column} {condition.sign} {int(condition.value)}"
    if condition.sign == "contains":
        return f'{_key(column)} like "%{armoured(condition.value)}%"'
    values = json.dumps([armoured(value) for value in condition.value])
    return f"{_key(column)} in {values}" if condition.sign == "in" else f"not ({_key(column)} in {values})"


def _rows(figures: Figures, vectors: np.ndarray, first: int, version: int) -> list[dict[str, Any]]:
    columns = columns_of(figures)
    rows = []
    for place in range(len(figures)):
        row = {name: columns[name][place] for name in (*TEXT_COLUMNS, *DATE_COLUMNS)}
        row |= {_key(name): armoured(columns[name][place]) for name in KEYS}
        rows.append({**row, ROW: first + place, ADDED: version, REMOVED: 0, VECTOR: vectors[place].tolist()})
    return rows


def _entry(client, collection: str, number: int) -> str:
    """The content of an entry of the manifest's collection; "" when it has none."""
    found = client.query(
        f"{collection}_manifest", filter=f"id in [{number}]", output_fields=["content"], consistency_level="Strong"
    )
    return found[0]["content"] if found else ""


def _connect(uri: str, new: bool = False):
    """Return a client, the name of the collection, and the address without user and password.

    Args:
        new: make the file of Milvus Lite where there is none.

    Raises:
        ConnectionError: Milvus does not answer, or another process has its file open.
        FileNotFoundError: there is no such file.
        ValueError: the name of the collection is not plain.
    """
    try:
        from pymilvus import MilvusClient
        from pymilvus.exceptions import MilvusException
    except ImportError as error:
        raise ImportError("an index in Milvus needs pymilvus: pip install 'fastreid[milvus]'") from error
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # it logs each error that it raises, and Lite's lacks
    parts_of = urlsplit(uri.removeprefix("milvus:"))
    collection = parse_qs(parts_of.query).get("collection", [COLLECTION])[-1]
    if not PLAIN_NAME.fullmatch(collection):
        raise ValueError(f"collection of an index in Milvus must be letters, digits and _; got '{collection}'")
    server = urlunsplit(parts_of._replace(query=""))
    host = f"{parts_of.scheme}://{parts_of.hostname}:{parts_of.port}" if parts_of.scheme else parts_of.path
    where = f"milvus:{host}?collection={collection}"
    options = {"token": f"{parts_of.username}:{parts_of.password}"} if parts_of.username else {}
    if options:
        server = urlunsplit(parts_of._replace(query="", netloc=f"{parts_of.hostname}:{parts_of.port}"))
    if not parts_of.scheme:
        if not new and not os.path.exists(server):
            raise FileNotFoundError(f"No index at '{where}'. tools/build_index.py makes one")
        os.makedirs(os.path.dirname(os.path.abspath(server)), exist_ok=True)
    try:
        client = MilvusClient(server, **options)
    except (MilvusException, OSError) as error:
        reason = str(error).splitlines()[0].replace(parts_of.password or chr(0), "***")
        hint = "" if parts_of.scheme else " (is it open in another process? Milvus Lite lets in one at a time)"
        raise ConnectionError(f"cannot open {where}: {reason}{hint}") from error
    with _GUARD:
        _LOCAL[where.removeprefix("milvus:").partition("?")[0]] += not parts_of.scheme
    return client, collection, where


def _disconnect(client, where: str) -> None:
    """Close a client; the last one of a file of Milvus Lite lets other processes open it."""
    client.close()
    path = where.removeprefix("milvus:").partition("?")[0]
    with _GUARD:
        if _LOCAL[path] > 0:
            _LOCAL[path] -= 1
            if not _LOCAL[path]:
                from milvus_lite.server_manager import server_manager_instance

                server_manager_instance.release_server(path)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
