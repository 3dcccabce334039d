"""Reports as PDF, A4: what was searched for, under which conditions, in which index by which model, what was found."""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from fastreid.app.exports import day
from fastreid.data.images import BadImage
from fastreid.engine.query_image import open_query_image, prepare
from fastreid.evaluation.thumbnails import shrink

if TYPE_CHECKING:
    from fastreid.app.service import SearchService

Progress = Callable[[int, int], None]
PIXELS = 360  # of a drawing's longer side
EVIDENCE = 3  # further figures shown of a design
FONT_FOLDERS = ("/usr/share/fonts/truetype/dejavu", "/usr/share/fonts/dejavu")
INK, FAINT, LINE = "#1c2430", "#667080", "#d5d9df"


def search_report(
    record: Mapping[str, Any], images: Mapping[str, bytes], service: "SearchService", progress: Progress
) -> bytes:
    """Return the report of a search; drawings that cannot be read are said to be missing."""
    page = _Page(record["name"] or "Search report")
    story = [page.title(record["name"] or "Search report"), page.line(_standing(record))]
    if record["notes"]:
        story.append(page.text(record["notes"]))
    story += [page.heading("Query"), page.row(_query_pictures(page, record, images, service))]
    story += [page.heading("Conditions"), page.table(_conditions(record["request"]))]
    story.append(page.heading(f"Results: {len(record['results'])} of {record['total']:,}"))
    for number, result in enumerate(record["results"]):
        progress(number, len(record["results"]))
        story.append(_result(page, result, service))
    story += [page.heading("To do this search again"), page.table(_identity(record))]
    content = page.build(story)
    progress(len(record["results"]), max(1, len(record["results"])))
    return content


def set_report(found: Mapping[str, Any], service: "SearchService", progress: Progress) -> bytes:
    """Return the report of a set."""
    page = _Page(found["name"])
    story = [
        page.title(found["name"]),
        page.line(f"Record set, {len(found['items'])} figures, changed {found['changed']}"),
    ]
    if found["notes"]:
        story.append(page.text(found["notes"]))
    for number, item in enumerate(found["items"]):
        progress(number, len(found["items"]))
        figure = item["figure"]
        lines = _figure_lines(figure) if figure else [item["patent"], "no longer in the index"]
        story.append(page.entry([_drawing(figure, service) if figure else None], [*lines, item["note"]]))
    progress(len(found["items"]), max(1, len(found["items"])))
    return page.build(story)


def _standing(record: Mapping[str, Any]) -> str:
    index, searched = record["index"], record["searched"]
    how = "exactly" if record["exact"] else f"approximately, measured recall {json.dumps(index['recall'])}"
    return (
        f"{record['time']}. Compared with {searched['figures']:,} figures of {searched['designs']:,} designs {how}, "
        f"index version {index['version']}."
    )


def _query_pictures(page, record, images, service) -> list[tuple[Image.Image | None, str]]:
    names = {image["upload"]: image for image in record["images"]}
    found = []
    for number, item in enumerate(record["request"]["query"], 1):
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
            image, caption = (_image(service, int(rows[0])) if len(rows) else None), item["figure"]
        if image is not None:
            image = prepare(image, item.get("box"), item.get("rotate", 0), item.get("mirror", False))
        found.append((image, ", ".join([f"{number}: {caption}", *changes])))
    if record["request"]["text"]:
        found.append((None, f"Text: {record['request']['text']}"))
    return found


def _conditions(request: Mapping[str, Any]) -> list[tuple[str, str]]:
    names = {
        "before": "Strictly before", "since": "Since", "date_field": "Date", "locarno": "Classes", "office": "Offices",
        "view": "Views", "applicant": "Applicants", "patents": "Patents", "not_patents": "Without patents",
        "title": "Title",
    }  # fmt: skip
    rows = []
    for name, value in request["filter"].items():
        shown = (
            day(value) if name in ("before", "since") else ", ".join(value) if isinstance(value, list) else str(value)
        )
        rows.append((names.get(name, name), shown))
    forms = [name for name, on in request["variants"].items() if on]
    rows += [("Variants", ", ".join(forms))] if forms else []
    rows.append(("Results by", request["group"]))
    if len(request["query"]) + bool(request["text"]) > 1:
        rows.append(
            ("Several query figures", {"mean": "the mean over them", "max": "the best of them"}[request["fusion"]])
        )
    return rows


