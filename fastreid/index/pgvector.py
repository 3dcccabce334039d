"""An index in PostgreSQL with the extension pgvector: ``postgresql://user@host/database?table=NAME``.

Two tables: ``NAME`` holds the rows, ``NAME_manifest`` one line of JSON. A commit is a transaction. All values go to the
server as parameters; the name of the table, which cannot, has to be a plain one.
"""

import re
import threading
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import numpy as np

from fastreid.index.base import INDEX_REGISTRY, Count
from fastreid.index.errors import IndexLocked
from fastreid.index.figures import DATE_COLUMNS, Figures
from fastreid.index.server import Found, Manifest, ServerIndex
from fastreid.index.server_rows import (
    ADDED,
    FACET_COLUMNS,
    REMOVED,
    ROW,
    SCALARS,
    VECTOR,
    Condition,
    Permitted,
    columns_of,
)

TABLE = "fastreid_index"
PLAIN_NAME = re.compile(r"[a-z_][a-z0-9_]{0,40}")
COPIED = (ROW, ADDED, REMOVED, *SCALARS, VECTOR)
SIGNS = {"<", ">", ">="}
WIDEST = 1000  # hnsw.ef_search that pgvector takes at most
ITERATIVE = (0, 8)  # version of pgvector from which a filtered scan goes on until it has found enough


