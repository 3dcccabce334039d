"""Records of a JSON file that is larger than memory: one list of objects, or one object per line.

Home-made, because a record that is damaged is to be counted and the next ones read; ijson, the well-kept streaming
parser, ends at the first error. Both forms are decoded by ``json`` itself, a record at a time.
"""

import json
import os
import re
from collections.abc import Callable, Iterator
from typing import IO, Any

CHUNK = 1 << 20  # characters read at a time
LONGEST = 1 << 20  # characters; a record that is not complete by then is damaged

_BETWEEN = re.compile(r"[\s,]*")
_NEXT = re.compile(r"\}\s*,\s*(?=\{)")

Item = tuple[str, dict[str, Any] | None, str]


def read_records(path: str | os.PathLike, progress: Callable[[int], None] | None = None) -> Iterator[Item]:
    """Yield (place, record, fault) of all records: "line 3" or "record 3", and the record, or ``None`` and why not.

    Memory is bounded by ``CHUNK + LONGEST`` characters, or by the longest line. After a damaged record of a list the
    next one is searched for.

    Args:
        progress: called now and then with the number of bytes that were read.
    """
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        start = file.read(1)
        while start.isspace():
            start = file.read(1)
        items = _from_list(file) if start == "[" else _from_lines(file, start)
        for count, item in enumerate(items):
            yield item
            if progress and count % 1000 == 0:
                progress(file.buffer.tell())


def _from_lines(file: IO[str], start: str) -> Iterator[Item]:
    for number, line in enumerate(file, start=1):
        line = (start + line if number == 1 else line).strip().rstrip(",")
        if not line:
            continue
        try:
            yield _item(f"line {number}", json.loads(line))
        except (ValueError, RecursionError) as error:
            yield f"line {number}", None, str(error)


def _from_list(file: IO[str]) -> Iterator[Item]:
    """Records of a list whose opening bracket has been read."""
    decode = json.JSONDecoder().raw_decode
    text, at, number, fault = "", 0, 1, ""
    while True:
        at = _BETWEEN.match(text, at).end()
        if text[at : at + 1] == "]":
            return
        if at < len(text):
            try:
                record, at = decode(text, at)
            except (ValueError, RecursionError) as error:
                fault = str(error)
            else:
                yield _item(f"record {number}", record)
                number += 1
                continue
        if len(text) - at < LONGEST and (chunk := file.read(CHUNK)):
            text, at = text[at:] + chunk, 0
            continue
        if at == len(text):
            yield f"record {number}", None, "the file ends before its list does"
            return
        yield f"record {number}", None, fault
        following = _NEXT.search(text, at)
        if following is None:  # nothing more can be made out
            return
        number, at = number + 1, following.end()


def _item(place: str, record: Any) -> Item:
    if isinstance(record, dict):
        return place, record, ""
    return place, None, f"a record must be an object; got {type(record).__name__}"
