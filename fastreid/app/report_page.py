"""How reports look: A4, one column, drawings on white, letters of any script."""

import functools
import io
import itertools
import os
from collections.abc import Sequence
from html import escape

from PIL import Image

from fastreid.evaluation.thumbnails import shrink

PIXELS = 420  # of a drawing's longer side
LINE_OF_PICTURES = 4
FURTHER = 3  # smaller drawings beside a result
PIECE = 1200  # letters of one cell; a table cannot break within a cell
FONT_FOLDERS = (
    "/usr/share/fonts", "/usr/local/share/fonts", "~/.fonts", "/Library/Fonts", "/System/Library/Fonts",
    "C:/Windows/Fonts",
)  # fmt: skip
# for letters that the first has not, such as Chinese ones; fonts with other outlines than TrueType cannot be embedded
FURTHER_FONTS = (
    "DejaVuSans.ttf", "DroidSansFallbackFull.ttf", "DroidSansFallback.ttf", "wqy-microhei.ttc", "wqy-zenhei.ttc",
    "ipag.ttf", "ipagp.ttf", "NanumGothic.ttf", "Arial Unicode.ttf", "ArialUni.ttf", "msgothic.ttc", "malgun.ttf",
    "simsun.ttc",
)  # fmt: skip
LACKING = "Letters shown as empty boxes are in none of the fonts that the server has; the JSON export has them."
NO_LETTER = "\u25af"  # an empty box
INK, FAINT, LINE = "#1c2430", "#5c6675", "#d5d9df"


