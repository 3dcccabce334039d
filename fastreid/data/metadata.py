"""Metadata of patents: a file of JSON lines, a patent per line, and the record columns that follow from it.

A line holds what the patent says of itself and, in ``figures``, of its drawings::

    {"patent_id": "USD0540000", "date": "2018-11-06", "locarno": "0601", "title": "Chair", "figures": [
      {"file": "I20181106/USD0540000-20181106/USD0540000-20181106-D00001.png", "number": 1, "view": "front",
       "caption": "FIG. 1 is a front elevational view of a chair;"}]}

Only ``file`` is obligatory, everything else may be missing or empty; further keys are left alone. The figures of one
patent may be spread over several lines. ``file`` is relative to the folder of the images. Codes of another
classification than Locarno's stand in ``taxonomy``, which then takes the place of ``locarno``.

An index of figures (:mod:`fastreid.engine.figure_metadata`) also keeps ``office`` ("US", "EM"; without it the office is
read from the number of the patent), ``applicant``, and ``filed``, the date of filing or priority.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import date
from typing import Any

from fastreid.data.json_lines import read_json_lines
from fastreid.data.path_index import PathIndex
from fastreid.data.records import Record


def read_metadata(path: str | os.PathLike) -> Iterator[dict[str, Any]]:
    """Iterate over the patents of a metadata file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a line is not such an object, naming file and line.
    """
    form = "a line of metadata must be a JSON object with a list `figures`, each with a `file`"
    return read_json_lines(path, _check_patent, form)


def _check_patent(patent: Any) -> None:
    if not all(isinstance(figure["file"], str) for figure in patent["figures"]):
        raise TypeError("`file` of a figure must be a text")


def date_number(given: str | int | None) -> int | None:
    """Return a date as the integer yyyymmdd, from "2018-11-06", "20181106" or the integer; ``None`` for none."""
    digits = str(given or "").replace("-", "").strip()
    return int(digits) if len(digits) == 8 and digits.isdecimal() else None


def is_date(number: int) -> bool:
    """Whether an integer yyyymmdd is a day of the calendar, of a year with four digits."""
    if not 10000101 <= number <= 99991231:
        return False
    try:
        return bool(date(number // 10000, number // 100 % 100, number % 100))
    except ValueError:
        return False


def text_of(patent: Mapping[str, Any], figure: Mapping[str, Any]) -> str | None:
    """Return the title (or else the object) and the caption of a figure as one text; ``None`` when it has neither."""
    title, caption = patent.get("title") or figure.get("object"), figure.get("caption")
    return ". ".join(part for part in (title, caption) if part) or None


class Metadata:
    """Record columns by file, from one or more metadata files."""

    def __init__(self, paths: Iterable[str | os.PathLike]):
        files, self._columns = [], []
        for path in paths:
            for patent in read_metadata(path):
                taxonomy = patent.get("taxonomy") or patent.get("locarno") or None
                shared = {"date": date_number(patent.get("date")), "taxonomy": taxonomy}
                for figure in patent["figures"]:
                    files.append(figure["file"])
                    text, view = text_of(patent, figure), figure.get("view") or None
                    self._columns.append({**shared, "text": text, "view": view})
        self._index = PathIndex(files)

    def complete(self, record: Record) -> Record:
        """Return the record with the columns of its file; what the file does not say stays as it is."""
        place = self._index.find(record.path)
        if place < 0:
            return record
        return replace(record, **{name: value for name, value in self._columns[place].items() if value is not None})
