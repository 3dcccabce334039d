"""An index in PostgreSQL with the extension pgvector: ``postgresql://user@host/database?table=NAME``.

Two tables: ``NAME`` holds the rows, ``NAME_manifest`` one line of JSON. A commit is a transaction. The one writer holds
an advisory lock of its session (a pooler in between has to keep sessions apart). Passwords belong in ``~/.pgpass`` or
``PGPASSWORD``; one in the address is never shown.

Searches scan the permitted rows, unless the option ``ann="hnsw"`` asks for pgvector's graph, which `compact` builds and
PostgreSQL then keeps up. A search of the graph that a filter leaves with fewer than k rows is answered by a scan; from
pgvector 0.8 on it goes on until it has found enough.
"""

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from fastreid.index.base import INDEX_REGISTRY, Count
from fastreid.index.figures import Figures
from fastreid.index.pgvector_link import Link
from fastreid.index.pgvector_sql import COPIED_TYPES, Statements, where_of
from fastreid.index.server import Found, ServerIndex
from fastreid.index.server_manifest import Manifest
from fastreid.index.server_rows import FACET_COLUMNS, SCALARS, VECTOR, Condition, Permitted, columns_of

MOST_DIM, MOST_DIM_HNSW = 16_000, 2_000  # of pgvector's type of vectors, and of its graph
ITERATIVE = (0, 8)  # version of pgvector from which a filtered search of the graph goes on until it has found enough


