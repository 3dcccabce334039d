"""Values as they stand in downloaded records, where each may be missing, empty or of an odd type."""

import datetime
import math
import re
from pathlib import PurePosixPath
from typing import Any

from fastreid.data.metadata import date_number

# "USD0836880-20190101", "USD0836880"
_PATENT = re.compile(r"(?P<id>\w+)(?:-(?P<date>\d{8}))?")


def text_of(value: Any) -> str:
    """Return a text or number as one line of text, "" for everything else; 3.0 becomes "3"."""
    if isinstance(value, str):
        return " ".join(value.split())
    if isinstance(value, float) and math.isfinite(value):
        return str(int(value)) if value.is_integer() else str(value)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


def number_of(value: Any) -> int | str:
    """Return the number of a figure as an integer where it is one, else as it is written ("1A")."""
    text = text_of(value)
    return int(text) if text.isascii() and text.isdigit() else text


def numbers_of(*values: Any) -> list[int | float]:
    """Return the values as numbers, ``[]`` unless all of them are finite ones."""
    try:
        numbers = [float(text_of(value)) for value in values]
    except ValueError:
        return []
    if not all(map(math.isfinite, numbers)):
        return []
    return [int(number) if number.is_integer() else number for number in numbers]


def date_of(*values: Any) -> str:
    """Return the first of the values that is a day, as "2019-01-01"; "" for none.

    Read are "2019-01-01", "20190101" and the integer 20190101.
    """
    for value in values:
        number = date_number(text_of(value)) or 0
        try:
            return datetime.date(number // 10000, number // 100 % 100, number % 100).isoformat()
        except ValueError:
            continue
    return ""


def patent_of(value: Any) -> tuple[str, str]:
    """Split "USD0836880-20190101" into ("USD0836880", "20190101"); a missing date, and what is no number, is ""."""
    match = _PATENT.fullmatch(text_of(value))
    return (match["id"], match["date"] or "") if match else ("", "")


def is_file_name(name: str) -> bool:
    """Whether ``name`` is a relative path that stays in its folder and can stand in a list file."""
    path = PurePosixPath(name)
    return bool(name) and name.isprintable() and not path.is_absolute() and ".." not in path.parts


def without_empty(values: dict[str, Any]) -> dict[str, Any]:
    """Drop what says nothing: "", ``[]`` and ``None``."""
    return {name: value for name, value in values.items() if value not in ("", None, [])}
