"""The way to an index in PostgreSQL: its address, connections to lend, errors in words without the password."""

import contextlib
import re
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from fastreid.index.errors import IndexCorrupt, IndexLocked

TABLE = "fastreid_index"
PLAIN_NAME = re.compile(r"[a-z_][a-z0-9_]{0,40}")
SECRETS = ("password", "sslpassword")


class Link:
    """Connections to one database, lent to one thread at a time each and kept for the next.

    Args:
        uri: as libpq reads it, and ``table=NAME`` beside its parameters.

    Attributes:
        table: name of the index.
        where: the address without the password, for messages.

    Raises:
        ValueError: the address cannot be read, or the table's name is not plain.
        ImportError: psycopg or pgvector is not installed.
    """

    def __init__(self, uri: str):
        try:
            import pgvector.psycopg
            import psycopg
        except ImportError as error:
            raise ImportError(f"an index in PostgreSQL needs {error.name}: pip install 'fastreid[pgvector]'") from error
        try:
            parts = urlsplit(uri)
            asked = parse_qsl(parts.query, keep_blank_values=True)
            query = urlencode([pair for pair in asked if pair[0] != "table"], quote_via=quote)
            self._parameters = psycopg.conninfo.conninfo_to_dict(urlunsplit(parts._replace(query=query)))
        except (psycopg.Error, ValueError):  # whose words may repeat the password
            raise ValueError(
                "the address of an index in PostgreSQL must be like postgresql://user@host:5432/database?table=NAME; "
                "the given one cannot be read"
            ) from None
        self.table = dict(asked).get("table", TABLE)
        if not PLAIN_NAME.fullmatch(self.table):
            raise ValueError(
                "table of an index in PostgreSQL must be lower-case letters, digits and _, at most 41; "
                f"got '{self.table}'"
            )
        host, port = self._parameters.get("host", "localhost"), self._parameters.get("port")
        place = f"{host}:{port}" if port else host
        self.where = f"postgresql://{place}/{self._parameters.get('dbname', '')}?table={self.table}"
        self._idle: list[Any] = []
        self._guard, self._closed = threading.Lock(), False
        self._vectors = pgvector.psycopg.register_vector

    def connect(self):
        """Return a new connection; ``ConnectionError`` where the server does not let us in."""
        import psycopg

        try:
            return psycopg.connect(autocommit=True, **self._parameters)
        except psycopg.Error as error:
            raise ConnectionError(f"cannot connect to {self.where}: {self._scrubbed(error)}") from None

    def prepare(self, connection) -> None:
        """Teach a connection the type of vectors, which the database must have."""
        self._vectors(connection)

    def keep(self, connection) -> None:
        """Take in a prepared connection, to be lent."""
        with self._guard:
            self._idle.append(connection)

    @contextlib.contextmanager
    def lent(self) -> Iterator[Any]:
        """Lend a connection that knows the type of vectors."""
        with self._guard:
            if self._closed:
                raise ValueError(f"the index at '{self.where}' is closed")
            connection = self._idle.pop() if self._idle else None
        with self.told():
            if connection is None:
                connection = self.connect()
                self.prepare(connection)
            try:
                yield connection
            finally:
                with self._guard:
                    if self._closed or connection.closed:
                        connection.close()
                    else:
                        self._idle.append(connection)

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """Tell errors of the server in one line."""
        import psycopg

        try:
            yield
        except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as error:
            raise IndexCorrupt(f"the index at '{self.where}' is damaged: {self._scrubbed(error)}") from None
        except psycopg.OperationalError as error:
            # connections that lie idle have most likely gone the same way
            with self._guard:
                idle, self._idle = self._idle, []
            for connection in idle:
                connection.close()
            raise ConnectionError(f"the server of {self.where} says: {self._scrubbed(error)}") from None
        except psycopg.Error as error:
            raise OSError(f"the server of {self.where} says: {self._scrubbed(error)}") from None

    def _scrubbed(self, error: Exception) -> str:
        """The first line of an error, without the password."""
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        for name in SECRETS:
            text = text.replace(str(self._parameters.get(name) or "\0"), "***")
        return text

    def lock(self, connection) -> None:
        """Take the lock of the writer, which ends with the connection; ``IndexLocked`` where another one has it."""
        with self.told():
            # tables of the same name in two schemas are two indexes
            text = "SELECT pg_try_advisory_lock(hashtextextended(current_schema() || %s, 0))"
            if not connection.execute(text, (f" fastreid index {self.table}",)).fetchone()[0]:
                raise IndexLocked(f"another process is writing to the index at '{self.where}'")

    def close(self) -> None:
        with self._guard:
            idle, self._idle, self._closed = self._idle, [], True
        for connection in idle:
            connection.close()
