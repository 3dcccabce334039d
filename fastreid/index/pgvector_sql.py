"""The statements of an index in PostgreSQL. Values are always parameters; names of columns are our own."""

from collections.abc import Sequence
from typing import Any

from fastreid.index.figures import DATE_COLUMNS
from fastreid.index.server_rows import ADDED, REMOVED, ROW, SCALARS, VECTOR, Condition, Permitted

COPIED = (ROW, VECTOR, ADDED, REMOVED, *SCALARS)
COPIED_TYPES = ("int8", "vector", "int8", "int8", *("int4" if name in DATE_COLUMNS else "text" for name in SCALARS))
MOST_EF = 1_000  # of hnsw.ef_search
_SIGNS = {"in": "{} = ANY(%s)", "not in": "{} <> ALL(%s)", "contains": "strpos({}, %s) > 0"}


class Statements:
    """The statements of one index, of whose table the name is a plain one (see ``pgvector_link``)."""

    def __init__(self, table: str):
        self.table, self.manifest_name = table, f"{table}_manifest"
        self.read_manifest = f"SELECT content FROM {self.manifest_name}"
        self.first_manifest = f"INSERT INTO {self.manifest_name} VALUES (%s)"
        self.write_manifest = f"UPDATE {self.manifest_name} SET content = %s"
        self.copy = f"COPY {table} ({', '.join(COPIED)}) FROM STDIN (FORMAT BINARY)"
        self.remove = f"UPDATE {table} SET {REMOVED} = %s WHERE {ROW} = ANY(%s)"
        self.drop_removed = f"DELETE FROM {table} WHERE {REMOVED} > 0"
        self.vacuum = f"VACUUM (ANALYZE) {table}"
        self.graphs = (
            "SELECT indexrelid::regclass::text FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid "
            f"JOIN pg_am ON pg_am.oid = relam WHERE indrelid = '{table}'::regclass AND amname = 'hnsw'"
        )

    def create(self, dim: int) -> list[str]:
        """Return the statements that make the tables."""
        table = self.table
        scalars = ", ".join(f"{name} {'int' if name in DATE_COLUMNS else 'text'} NOT NULL" for name in SCALARS)
        numbers = f"{ROW} bigint PRIMARY KEY, {ADDED} bigint NOT NULL, {REMOVED} bigint NOT NULL"
        return [
            f"CREATE TABLE {self.manifest_name} (content text NOT NULL)",
            f"CREATE TABLE {table} ({numbers}, {scalars}, {VECTOR} vector({dim:d}) NOT NULL)",
            *(f"CREATE INDEX ON {table} ({name})" for name in ("figure_id", "patent", *DATE_COLUMNS)),
        ]

    def build_graph(self, version: int, metric: str, m: int, ef_construction: int) -> str:
        operators = "vector_ip_ops" if metric == "cosine" else "vector_l2_ops"
        return (
            f"CREATE INDEX {self.table}_hnsw_{version:d} ON {self.table} USING hnsw ({VECTOR} {operators}) "
            f"WITH (m = {m:d}, ef_construction = {ef_construction:d})"
        )

    def near(self, metric: str, where: str, scan: bool) -> str:
        """Return the search: parameters are the query, those of ``where``, and how many."""
        sign = "<#>" if metric == "cosine" else "<->"
        inner = f"SELECT {ROW}, {VECTOR}, {VECTOR} {sign} %s AS near FROM {self.table} WHERE {where}"
        # OFFSET 0 keeps the order apart from the table: the graph, which gives it only nearly, cannot serve it. A
        # second sort key would not do: from PostgreSQL 17 on, rows in the order of an index may be sorted further
        return f"SELECT * FROM ({inner}{' OFFSET 0' if scan else ''}) AS found ORDER BY near LIMIT %s"

    def graph_settings(self, n: int, share: float, iterative: bool) -> list[str]:
        """Return what makes a transaction search the graph for ``n`` rows where this share of all is permitted."""
        width = int(min(MOST_EF, max(200, 4 * n / share)))
        # the planner may think a scan cheaper where few rows pass; those few have been scanned before it comes to this
        settings = [f"SET LOCAL {name} = off" for name in ("enable_seqscan", "enable_bitmapscan", "enable_sort")]
        settings.append(f"SET LOCAL hnsw.ef_search = {width}")
        return [*settings, "SET LOCAL hnsw.iterative_scan = strict_order"] if iterative else settings

    def fetch(self, columns: Sequence[str]) -> str:
        return f"SELECT {', '.join((ROW, *columns))} FROM {self.table} WHERE {ROW} = ANY(%s) AND {ADDED} <= %s"

    def named(self, where: str) -> str:
        return f"SELECT {ROW}, figure_id, patent FROM {self.table} WHERE {where}"

    def count(self, where: str) -> str:
        return f"SELECT count(*), count(DISTINCT patent) FROM {self.table} WHERE {where}"

    def count_figures(self, where: str) -> str:
        return f"SELECT count(*) FROM {self.table} WHERE {where}"

    def facet(self, column: str, where: str) -> str:
        return f"SELECT {column}, count(*), count(DISTINCT patent) FROM {self.table} WHERE {where} GROUP BY 1"


def where_of(permitted: Permitted) -> tuple[str, list[Any]]:
    """Return the condition of permitted rows as SQL, and its parameters."""
    texts = [f"{ADDED} <= %s AND ({REMOVED} = 0 OR {REMOVED} > %s)"]
    values: list[Any] = [permitted.version, permitted.version]
    for condition in permitted.conditions:
        texts.append(f"({' OR '.join(_text(column, condition) for column in condition.columns)})")
        values += [condition.value] * len(condition.columns)
    return " AND ".join(texts), values


def _text(column: str, condition: Condition) -> str:
    return _SIGNS.get(condition.sign, f"{{}} {condition.sign} %s").format(column)
