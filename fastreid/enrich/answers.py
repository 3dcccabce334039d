"""Answers that were paid for, and what they cost, in a file that survives a kill at any moment (SQLite)."""

import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

_TABLES = """
CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, text TEXT NOT NULL, cut INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS costs (
    key TEXT NOT NULL, prompt_tokens INTEGER, completion_tokens INTEGER, cost REAL NOT NULL, note TEXT NOT NULL
);
"""


class Answers:
    """Answers by the hash of their question, for all threads of a process; other processes may use the file too.

    Args:
        path: of the file; "" keeps the answers in memory.

    Raises:
        ValueError: the file is none of this kind.
    """

    def __init__(self, path: str | os.PathLike = ""):
        if path:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._file = sqlite3.connect(path or ":memory:", check_same_thread=False, timeout=60.0)
        try:
            if path:
                self._file.execute("PRAGMA journal_mode = WAL")
            self._file.executescript(_TABLES)
        except sqlite3.DatabaseError as error:
            self._file.close()
            raise ValueError(f"{path} is no file of answers, or cannot be used as one: {error}") from error

    def get(self, key: str) -> tuple[str, bool] | None:
        """Return text and whether it was cut off; ``None`` for a question that was not answered yet."""
        with self._lock:
            row = self._file.execute("SELECT text, cut FROM answers WHERE key = ?", (key,)).fetchone()
        return (row[0], bool(row[1])) if row else None

    def begin(self, key: str, most: float) -> int:
        """Write down a request before it is sent, at the most that it can cost; return its number.

        Should this process be killed, that stays: the answer was perhaps on its way.
        """
        with self._lock, self._file:
            row = (key, None, None, most, "no answer")
            return self._file.execute("INSERT INTO costs VALUES (?, ?, ?, ?, ?)", row).lastrowid

    def add(self, number: int, key: str, text: str, cut: bool, tokens: tuple[int, int] | None, cost: float) -> None:
        """Keep the answer to a request and what it cost, both or neither."""
        row = (*(tokens or (None, None)), cost, "answered", number)
        with self._lock, self._file:
            self._file.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", (key, text, cut))
            self._file.execute(
                "UPDATE costs SET prompt_tokens = ?, completion_tokens = ?, cost = ?, note = ? WHERE rowid = ?", row
            )

    def fail(self, number: int, cost: float, note: str) -> None:
        """Write down why a request has no answer, and what it is counted at."""
        with self._lock, self._file:
            self._file.execute("UPDATE costs SET cost = ?, note = ? WHERE rowid = ?", (cost, note, number))

    def forget(self, keys: list[str]) -> None:
        """Drop answers that turned out unusable, so that a later run asks anew. Their cost stays."""
        with self._lock, self._file:
            self._file.executemany("DELETE FROM answers WHERE key = ?", [(key,) for key in keys])

    @property
    def spent(self) -> float:
        """The cost of all requests that the file knows."""
        with self._lock, closing(self._file.execute("SELECT TOTAL(cost) FROM costs")) as rows:
            return rows.fetchone()[0]

    def close(self) -> None:
        with self._lock:
            self._file.close()