@INDEX_REGISTRY.register(name="pgvector")
class PgVector(ServerIndex):
    """An index in PostgreSQL.

    Options:
        ann: "" for exact search, "hnsw" for an approximate index, built by `compact`.
        exact_rows: permitted rows up to which search is exact all the same.
        m, ef_construction: of HNSW.
    """

    name = "pgvector"
    OPTIONS: ClassVar[Mapping[str, Any]] = {"ann": "", "exact_rows": 50_000, "m": 16, "ef_construction": 64}

    def __init__(self, connection, table: str, where: str, manifest: Manifest, write: bool):
        super().__init__(where, manifest, write)
        self._connection, self._table = connection, table
        self._lock = threading.RLock()  # one connection: transactions of several threads must not mix

    # -- opening -----------------------------------------------------------------------------------------------------

    @classmethod
    def create(
        cls, uri: str, *, dim: int, metric: str = "cosine", model: Mapping[str, Any] | None = None,
        config: str = "", weights_path: str = "", image_root: str = "", **options: Any,
    ) -> "PgVector":  # fmt: skip
        manifest = cls._first_manifest(dim, metric, model, config, weights_path, image_root, options)
        connection, table, where = _connect(uri)
        try:
            _lock_writer(connection, table, where)
            if _exists(connection, table):
                raise FileExistsError(f"There is an index at '{where}' already")
            types = dict.fromkeys(SCALARS, "text NOT NULL") | dict.fromkeys(DATE_COLUMNS, "integer NOT NULL")
            columns = ", ".join(f"{name} {kind}" for name, kind in types.items())
            with connection.transaction():
                connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
                connection.execute(
                    f"CREATE TABLE {table} ({ROW} bigint PRIMARY KEY, {ADDED} bigint NOT NULL, "
                    f"{REMOVED} bigint NOT NULL, {columns}, {VECTOR} vector({manifest.info.dim}) NOT NULL)"
                )
                for name in ("figure_id", "patent", "date"):
                    connection.execute(f"CREATE INDEX ON {table} ({name})")
                connection.execute(f"CREATE TABLE {table}_manifest (content text NOT NULL)")
                connection.execute(f"INSERT INTO {table}_manifest VALUES (%s)", (manifest.as_text(),))
        except BaseException:
            connection.close()
            raise
        return cls(connection, table, where, manifest, write=True)

    @classmethod
    def open(cls, uri: str, write: bool = False) -> "PgVector":
        connection, table, where = _connect(uri)
        try:
            if not _exists(connection, table):
                raise FileNotFoundError(f"No index at '{where}'. tools/build_index.py makes one")
            if write:
                _lock_writer(connection, table, where)
            return cls(connection, table, where, _manifest(connection, table, where), write)
        except BaseException:
            connection.close()
            raise

    def close(self) -> None:
        self._connection.close()  # the writer's lock goes with it

    # -- what a server must do ---------------------------------------------------------------------------------------

    def _load(self) -> Manifest:
        with self._lock:
            return _manifest(self._connection, self._table, self.where)

    def _save(self, manifest: Manifest) -> None:
        with self._lock:
            self._connection.execute(f"UPDATE {self._table}_manifest SET content = %s", (manifest.as_text(),))

    def _commit(
        self, manifest: Manifest, figures: Figures | None, vectors: np.ndarray | None, gone: np.ndarray
    ) -> None:
        version = manifest.info.version
        with self._lock, self._connection.transaction():
            if len(gone):
                self._connection.execute(
                    f"UPDATE {self._table} SET {REMOVED} = %s WHERE {ROW} = ANY(%s)", (version, gone.tolist())
                )
            if figures is not None and len(figures):
                self._copy(figures, vectors, version)
            self._save(manifest)

    def _copy(self, figures: Figures, vectors: np.ndarray, version: int) -> None:
        columns, first = columns_of(figures), self._manifest.next_row
        with (
            self._connection.cursor() as cursor,
            cursor.copy(f"COPY {self._table} ({', '.join(COPIED)}) FROM STDIN") as copy,
        ):
            for place in range(len(figures)):
                values = [columns[name][place] for name in SCALARS]
                copy.write_row((first + place, version, 0, *values, _as_text(vectors[place])))

    def _compact(self, manifest: Manifest) -> None:
        with self._lock:
            with self._connection.transaction():
                self._connection.execute(f"DELETE FROM {self._table} WHERE {REMOVED} > 0")
                if self._option("ann"):
                    kind = "vector_ip_ops" if manifest.info.metric == "cosine" else "vector_l2_ops"
                    m, ef = int(self._option("m")), int(self._option("ef_construction"))
                    self._connection.execute(f"DROP INDEX IF EXISTS {self._table}_hnsw")
                    self._connection.execute(
                        f"CREATE INDEX {self._table}_hnsw ON {self._table} USING hnsw ({VECTOR} {kind}) "
                        f"WITH (m = {m}, ef_construction = {ef})"
                    )
                self._save(manifest)
            self._connection.execute(f"VACUUM ANALYZE {self._table}")

    def _near(self, queries: np.ndarray, n: int, permitted: Permitted, share: float | None) -> list[Found]:
        where, values = _where(permitted)
        sign, score = ("<#>", "-(near)") if self.info.metric == "cosine" else ("<->", "-(near * near)")
        # the second key makes it exact: an index cannot give that order
        order = f"near, {ROW}" if share is None else "near"
        text = (
            f"SELECT {ROW}, {score}, {VECTOR}::real[] FROM (SELECT {ROW}, {VECTOR}, {VECTOR} {sign} %s::vector AS near "
            f"FROM {self._table} WHERE {where} ORDER BY {order} LIMIT %s) AS found"
        )
        with self._lock, self._connection.transaction():
            if share is not None:
                self._widen(n, share)
            return [
                self._found(self._connection.execute(text, (_as_text(query), *values, n)).fetchall())
                for query in queries
            ]

    def _widen(self, n: int, share: float) -> None:
        """Let this transaction look at more of the approximate index."""
        width = int(min(WIDEST, max(100, 2 * n / share)))
        self._connection.execute(f"SET LOCAL hnsw.ef_search = {width}")
        if _extension(self._connection) >= ITERATIVE:
            self._connection.execute("SET LOCAL hnsw.iterative_scan = strict_order")

    def _found(self, rows: list[tuple]) -> Found:
        vectors = np.array([row[2] for row in rows], dtype=np.float32).reshape(len(rows), self.info.dim)
        return Found(np.array([row[0] for row in rows], dtype=np.int64), np.array([row[1] for row in rows]), vectors)

    def _fetch(self, rows: np.ndarray, version: int, columns: Sequence[str]) -> dict[int, tuple]:
        shown = ", ".join(f"{name}::real[]" if name == VECTOR else name for name in columns)
        text = f"SELECT {ROW}, {shown} FROM {self._table} WHERE {ROW} = ANY(%s) AND {ADDED} <= %s"
        return {row[0]: row[1:] for row in self._ask(text, (rows.tolist(), version))}

    def _named(self, column: str, values: Sequence[str], version: int) -> list[tuple[int, str, str]]:
        where, more = _where(Permitted(version, (Condition((column,), "in", list(values)),)))
        return self._ask(f"SELECT {ROW}, figure_id, patent FROM {self._table} WHERE {where}", more)

    def _count(self, permitted: Permitted) -> Count:
        where, values = _where(permitted)
        return Count(*self._ask(f"SELECT count(*), count(DISTINCT patent) FROM {self._table} WHERE {where}", values)[0])

    def _figures_in(self, permitted: Permitted) -> int:
        where, values = _where(permitted)
        return self._ask(f"SELECT count(*) FROM {self._table} WHERE {where}", values)[0][0]

    def _facets(self, facets: Sequence[str], date_field: str, permitted: Permitted) -> dict[str, dict[str, Count]]:
        where, values = _where(permitted)
        found = {}
        for facet in facets:
            column = f"{date_field} / 10000" if facet == "year" else FACET_COLUMNS.get(facet, facet)
            rows = self._ask(
                f"SELECT {column}, count(*), count(DISTINCT patent) FROM {self._table} WHERE {where} GROUP BY 1", values
            )
            found[facet] = {("" if value in (0, "") else str(value)): Count(n, designs) for value, n, designs in rows}
        return found

    def _ask(self, text: str, values: Sequence[Any] = ()) -> list[tuple]:
        with self._lock:
            return self._connection.execute(text, values).fetchall()


