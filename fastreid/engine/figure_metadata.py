"""What an index is told about a figure: from metadata files, or from where its image lies."""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any

from fastreid.data.datasets.lists import date_of
from fastreid.data.metadata import date_number, is_date, read_metadata
from fastreid.data.path_index import PathIndex

# offices whose two letters begin the numbers of their designs (WIPO standard ST.3)
OFFICES = ("US", "EM", "WO", "JP", "KR", "CN", "GB", "DE", "FR", "CA", "AU", "IT", "ES", "IN", "BR", "TW", "CH", "RU")
_US = re.compile(r"(US)?D\d{5,8}([-_].*)?")
_LETTERS = re.compile(r"([A-Z]{2})[A-Z]{0,2}\d{4}.*")


def office_of(patent: str) -> str:
    """Return the office that a patent number names: "US" of USD0510000 and D510000, "EM" of EM008012345; else ""."""
    if _US.fullmatch(patent):
        return "US"
    match = _LETTERS.fullmatch(patent)
    return match[1] if match and match[1] in OFFICES else ""


class FigureMetadata:
    """Columns of an index by file, from metadata files (:mod:`fastreid.data.metadata`).

    Beside what every metadata file has, a line may name ``office``, ``applicant`` and ``filed``.
    """

    def __init__(self, paths: Iterable[str | os.PathLike] = ()):
        files, self._columns = [], []
        for path in paths:
            for patent in read_metadata(path):
                shared = _of_patent(patent, path)
                for figure in patent["figures"]:
                    files.append(figure["file"])
                    self._columns.append({**shared, **_of_figure(figure)})
        self._index = PathIndex(files)

    def __len__(self) -> int:
        return len(self._columns)

    @property
    def files(self) -> list[str]:
        """The files that it knows something of."""
        return self._index.names

    def find(self, path: str) -> int:
        """Return the place of an image among ``files``, -1 where it is none of them."""
        return self._index.find(path)

    def of(self, path: str, identity: str = "") -> dict[str, Any]:
        """Return the columns of an image.

        Without metadata its patent is ``identity``, else the name of its folder, and its date that in a file name of
        DeepPatent.
        """
        place = self.find(path)
        found = dict(self._columns[place]) if place >= 0 else {}
        found["patent"] = found.get("patent") or identity or PurePath(path).parent.name or PurePath(path).stem
        found["office"] = found.get("office") or office_of(found["patent"])
        if not found.get("date") and _in_name(path):
            found["date"] = _in_name(path)
        return found


def _in_name(path: str) -> int:
    date = date_of(path)
    return date if date and is_date(date) else 0


def _of_patent(patent: Mapping[str, Any], path: str | os.PathLike) -> dict[str, Any]:
    names = {"patent": "patent_id", "title": "title", "office": "office", "applicant": "applicant"}
    found: dict[str, Any] = {name: patent.get(key) or "" for name, key in names.items()}
    found["locarno"] = patent.get("taxonomy") or patent.get("locarno") or ""
    for name in ("date", "filed"):
        found[name] = date_number(patent.get(name)) or 0
        if patent.get(name) and not is_date(found[name]):
            raise ValueError(f"{path}: {name} of patent '{found['patent']}' is no date: {patent[name]!r}")
    return found


def _of_figure(figure: Mapping[str, Any]) -> dict[str, Any]:
    number = figure.get("number")
    return {
        "figure": "" if number is None else str(number),
        "view": figure.get("view") or "",
        "caption": figure.get("caption") or "",
    }
