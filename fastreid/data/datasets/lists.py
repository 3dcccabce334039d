"""List files: one image per line, ``path identity [camera]``, or the path alone."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from fastreid.data.records import Record

# "...-20180220-D00005.png": the grant date and the sheet; a few sheets of DeepPatent have the letter P
_DATE = re.compile(r"-(\d{8})-[DP]\d{5}")
_FORMS = ("path", "path identity", "path identity camera")


def read_list(path: str | os.PathLike, columns: int = 2) -> list[tuple[tuple[str, ...], str]]:
    """Read a list file; return per line its ``columns`` fields and its place ``file:line``.

    Fields are split from the right, so that paths may contain spaces. Blank lines, a byte order mark and Windows line
    ends are accepted.

    Raises:
        FileNotFoundError: no such list.
        ValueError: a line has fewer fields, naming file and line.
    """
    rows = []
    with open(path, encoding="utf-8-sig", errors="surrogateescape") as file:
        for number, line in enumerate(file, start=1):
            if not (line := line.strip()):
                continue
            fields = line.rsplit(maxsplit=columns - 1) if columns > 1 else [line]
            if len(fields) < columns:
                raise ValueError(f"{path}:{number}: a line must be `{_FORMS[columns - 1]}`; got {line!r}")
            rows.append((tuple(fields), f"{path}:{number}"))
    return rows


def integer(field: str, what: str, place: str) -> int:
    """Return ``field`` as an integer or raise ``ValueError`` naming the list file and line."""
    try:
        return int(field)
    except ValueError:
        raise ValueError(f"{place}: the {what} must be an integer; got {field!r}") from None


def date_of(path: str) -> int | None:
    """Return the grant date yyyymmdd in a DeepPatent file name, or ``None``.

    >>> date_of("I20180220/USD0810412-20180220/USD0810412-20180220-D00005.png")
    20180220
    """
    match = _DATE.search(path)
    return int(match.group(1)) if match else None


def labelled_records(
    lists: Iterable[str | os.PathLike], folder: str | os.PathLike, camid: int, prefix: str = ""
) -> list[Record]:
    """Records of lists with lines ``path integer``, the paths relative to ``folder``.

    Args:
        prefix: put before the identity; training identities of several data sets then never meet.
    """
    records, folder = [], str(folder)
    for name in lists:
        for (path, identity), place in read_list(name):
            number = integer(identity, "identity", place)
            pid = f"{prefix}{number}" if prefix else number
            records.append(Record(os.path.join(folder, path), pid, camid, date=date_of(path), source=place))
    return records


def unlabelled_records(name: str | os.PathLike, folder: str | os.PathLike, camid: int) -> list[Record]:
    """Records of a list with paths only; the identity is 0 for all, as in the DIRA code."""
    return [
        Record(str(Path(folder) / path), 0, camid, date=date_of(path), source=place)
        for (path,), place in read_list(name, columns=1)
    ]
