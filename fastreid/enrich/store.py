"""The file of texts: made in a second file that only grows, and put in place when all figures are done.

Both have the same lines, a text each; the texts of a figure stand one behind the other::

    {"file": "a.png", "variant": 0, "variants": 20, "text": "...", "details": "...",
     "captioner": {"name": ..., "model": ..., "prompt_sha256": ...}, "rewriter": {"name": ..., "model": ...},
     "prompt_sha256": ..., "source_sha256": ...}

A process that is killed leaves at most one figure with a part of its lines, which count as none.
"""

import contextlib
import itertools
import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from fastreid.enrich.source import digest
from fastreid.utils.files import atomic_write

PART = ".part"  # behind the name of the file of texts
PROVENANCE = ("captioner", "rewriter", "prompt_sha256", "source_sha256")


def short(value: Any) -> bytes:
    """Return 16 bytes of the hash of a JSON value: 800,000 of them fit into memory."""
    return bytes.fromhex(digest(value)[:32])


def key_of(head: Mapping[str, Any]) -> bytes:
    """Return what tells the texts of a figure from those of another source, prompt or model."""
    return short([head["file"], *(head[name] for name in PROVENANCE)])


def details_key(head: Mapping[str, Any]) -> bytes:
    """Return what details were made of."""
    return short([head["source_sha256"], head["captioner"]])


class Store:
    """Texts of figures by what they were made of. Only hashes and places in the files are held in memory.

    A place is a number: twice the byte where the lines of a figure begin, plus 1 in the finished file.

    Args:
        named: the `short` of each file name that is wanted; texts of others are counted in ``others`` and not found.

    Raises:
        ValueError: the file of texts holds lines of another kind, or another process works on it.
    """

    def __init__(self, path: str | os.PathLike, named: Collection[bytes]):
        self.path = Path(path)
        self.part = self.path.with_name(self.path.name + PART)
        self.others: list[str] = []  # the first of the files that are not wanted
        self.num_others = self._num_finished = 0
        self._named = named
        self._places: dict[bytes, int] = {}
        self._details: dict[bytes, int] = {}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            self._growing: IO[bytes] = stack.enter_context(open(self.part, "ab+"))
            _lock(self._growing, self.part)
            stack.callback(self._drop_if_empty)
            _drop_torn_line(self._growing)
            self._finished = stack.enter_context(open(self.path, "rb")) if self.path.exists() else None
            if self._finished:
                self._num_finished = self._index(self._finished, self.path)
            self._index(self._growing, None)
            self._files = stack.pop_all()

    def find(self, head: Mapping[str, Any]) -> int:
        """Return the place of a figure's texts; -1 when there are none."""
        return self._places.get(key_of(head), -1)

    def details(self, head: Mapping[str, Any]) -> str | None:
        """Return what the same captioner said of the same source before; ``None`` when it did not."""
        place = self._details.get(details_key(head), -1)
        return json.loads(next(self._lines(place)))["details"] if place >= 0 else None

    def __len__(self) -> int:
        return len(self._places)

    def add(self, head: Mapping[str, Any], texts: Sequence[str]) -> int:
        """Append the texts of a figure and return their place."""
        lines = [
            {"file": head["file"], "variant": number, "variants": len(texts), "text": text, **head}
            for number, text in enumerate(texts)
        ]
        start = self._growing.seek(0, os.SEEK_END)
        self._growing.write("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode())
        self._growing.flush()
        self._places[key_of(head)] = 2 * start
        return 2 * start

    def loses(self, places: Iterable[int]) -> bool:
        """Whether the finished file has texts of wanted figures that are not at ``places``."""
        return sum(place % 2 for place in places) < self._num_finished - self.num_others

    def finish(self, places: Iterable[int]) -> None:
        """Put the file of texts in place, with the texts at ``places`` in their order, unless that is what it holds."""
        places = list(places)
        in_order = all(first < second for first, second in itertools.pairwise(places))
        if not (in_order and all(place % 2 for place in places) and len(places) == self._num_finished):
            with atomic_write(self.path) as file:
                for place in places:
                    file.writelines(self._lines(place))
        self.part.unlink()
        self.close()

    def close(self) -> None:
        """Let go of the files; a growing file without texts goes."""
        self._files.close()

    def _drop_if_empty(self) -> None:
        if not self._growing.seek(0, os.SEEK_END):
            self.part.unlink(missing_ok=True)

    def _index(self, file: IO[bytes], owner: Path | None) -> int:
        """Take in the figures of a file and return their number; with an ``owner``, other lines are refused."""
        number = 0
        for start, head in _figures(file, owner):
            number += 1
            if short(head["file"]) not in self._named:
                self.num_others += 1
                self.others = [*self.others, head["file"]][:1]
            else:
                place = 2 * start + (file is self._finished)
                self._places[key_of(head)] = self._details[details_key(head)] = place
        return number

    def _lines(self, place: int) -> Iterator[bytes]:
        """Yield the lines of the figure at a place."""
        file = self._finished if place % 2 else self._growing
        file.seek(place // 2)
        line = file.readline()
        yield line
        yield from itertools.islice(file, json.loads(line)["variants"] - 1)


def _figures(file: IO[bytes], owner: Path | None) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield for each figure whose lines are all there where they begin, and what they have in common."""
    file.seek(0)
    start, count, head = 0, 0, None
    offset = 0
    for line in file:
        record = _record(line)
        if record is None and owner:
            raise ValueError(f"{owner} exists and is no file of texts of this command: {line[:80]!r}")
        variant = record.pop("variant") if record else -1
        if variant == 0:
            start, count, head = offset, 1, record
        elif head is not None and record == head and variant == count:
            count += 1
        else:
            head = None
        offset += len(line)
        if head is not None and count == head["variants"]:
            yield start, head
            head = None


def _record(line: bytes) -> dict[str, Any] | None:
    """Return a line without its text; ``None`` for one that is torn or of another kind."""
    try:
        record = json.loads(line)
        del record["text"]
        whole = isinstance(record["variant"], int) and record["variants"] >= 1 and isinstance(record["details"], str)
        return (
            record if whole and isinstance(record["file"], str) and all(name in record for name in PROVENANCE) else None
        )
    except (ValueError, KeyError, TypeError):
        return None


def _drop_torn_line(file: IO[bytes]) -> None:
    """Cut off what a killed process wrote behind the last whole line."""
    end = size = file.seek(0, os.SEEK_END)
    while end:
        begin = max(0, end - (1 << 16))
        file.seek(begin)
        found = file.read(end - begin).rfind(b"\n")
        if found >= 0:
            end = begin + found + 1
            break
        end = begin
    if end < size:
        file.truncate(end)


def _lock(file: IO[bytes], path: Path) -> None:
    """Make sure that no other process grows the file; the lock goes with the process."""
    try:
        import fcntl
    except ImportError:  # Windows
        return
    busy = ValueError(f"another process works on {path}")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise busy from None
    if not path.exists() or os.fstat(file.fileno()).st_ino != path.stat().st_ino:  # it has just finished
        raise busy
