"""Searches and sets as files: CSV for a table, JSON for programs, PDF for people."""

import csv
import io
import json
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from fastreid.app.jobs import Result

if TYPE_CHECKING:
    from fastreid.app.service import SearchService

Progress = Callable[[int, int], None]
TYPES = {"csv": "text/csv; charset=utf-8", "json": "application/json", "pdf": "application/pdf"}
FIGURE_COLUMNS = ("figure_id", "figure", "view", "title", "locarno", "date", "filed", "office", "applicant")
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
        return Result(as_csv([search_row(each, record) for each in record["results"]]), name, TYPES[form])
    from fastreid.app.report_pdf import search_report

    return Result(search_report(record, images, service, progress), name, TYPES[form])


def export_set(found: Mapping[str, Any], form: str, service: "SearchService", progress: Progress) -> Result:
    """Return a set as a file."""
    name = file_name(found["name"] or "set", form)
    if form == "json":
        return Result(json.dumps(found, ensure_ascii=False, indent=1).encode(), name, TYPES[form])
    if form == "csv":
        return Result(as_csv([set_row(item) for item in found["items"]]), name, TYPES[form])
    from fastreid.app.report_pdf import set_report

    return Result(set_report(found, service, progress), name, TYPES[form])


def search_row(result: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
    """A result as a row; evidence as "query figure: figure_id (score)".

    What was searched stands in each row: rows are sorted, cut and pasted.
    """
    figure = result["figure"]
    matches = result.get("evidence") or [{"query": result["query"], "figure": figure, "score": result["score"]}]
    evidence = "; ".join(f"{m['query'] + 1}: {m['figure']['figure_id']} ({m['score']:.4f})" for m in matches)
    columns = {name: figure[name] for name in FIGURE_COLUMNS}
    return {
        "rank": result["rank"],
        "patent": figure["patent"],
        "score": f"{result['score']:.6f}",
        **columns,
        "evidence": evidence,
        "searched": cut_off(record["request"]["filter"]),
        "index version": record["index"]["version"],
    }


def set_row(item: Mapping[str, Any]) -> dict[str, Any]:
    figure = item["figure"] or {}
    columns = {name: figure.get(name, "") for name in FIGURE_COLUMNS if name != "figure_id"}
    own = {name: item[name] for name in ("figure_id", "patent", "note", "added")}
    return {**own, **columns, "in the index": "yes" if figure else "no"}


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
        return day(value or 0)
    text = str(value)
    return f"'{text}" if isinstance(value, str) and name != "score" and text.startswith(FORMULA) else text


def day(date: int) -> str:
    """ "2018-11-06" of 20181106; "" of 0."""
    return f"{date // 10000:04d}-{date // 100 % 100:02d}-{date % 100:02d}" if date else ""


def cut_off(filter: Mapping[str, Any]) -> str:
    """Say which cut-off date a search had."""
    if not filter.get("before"):
        return "No cut-off date"
    kind = "filed" if filter.get("date_field") == "filed" else "published"
    return f"Cut-off date: {kind} strictly before {day(filter['before'])}"


def file_name(name: str, form: str) -> str:
    """A name that every file system and header takes."""
    return (re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:80] or "export") + f".{form}"
