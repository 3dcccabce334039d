"""Reports as PDF, A4: what was searched for, under which conditions, in which index by which model, what was found."""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from PIL import Image

from fastreid.app.report_page import FURTHER, Page, pieces, short
from fastreid.data.images import BadImage
from fastreid.engine.query_image import open_query_image, prepare
from fastreid.engine.search_request import SearchRequest
from fastreid.engine.search_words import (
    condition_rows,
    count_words,
    counted,
    cut_off_words,
    date_words,
    letter,
    query_words,
    range_words,
)
from fastreid.index.base import Count

if TYPE_CHECKING:
    from fastreid.app.service import SearchService

Progress = Callable[[int, int], None]


def search_report(
    record: Mapping[str, Any], images: Mapping[str, bytes], service: "SearchService", progress: Progress
) -> bytes:
    """Return the report of a search; drawings that cannot be read are said to be missing."""
    title = record["name"].strip() or "Search report"
    page, results, request = Page(title), record["results"], SearchRequest.from_json(record["request"])
    story = [page.paragraph(title, "title"), page.paragraph(_standing(record), "line")]
    story += [page.paragraph(cut_off_words(request.filter), "strong")]
    if record["notes"]:
        story.append(page.paragraph("Notes", "heading"))
        story += [page.paragraph(piece, "text") for piece in pieces(record["notes"])]
    story += [page.paragraph("Query", "heading"), page.pictures(_query_pictures(record, images, service))]
    story += [page.paragraph("Conditions", "heading"), page.table(condition_rows(request))]
    story.append(page.paragraph(f"Results: {range_words(record)}", "heading"))
    for number, result in enumerate(results):
        progress(number, len(results) + 1)
        story += _result(page, result, service)
    progress(len(results), len(results) + 1)
    story += [page.paragraph("To do this search again", "heading"), page.table(_identity(record), "line")]
    content = page.build(story)
    progress(len(results) + 1, len(results) + 1)
    return content


def set_report(found: Mapping[str, Any], service: "SearchService", progress: Progress) -> bytes:
    """Return the report of a set."""
    title, items = found["name"].strip() or "Set", found["items"]
    page, count = Page(title), counted(len(items), "figure")
    story = [page.paragraph(title, "title"), page.paragraph(f"Set of {count}, changed {found['changed']}", "line")]
    story += [page.paragraph(piece, "text") for piece in pieces(found["notes"])]
    for number, item in enumerate(items):
        progress(number, len(items) + 1)
        figure = item["figure"]
        lines = figure_lines(figure) if figure else [item["patent"], f"{item['figure_id']} is not in the index now"]
        note = [f"Note: {item['note']}"] if item["note"] else []
        image = image_of(service, figure["row"]) if figure else None
        story += page.entry([image], [*lines, *note, f"marked {item['added']}"])
    info = service.index.info
    story += [page.paragraph("Index", "heading"), page.table([("Index", f"{info.uid}, version {info.version}")])]
    progress(len(items), len(items) + 1)
    content = page.build(story)
    progress(len(items) + 1, len(items) + 1)
    return content


def _standing(record: Mapping[str, Any]) -> str:
    index, searched = record["index"], record["searched"]
    how = "exactly" if record["exact"] else f"approximately (recall when it was built: {json.dumps(index['recall'])})"
    return (
        f"{record['time'].replace('T', ' ').replace('+00:00', ' UTC')}. Compared {how} with "
        f"{count_words(Count(**searched))}, index version {index['version']}."
    )


def _query_pictures(
    record: Mapping[str, Any], images: Mapping[str, bytes], service: "SearchService"
) -> list[tuple[Image.Image | None, str]]:
    names = {image["upload"]: image for image in record["images"]}
    found = []
    for place, item in enumerate(record["request"]["query"]):
        changes = [f"rotated {item['rotate']}"] if item.get("rotate") else []
        changes += ["mirrored"] if item.get("mirror") else []
        changes += [f"cut {item['box']}"] if item.get("box") else []
        if item.get("upload"):
            known = names.get(item["upload"], {})
            content = images.get(known.get("sha256", ""))
            image = open_query_image(content, service.limits.upload_pixels) if content else None
            caption = known.get("name", "")
        else:
            rows = service.index.rows_of([item["figure"]])
            image, caption = (image_of(service, int(rows[0])) if len(rows) else None), item["figure"]
        if image is not None:
            image = prepare(image, item.get("box"), item.get("rotate", 0), item.get("mirror", False))
        found.append((image, ", ".join([f"{letter(place)}: {caption}", *changes])))
    if record["request"]["text"]:
        found.append((None, f"Text: {record['request']['text']}"))
    return found


def _identity(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    index, model = record["index"], record["model"]
    request = json.dumps(record["request"], sort_keys=True, separators=(",", ":")).encode()
    settings = ", ".join(f"{name} {value}" for name, value in sorted(model.get("settings", {}).items()))
    rows = [
        ("Index", f"{index['uid']}, version {index['version']}, {index['backend']}, {index['metric']}"),
        ("Size of the index", count_words(Count(index["figures"], index["designs"]))),
        ("Weights of the model", f"SHA-256 {model['weights']}" if model.get("weights") else "none"),
        ("Settings of the model", settings or "not told"),
        ("Request", f"SHA-256 {hashlib.sha256(request).hexdigest()}"),
    ]
    rows += [(f"Image {short(image['name'], 60)}", f"SHA-256 {image['sha256']}") for image in record["images"]]
    return [*rows, ("Software", f"fastreid {record['fastreid']}")]


def _result(page: Page, result: Mapping[str, Any], service: "SearchService") -> list:
    figure, several = result["figure"], len(result.get("evidence") or ()) > 1
    shown = {figure["row"]: figure}
    for match in (*(result.get("evidence") or ()), *(result.get("others") or ())):
        shown.setdefault(match["figure"]["row"], match["figure"])
    lines = figure_lines(figure)
    lines[0] = f"{result['rank']}.  {lines[0]}   {result['score']:.4f}"
    for match in result.get("evidence") or ():
        form = "" if match["variant"] in ("as given", "text") else f", {match['variant']}"
        part = query_words(match)
        which = "Words" if part == "words" else f"Query figure {part}" if several else "Query figure"
        matched = match["figure"]["figure"] or match["figure"]["figure_id"]
        lines.append(f"{which}{form}: nearest to figure {matched}, {match['score']:.4f}")
    return page.entry([image_of(service, row) for row in list(shown)[: 1 + FURTHER]], lines)


def figure_lines(figure: Mapping[str, Any]) -> list[str]:
    """Patent; title; number, view and the other facts that are known."""
    place = " ".join(part for part in (figure["figure"] and f"Fig. {figure['figure']}", figure["view"]) if part)
    locarno = figure["locarno"] and f"Locarno {figure['locarno']}"
    facts = (place, date_words(figure["date"]), locarno, figure["office"], figure["applicant"])
    return [figure["patent"], short(figure["title"], 300), short(", ".join(filter(None, facts)), 300)]


def image_of(service: "SearchService", row: int) -> Image.Image | None:
    """The image of a figure; ``None`` when it cannot be read."""
    try:
        return service.searcher.image_of(row)
    except (BadImage, KeyError, ValueError):
        return None