def _identity(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    index, model = record["index"], record["model"]
    rows = [
        ("Index", f"{index['uid']}, version {index['version']}, {index['backend']}, {index['metric']}"),
        ("Model", f"{model.get('name', '')} weights SHA-256 {model.get('weights', 'not told')}".strip()),
        ("fastreid", record["fastreid"]),
    ]
    rows += [(f"Image {image['name']}", f"SHA-256 {image['sha256']}") for image in record["images"]]
    return rows


def _result(page: "_Page", result: Mapping[str, Any], service: "SearchService"):
    evidence = [match["figure"] for match in result.get("evidence") or ()]
    others = [other["figure"] for other in result.get("others") or ()]
    rows = {figure["row"]: figure for figure in [result["figure"], *evidence, *others]}
    shown = list(rows.values())[: 1 + EVIDENCE]
    lines = _figure_lines(result["figure"])
    lines[0] = f"{result['rank']}. {lines[0]}   {result['score']:.4f}"
    for match in result.get("evidence") or ():
        form = "" if match["variant"] == "as given" else f" ({match['variant']})"
        place = match["figure"]["figure"] or match["figure"]["figure_id"]
        lines.append(f"query figure {match['query'] + 1}{form} agrees with figure {place}, {match['score']:.4f}")
    return page.entry([_drawing(figure, service) for figure in shown], lines)


def _figure_lines(figure: Mapping[str, Any]) -> list[str]:
    of_figure = " ".join(
        part for part in (f"Fig. {figure['figure']}" if figure["figure"] else "", figure["view"]) if part
    )
    facts = (
        day(figure["date"]),
        figure["locarno"] and f"Locarno {figure['locarno']}",
        figure["office"],
        figure["applicant"],
    )
    return [figure["patent"], figure["title"], ", ".join(filter(None, (of_figure, *facts)))]


def _drawing(figure: Mapping[str, Any], service: "SearchService") -> Image.Image | None:
    return _image(service, figure["row"])


def _image(service: "SearchService", row: int) -> Image.Image | None:
    try:
        return service.searcher.image_of(row)
    except (BadImage, KeyError, ValueError):
        return None


class _Page:
    """Paragraphs, tables and pictures of one look."""

    def __init__(self, title: str):
        from reportlab.lib.pagesizes import A4
        from reportlab.lib.styles import ParagraphStyle
        from reportlab.lib.units import mm

        self.name, self.mm, self.size = title, mm, A4
        self.font, self.bold = _fonts()
        base = {"fontName": self.font, "textColor": INK, "splitLongWords": 1}
        self.styles = {
            "title": ParagraphStyle("title", **base, fontSize=19, leading=24, spaceAfter=4),
            "heading": ParagraphStyle("heading", **base, fontSize=12, leading=15, spaceBefore=14, spaceAfter=6),
            "text": ParagraphStyle("text", **base, fontSize=9.5, leading=13, spaceAfter=4),
            "small": ParagraphStyle("small", **{**base, "textColor": FAINT}, fontSize=8, leading=10.5),
        }
        self.styles["title"].fontName = self.styles["heading"].fontName = self.bold
        self.width = A4[0] - 40 * mm

    def paragraph(self, text: str, style: str):
        from reportlab.platypus import Paragraph

        clean = "".join(sign if sign.isprintable() or sign == "\n" else " " for sign in text)
        return Paragraph(escape(clean).replace("\n", "<br/>"), self.styles[style])

    def title(self, text: str):
        return self.paragraph(text, "title")

    def heading(self, text: str):
        return self.paragraph(text, "heading")

    def text(self, text: str):
        return self.paragraph(text, "text")

    def line(self, text: str):
        return self.paragraph(text, "small")

    def picture(self, image: Image.Image | None, side: float):
        """A drawing, at most ``side`` points on the longer side; words in its place where there is none."""
        from reportlab.platypus import Image as Picture

        if image is None:
            return self.paragraph("no image", "small")
        small, buffer = shrink(image, PIXELS), io.BytesIO()
        small.save(buffer, "PNG")
        scale = side / max(small.size)
        return Picture(io.BytesIO(buffer.getvalue()), small.width * scale, small.height * scale)

    def row(self, pictures: Sequence[tuple[Image.Image | None, str]]):
        """Pictures with captions, four in a line."""
        cells = [[self.picture(image, 38 * self.mm), self.line(caption)] for image, caption in pictures]
        lines = [cells[start : start + 4] for start in range(0, len(cells), 4)] or [[""]]
        lines[-1] += [""] * (4 - len(lines[-1]))
        return self._grid(lines, [self.width / 4] * 4)

    def table(self, rows: Sequence[tuple[str, str]]):
        """Names and values."""
        cells = [[self.line(name), self.paragraph(value, "text")] for name, value in rows] or [["", ""]]
        return self._grid(cells, [self.width * 0.25, self.width * 0.75])

    def entry(self, images: Sequence[Image.Image | None], lines: Sequence[str]):
        """A result: its best figure large, others smaller, words beside them."""
        from reportlab.platypus import KeepTogether

        first, *others = lines
        words = [self.text(first), *(self.line(line) for line in others if line)]
        small = [self.picture(image, 20 * self.mm) for image in images[1:]]
        if small:
            words.append(self._grid([small + [""] * (EVIDENCE - len(small))], [25 * self.mm] * EVIDENCE))
        grid = self._grid(
            [[self.picture(images[0], 40 * self.mm), words]], [48 * self.mm, self.width - 48 * self.mm], True
        )
        return KeepTogether(grid)

    def _grid(self, cells, widths, ruled: bool = False):
        from reportlab.lib.colors import HexColor
        from reportlab.platypus import Table, TableStyle

        style = [("VALIGN", (0, 0), (-1, -1), "TOP"), ("LEFTPADDING", (0, 0), (-1, -1), 0)]
        if ruled:
            style.append(("LINEABOVE", (0, 0), (-1, 0), 0.5, HexColor(LINE)))
        return Table(cells, widths, style=TableStyle(style), hAlign="LEFT")

    def build(self, story) -> bytes:
        from reportlab.platypus import SimpleDocTemplate

        buffer, margin = io.BytesIO(), 20 * self.mm
        document = SimpleDocTemplate(
            buffer, pagesize=self.size, leftMargin=margin, rightMargin=margin, topMargin=margin, bottomMargin=margin,
            title=self.name, author="fastreid", invariant=1,
        )  # fmt: skip
        document.build(list(story), onFirstPage=self._foot, onLaterPages=self._foot)
        return buffer.getvalue()

    def _foot(self, canvas, document) -> None:
        canvas.saveState()
        canvas.setFont(self.font, 8)
        canvas.setFillColor(FAINT)
        canvas.drawString(20 * self.mm, 12 * self.mm, "".join(c for c in self.name if c.isprintable())[:90])
        canvas.drawRightString(self.size[0] - 20 * self.mm, 12 * self.mm, f"page {document.page}")
        canvas.restoreState()


def _fonts() -> tuple[str, str]:
    """Register DejaVu where the system has it, which covers most scripts; else reportlab's own Vera, for Latin."""
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont

    for name in ("DejaVuSans", "Vera"):
        bold = "DejaVuSans-Bold" if name == "DejaVuSans" else "VeraBd"
        for folder in (*FONT_FOLDERS, ""):
            path = Path(folder, f"{name}.ttf")
            if folder and not path.is_file():
                continue
            try:
                pdfmetrics.registerFont(TTFont(name, str(path)))
                pdfmetrics.registerFont(TTFont(bold, str(Path(folder, f"{bold}.ttf"))))
            except Exception:  # reportlab raises kinds of its own for a font that it does not find
                continue
            return name, bold
    return "Helvetica", "Helvetica-Bold"