class Page:
    """Paragraphs, tables and pictures of one look.

    Args:
        title: of the document, also at the foot of each page.
    """

    def __init__(self, title: str):
        from reportlab.lib.pagesizes import A4
        from reportlab.lib.styles import ParagraphStyle
        from reportlab.lib.units import mm

        self.name, self.mm, self.size, self.width = title, mm, A4, A4[0] - 40 * mm
        self.font, self.bold = fonts()
        self.lacking = False  # letters that no font has
        base = {"textColor": INK, "splitLongWords": 1, "fontName": self.font}
        small = {**base, "textColor": FAINT, "fontSize": 8, "leading": 10.5}
        strong = {**base, "fontName": self.bold}
        self.styles = {
            "title": ParagraphStyle("title", **strong, fontSize=18, leading=23, spaceAfter=3),
            "heading": ParagraphStyle(
                "heading", **strong, fontSize=11.5, leading=15, spaceBefore=14, spaceAfter=6, keepWithNext=1
            ),
            "strong": ParagraphStyle("strong", **strong, fontSize=9.5, leading=13),
            "text": ParagraphStyle("text", **base, fontSize=9.5, leading=13, spaceAfter=3),
            "line": ParagraphStyle("line", **small),
        }

    def paragraph(self, text: str, style: str):
        """Text in one of the styles; its line breaks are kept."""
        from reportlab.platypus import Paragraph

        return Paragraph(self._marked(text), self.styles[style])

    def _marked(self, text: str) -> str:
        """Text with other fonts for letters that the page's own has not; a letter of none becomes an empty box."""
        clean = "".join(sign if sign.isprintable() or sign == "\n" else " " for sign in text)
        parts = []
        for font, signs in itertools.groupby(clean, self._font_of):
            words = "".join(signs)
            if font is None:
                self.lacking, words = True, NO_LETTER * len(words)
            shown = escape(words).replace("\n", "<br/>")
            other = further_fonts()[0] if font is None and further_fonts() else font
            parts.append(f'<font name="{other}">{shown}</font>' if other not in (self.font, None) else shown)
        return "".join(parts)

    def _font_of(self, sign: str) -> str | None:
        if sign == "\n":
            return self.font
        return next((name for name in (self.font, *further_fonts()) if has(name, sign)), None)

    def picture(self, image: Image.Image | None, side: float):
        """A drawing, at most ``side`` points on the longer side; words in its place where there is none."""
        from reportlab.platypus import Image as Picture

        if image is None:
            return self.paragraph("no image", "line")
        small, buffer = shrink(image, PIXELS), io.BytesIO()
        small.save(buffer, "PNG")
        scale = side / max(small.size)
        buffer.seek(0)
        return Picture(buffer, small.width * scale, small.height * scale, hAlign="LEFT")

    def pictures(self, pictures: Sequence[tuple[Image.Image | None, str]]):
        """Drawings with captions, four in a line; a caption without a drawing stands for something else."""
        cells = [
            [*([self.picture(image, 36 * self.mm)] if image else []), self.paragraph(short(caption, 300), "line")]
            for image, caption in pictures
        ]
        lines = [cells[start : start + LINE_OF_PICTURES] for start in range(0, len(cells), LINE_OF_PICTURES)] or [[""]]
        lines[-1] += [""] * (LINE_OF_PICTURES - len(lines[-1]))
        return self._grid(lines, [self.width / LINE_OF_PICTURES] * LINE_OF_PICTURES)

    def table(self, rows: Sequence[tuple[str, str]], style: str = "text"):
        """Names and values; long values go on in further rows."""
        cells = []
        for name, value in rows:
            for place, piece in enumerate(pieces(value)):
                cells.append([self.paragraph("" if place else name, "line"), self.paragraph(piece, style)])
        return self._grid(cells or [["", ""]], [self.width * 0.24, self.width * 0.76], padding=2)

    def entry(self, images: Sequence[Image.Image | None], lines: Sequence[str]) -> list:
        """A result: its first drawing large, others smaller, words beside them; long words follow below."""
        from reportlab.platypus import KeepTogether

        first, *others = [line for line in lines if line]
        words = [self.paragraph(short(first, 300), "strong")]
        words += [self.paragraph(line, "line") for line in others if len(line) <= PIECE // 3]
        long = [self.paragraph(piece, "line") for line in others if len(line) > PIECE // 3 for piece in pieces(line)]
        small = [self.picture(image, 22 * self.mm) for image in images[1 : 1 + FURTHER]]
        if small:
            words.append(self._grid([small + [""] * (FURTHER - len(small))], [28 * self.mm] * FURTHER))
        widths = [46 * self.mm, self.width - 46 * self.mm]
        return [KeepTogether(self._grid([[self.picture(images[0], 40 * self.mm), words]], widths, ruled=True)), *long]

    def _grid(self, cells, widths, ruled: bool = False, padding: float = 3):
        from reportlab.lib.colors import HexColor
        from reportlab.platypus import Table, TableStyle

        style = [("VALIGN", (0, 0), (-1, -1), "TOP"), ("LEFTPADDING", (0, 0), (-1, -1), 0)]
        style += [("TOPPADDING", (0, 0), (-1, -1), padding), ("BOTTOMPADDING", (0, 0), (-1, -1), padding)]
        if ruled:
            style.append(("LINEABOVE", (0, 0), (-1, 0), 0.5, HexColor(LINE)))
            style.append(("TOPPADDING", (0, 0), (-1, -1), 7))
        return Table(cells, widths, style=TableStyle(style), hAlign="LEFT")

    def build(self, story: Sequence) -> bytes:
        """Return the document."""
        from reportlab.platypus import SimpleDocTemplate

        buffer, margin = io.BytesIO(), 20 * self.mm
        document = SimpleDocTemplate(
            buffer, pagesize=self.size, leftMargin=margin, rightMargin=margin, topMargin=margin, bottomMargin=margin,
            title=short(self.name, 200), author="fastreid", invariant=1,
        )  # fmt: skip
        if self.lacking:
            story = [*story, self.paragraph(LACKING, "line")]
        document.build(list(story), onFirstPage=self._foot, onLaterPages=self._foot)
        return buffer.getvalue()

    def _foot(self, canvas, document) -> None:
        foot = self.paragraph(short(" ".join(self.name.split()), 80), "line")
        foot.wrapOn(canvas, self.width * 0.8, 20)
        foot.drawOn(canvas, 20 * self.mm, 11 * self.mm)
        canvas.setFont(self.font, 8)
        canvas.setFillColor(FAINT)
        canvas.drawRightString(self.size[0] - 20 * self.mm, 11.8 * self.mm, f"page {document.page}")


def pieces(text: str) -> list[str]:
    """Cut a text into parts of at most ``PIECE`` letters and 20 lines, at a space where there is one."""
    found = []
    for lines in _groups(text.split("\n"), 20):
        rest = "\n".join(lines)
        while len(rest) > PIECE:
            cut = rest.rfind(" ", PIECE // 2, PIECE) + 1 or PIECE
            found.append(rest[:cut])
            rest = rest[cut:]
        found.append(rest)
    return found


def _groups(lines: list[str], size: int) -> list[list[str]]:
    return [lines[start : start + size] for start in range(0, len(lines), size)]


def short(text: str, letters: int) -> str:
    return text if len(text) <= letters else text[: letters - 1] + "…"


@functools.cache
def font_files() -> dict[str, str]:
    """Paths of this computer's fonts, by the names of their files."""
    found = {}
    for folder in FONT_FOLDERS:
        for path, _, files in os.walk(os.path.expanduser(folder)):
            found.update({name: os.path.join(path, name) for name in files if name not in found})
    return found


@functools.cache
def fonts() -> tuple[str, str]:
    """Register DejaVu where the system has it, which covers many scripts; else reportlab's own Vera, for Latin."""
    names = ("DejaVuSans", "DejaVuSans-Bold")
    if all(_register(name, font_files().get(f"{name}.ttf", "")) for name in names):
        return names
    names = ("Vera", "VeraBd")
    return names if all(_register(name, f"{name}.ttf") for name in names) else ("Helvetica", "Helvetica-Bold")


@functools.cache
def further_fonts() -> tuple[str, ...]:
    """Register the fonts of ``FURTHER_FONTS`` that this computer has."""
    return tuple(name for name in FURTHER_FONTS if _register(name, font_files().get(name, "")))


def _register(name: str, path: str) -> bool:
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFError, TTFont

    try:
        pdfmetrics.registerFont(TTFont(name, path))
    except (TTFError, OSError, ValueError):  # not there, or not of a kind that can be embedded
        return False
    return True


def has(font: str, sign: str) -> bool:
    """Whether a font has a letter."""
    from reportlab.pdfbase import pdfmetrics

    face = pdfmetrics.getFont(font).face
    return ord(sign) in face.charToGlyph if hasattr(face, "charToGlyph") else ord(sign) < 127
