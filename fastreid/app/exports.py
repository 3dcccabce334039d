"""Searches and sets as files: CSV for a table, JSON for programs, PDF for people."""

import csv
import io
import json
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from fastreid.app.jobs import Result
from fastreid.engine.search_request import SearchRequest
from fastreid.engine.search_words import condition_rows, cut_off_words, date_words, query_words, range_words

if TYPE_CHECKING:
    from fastreid.app.service import SearchService

Progress = Callable[[int, int], None]
TYPES = {"csv": "text/csv; charset=utf-8", "json": "application/json", "pdf": "application/pdf"}
FIGURE_COLUMNS = ("figure_id", "figure", "view", "title", "locarno", "date", "filed", "office", "applicant")
VALUES = 100  # of a condition in a cell, which spreadsheets cut at 32,767 letters
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a cell that begins so may be run by a spreadsheet


def export_search(
    record: Mapping[str, Any], images: Mapping[str, bytes], form: str, service: "SearchService", progress: Progress
) -> Result:
    """Return the record of a search as a file.

    Args:
        images: contents of its query images by SHA-256.
        form: "csv", "json" or "pdf".
    """
    name = file_name(record["name"] or "search", form)
    if form == "json":
        return Result(json.dumps(record, ensure_ascii=False, indent=1).encode(), name, TYPES[form])
    if form == "csv":
        return Result(as_csv(search_rows(record)), name, TYPES[form])
    from fastreid.app.report_pdf import search_report

    return Result(search_report(record, images, service, progress), name, TYPES[form])


def export_set(found: Mapping[str, Any], form: str, service: "SearchService", progress: Progress) -> Result:
    """Return a set as a file."""
    name = file_name(found["name"] or "set", form)
    if form == "json":
        return Result(json.dumps(found, ensure_ascii=False, indent=1).encode(), name, TYPES[form])
    if form == "csv":
        version = service.index.info.version
        return Result(as_csv([set_row(item, version) for item in found["items"]]), name, TYPES[form])
    from fastreid.app.report_pdf import set_report

    return Result(set_report(found, service, progress), name, TYPES[form])


def search_rows(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Results as rows; evidence as "query figure: figure_id (score)".

    What was searched, and which results the file holds, stands in each row: rows are sorted, cut and pasted. A search
    without results has one row, which tells that.
    """
    request = SearchRequest.from_json(record["request"])
    conditions = [f"{name}: {value}" for name, value in condition_rows(request, VALUES)]
    shared = {
        "searched": "; ".join([cut_off_words(request.filter), *conditions]),
        "results": range_words(record),
        "index version": record["index"]["version"],
    }
    return [{**search_row(result), **shared} for result in record["results"]] or [{"rank": "", "patent": "", **shared}]


def search_row(result: Mapping[str, Any]) -> dict[str, Any]:
    figure = result["figure"]
    matches = result.get("evidence") or [result]
    return {
        "rank": result["rank"],
        "patent": figure["patent"],
        "score": f"{result['score']:.6f}",
        **{name: figure[name] for name in FIGURE_COLUMNS},
        "evidence": "; ".join(
            f"{query_words(match)}: {match['figure']['figure_id']} ({match['score']:.4f})" for match in matches
        ),
    }


def set_row(item: Mapping[str, Any], version: int) -> dict[str, Any]:
    figure = item["figure"] or {}
    columns = {name: figure.get(name, "") for name in FIGURE_COLUMNS if name != "figure_id"}
    own = {name: item[name] for name in ("figure_id", "patent", "note", "added")}
    return {**own, **columns, "in the index": "yes" if figure else "no", "index version": version}


def as_csv(rows: list[Mapping[str, Any]]) -> bytes:
    """Return rows as CSV with a byte order mark, by which spreadsheets know that it is UTF-8; 0 dates are empty."""
    buffer = io.StringIO(newline="")
    if rows:
        writer = csv.DictWriter(buffer, list(rows[0]))
        writer.writeheader()
        writer.writerows({name: harmless(value, name) for name, value in row.items()} for row in rows)
    return b"\xef\xbb\xbf" + buffer.getvalue().encode("utf-8", "replace")


def harmless(value: Any, name: str = "") -> str:
    """Return a cell that no spreadsheet takes for a formula."""
    if name in ("date", "filed"):
        return date_words(value or 0)
    text = str(value)
    return f"'{text}" if isinstance(value, str) and name != "score" and text.startswith(FORMULA) else text


def file_name(name: str, form: str) -> str:
    """A name that every file system and header takes."""
    return (re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:80] or "export") + f".{form}"