def _where(permitted: Permitted) -> tuple[str, list[Any]]:
    """Return the conditions as SQL, and its parameters."""
    parts, values = [f"{ADDED} <= %s AND ({REMOVED} = 0 OR {REMOVED} > %s)"], [permitted.version, permitted.version]
    for condition in permitted.conditions:
        ways = []
        for column in condition.columns:
            if condition.sign in SIGNS:
                ways.append(f"{column} {condition.sign} %s")
            elif condition.sign == "contains":
                ways.append(f"strpos({column}, %s) > 0")
            else:
                ways.append(f"{'' if condition.sign == 'in' else 'NOT '}{column} = ANY(%s)")
            values.append(condition.value)
        parts.append(f"({' OR '.join(ways)})")
    return " AND ".join(parts), values


def _as_text(vector: np.ndarray) -> str:
    """A float32 vector as pgvector reads it; nine digits give every float32 back."""
    return "[" + ",".join(f"{value:.9g}" for value in vector.tolist()) + "]"


def _connect(uri: str):
    """Return a connection, the table's name, and the address without password.

    Raises:
        ConnectionError: the server does not let us in.
        ValueError: a table name that is not plain.
    """
    try:
        import psycopg
    except ImportError as error:
        raise ImportError("an index in PostgreSQL needs psycopg: pip install 'fastreid[pgvector]'") from error
    parts = urlsplit(uri)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    table = query.pop("table", TABLE)
    if not PLAIN_NAME.fullmatch(table):
        raise ValueError(f"table of an index in PostgreSQL must be lower-case letters, digits and _; got '{table}'")
    server = urlunsplit(parts._replace(query=urlencode(query)))
    where = f"{parts.scheme}://{parts.hostname or ''}{parts.path}?table={table}"
    try:
        connection = psycopg.connect(server, autocommit=True)
    except psycopg.OperationalError as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConnectionError(
            f"cannot connect to {where}: {reason.replace(parts.password or chr(0), '***')}"
        ) from error
    return connection, table, where


def _exists(connection, table: str) -> bool:
    return connection.execute("SELECT to_regclass(%s)", (f"{table}_manifest",)).fetchone()[0] is not None


def _lock_writer(connection, table: str, where: str) -> None:
    """Take the writer's lock, which ends with the connection."""
    key = f"fastreid index {table}"
    if not connection.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", (key,)).fetchone()[0]:
        raise IndexLocked(f"another process is writing to the index at '{where}'")


def _manifest(connection, table: str, where: str) -> Manifest:
    rows = connection.execute(f"SELECT content FROM {table}_manifest").fetchall()
    return Manifest.of_text(rows[0][0] if len(rows) == 1 else "", where)


def _extension(connection) -> tuple[int, ...]:
    """Version of pgvector."""
    found = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()[0]
    return tuple(int(part) for part in re.findall(r"\d+", found))