@INDEX_REGISTRY.register(name="pgvector")
class PgVector(ServerIndex):
    """An index in PostgreSQL.

    Options:
        ann: "" for exact search, "hnsw" for an approximate index, built by `compact`.
        exact_rows: permitted rows up to which search is exact all the same.
        m, ef_construction: of HNSW.
    """

    name = "pgvector"
    OPTIONS: ClassVar[Mapping[str, Any]] = {"ann": "", "exact_rows": 50_000, "m": 16, "ef_construction": 128}

    def __init__(self, link: Link, manifest: Manifest | None, writer: Any):
        super().__init__(link.where, manifest, writer is not None)
        self._link, self._sql, self._writer = link, Statements(link.table), writer
        self._iterative: bool | None = None

    # -- opening -----------------------------------------------------------------------------------------------------

    @classmethod
    def create(
        cls, uri: str, *, dim: int, metric: str = "cosine", model: Mapping[str, Any] | None = None,
        config: str = "", weights_path: str = "", image_root: str = "", **options: Any,
    ) -> "PgVector":  # fmt: skip
        manifest = cls._first_manifest(dim, metric, model, config, weights_path, image_root, options)
        link = Link(uri)
        connection = link.connect()
        index = cls(link, manifest, connection)
        try:
            index._check(manifest, options)
            link.lock(connection)
            with link.told():
                if _exists(connection, index._sql):
                    raise FileExistsError(f"There is an index at '{link.where}' already")
                if connection.execute("SHOW server_encoding").fetchone()[0] != "UTF8":
                    raise ValueError(f"the database of {link.where} must have the encoding UTF8")
                with connection.transaction():
                    if _extension(connection) is None:  # to ask for it takes rights that few have
                        connection.execute("CREATE EXTENSION vector")
                    for statement in index._sql.create(dim):
                        connection.execute(statement)
                    connection.execute(index._sql.first_manifest, (manifest.as_text(),))
                link.prepare(connection)
        except BaseException:
            index.close()
            raise
        return index

    @classmethod
    def open(cls, uri: str, write: bool = False) -> "PgVector":
        link = Link(uri)
        connection = link.connect()
        index = cls(link, None, connection)
        try:
            with link.told():
                if not _exists(connection, index._sql):
                    raise FileNotFoundError(f"No index at '{link.where}'. tools/build_index.py makes one")
                link.prepare(connection)
            if write:
                link.lock(connection)
            else:
                index._writer, index.write = None, False
                link.keep(connection)
            index._manifest = index._load()
        except BaseException:
            index.close()
            raise
        return index

    @classmethod
    def _checked(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        options = super()._checked(options)
        chosen = {**cls.OPTIONS, **options}
        if chosen["ann"] and not 2 <= chosen["m"] <= 100:
            raise ValueError(f"option m of the pgvector index must be from 2 to 100; got {chosen['m']}")
        if chosen["ann"] and not 2 * chosen["m"] <= chosen["ef_construction"] <= 1000:
            raise ValueError(
                "option ef_construction of the pgvector index must be from twice m to 1000; "
                f"got {chosen['ef_construction']} with m {chosen['m']}"
            )
        return options

    @staticmethod
    def _check(manifest: Manifest, options: Mapping[str, Any]) -> None:
        most = MOST_DIM_HNSW if options.get("ann") else MOST_DIM
        if manifest.info.dim > most:
            raise ValueError(f"dim of the pgvector index must be at most {most}; got {manifest.info.dim}")

    def close(self) -> None:
        self._link.close()
        if self._writer is not None:
            self._writer.close()  # and the writer's lock goes with it

    # -- writing -----------------------------------------------------------------------------------------------------

    def _load(self) -> Manifest:
        rows = self._ask(self._sql.read_manifest)
        return Manifest.of_text(rows[0][0] if len(rows) == 1 else "", self.where)

    def _save(self, manifest: Manifest) -> None:
        with self._link.told():
            self._writer.execute(self._sql.write_manifest, (manifest.as_text(),))

    @contextlib.contextmanager
    def _transaction(self, manifest: Manifest) -> Iterator[Any]:
        """Do what the block does, and write the manifest: all or nothing."""
        if self._writer.closed:
            raise ConnectionError(f"the connection that held the writer's lock of {self.where} is gone; open it again")
        with self._link.told(), self._writer.transaction():
            yield self._writer
            self._save(manifest)

    def _commit(
        self, manifest: Manifest, figures: Figures | None, vectors: np.ndarray | None, gone: np.ndarray
    ) -> None:
        with self._transaction(manifest) as connection:
            if len(gone):
                connection.execute(self._sql.remove, (manifest.info.version, gone.tolist()))
            if figures is not None and len(figures):
                self._copy(connection, figures, vectors, manifest.info.version)

    def _copy(self, connection, figures: Figures, vectors: np.ndarray, version: int) -> None:
        columns = columns_of(figures)
        rows = zip(vectors, *(columns[name] for name in SCALARS), strict=True)
        with connection.cursor() as cursor, cursor.copy(self._sql.copy) as copy:
            copy.set_types(COPIED_TYPES)
            for row, (vector, *values) in enumerate(rows, self._manifest.next_row):
                copy.write_row((row, vector, version, 0, *values))

    def _compact(self, manifest: Manifest) -> None:
        with self._transaction(manifest) as connection:
            connection.execute(self._sql.drop_removed)
            old = [name for (name,) in connection.execute(self._sql.graphs).fetchall()]
            if self._option("ann"):
                how = int(self._option("m")), int(self._option("ef_construction"))
                connection.execute(self._sql.build_graph(manifest.info.version, manifest.info.metric, *how))
            for name in old:  # last: readers wait from here to the end of the transaction
                connection.execute(f"DROP INDEX {name}")
        with self._link.told():
            self._writer.execute(self._sql.vacuum)

    def set_info(self, **changed: Any) -> int:
        self._check(self._manifest, changed.get("options", {}))
        return super().set_info(**changed)

    # -- reading -----------------------------------------------------------------------------------------------------

    def _near(self, queries: np.ndarray, n: int, permitted: Permitted, share: float | None) -> list[Found]:
        where, values = where_of(permitted)
        text = self._sql.near(self.info.metric, where, scan=share is None)
        with self._link.lent() as connection, connection.transaction(), connection.cursor(binary=True) as cursor:
            if share is not None:
                if self._iterative is None:
                    self._iterative = _extension(connection) >= ITERATIVE
                for setting in self._sql.graph_settings(n, share, self._iterative):
                    connection.execute(setting)
            return [self._found(cursor.execute(text, (query, *values, n)).fetchall()) for query in queries]

    def _found(self, rows: list[tuple]) -> Found:
        near = np.array([row[2] for row in rows], dtype=np.float64)
        vectors = np.array([row[1].to_numpy() for row in rows], dtype=np.float32).reshape(len(rows), self.info.dim)
        scores = -near if self.info.metric == "cosine" else -near * near
        return Found(np.array([row[0] for row in rows], dtype=np.int64), scores, vectors)

    def _fetch(self, rows: np.ndarray, version: int, columns: Sequence[str]) -> dict[int, tuple]:
        found = self._ask(self._sql.fetch(columns), (rows.tolist(), version), binary=True)
        if VECTOR in columns:
            place = 1 + list(columns).index(VECTOR)
            found = [(*row[:place], row[place].to_numpy(), *row[place + 1 :]) for row in found]
        return {row[0]: row[1:] for row in found}

    def _named(self, column: str, values: Sequence[str], version: int) -> list[tuple[int, str, str]]:
        where, more = where_of(Permitted(version, (Condition((column,), "in", list(values)),)))
        return self._ask(self._sql.named(where), more)

    def _count(self, permitted: Permitted) -> Count:
        where, values = where_of(permitted)
        return Count(*self._ask(self._sql.count(where), values)[0])

    def _figures_in(self, permitted: Permitted) -> int:
        where, values = where_of(permitted)
        return self._ask(self._sql.count_figures(where), values)[0][0]

    def _facets(self, facets: Sequence[str], date_field: str, permitted: Permitted) -> dict[str, dict[str, Count]]:
        where, values = where_of(permitted)
        found = {}
        for facet in facets:
            column = f"{date_field} / 10000" if facet == "year" else FACET_COLUMNS.get(facet, facet)
            rows = self._ask(self._sql.facet(column, where), values)
            found[facet] = {str(value or ""): Count(figures, designs) for value, figures, designs in rows}
        return found

    def _ask(self, text: str, values: Sequence[Any] = (), binary: bool = False) -> list[tuple]:
        with self._link.lent() as connection, connection.cursor(binary=binary) as cursor:
            return cursor.execute(text, values).fetchall()


def _exists(connection, statements: Statements) -> bool:
    return connection.execute("SELECT to_regclass(%s)", (statements.manifest_name,)).fetchone()[0] is not None


def _extension(connection) -> tuple[int, ...] | None:
    """Version of pgvector in the database, ``None`` where it has none."""
    found = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()
    return None if found is None else tuple(int(part) for part in re.findall(r"\d+", found[0]))
