"""Grants of the USPTO in its XML since 2005 (``us-patent-grant``): what a design patent says of itself."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from xml.parsers import expat

from fastreid.data.ingest.values import date_of, text_of

# "FIG. 1", "FIGS. 1-7", "FIGS. 2A and 2B", "FIGURE 1" at the beginning of a description
_FIGURES = re.compile(
    r"\W*(?:the\s+)?FIG(?:URE)?S?\b\.?\s*"
    r"(?P<numbers>\d+[A-Z]?\b(?:(?:\s*(?:[-\u2013,&]|to\b|through\b|and\b))+\s*\d+[A-Z]?\b)*)",
    re.IGNORECASE,
)
_ONLY_FIGURE = re.compile(r"\W*(?:the\s+)?(?:(?:sole|only|single)\s+)?FIG(?:URE)?\b\.?\s+(?!\d)", re.IGNORECASE)
_RANGE = re.compile(r"(\d+)[A-Z]?(?:\s*(?:[-\u2013]|to|through)\s*(\d+)[A-Z]?)?", re.IGNORECASE)
_HAGUE = re.compile(r"\d+\.\d+\s*:")  # "1.2 : Front", in grants on international registrations
_SHEET = re.compile(r"-[DP](\d{5})$")
MOST_FIGURES = 1000  # of one description; a range beyond is a misprint


class NotADesign(ValueError):
    """A grant of another kind: a utility patent, a plant patent."""


@dataclass(frozen=True)
class Sheet:
    """A drawing sheet: its file, the number in its name (0: the front page's figure), how it lies on the page."""

    file: str
    number: int
    orientation: str = ""


@dataclass(frozen=True)
class Grant:
    """A design patent.

    Attributes:
        patent_id, date: "USD0936123", "2021-11-23".
        locarno, edition, uspc: codes as written, "1404", "13", "D14486"; "" where missing.
        figures: number of figures that the grant states; 0: it does not.
        descriptions: paragraphs of the description of the drawings.
    """

    patent_id: str
    date: str
    kind: str
    locarno: str
    edition: str
    uspc: str
    title: str
    claim: str
    figures: int
    sheets: tuple[Sheet, ...]
    descriptions: tuple[str, ...]


def parse_grant(data: bytes) -> Grant:
    """Read the XML of one grant.

    Raises:
        NotADesign: a grant of another kind.
        ValueError: the XML is broken, declares entities (a bomb, or a way to other files), or is no grant.
    """
    root = _parse(data)
    head = root.find("us-bibliographic-data-grant")
    if root.tag != "us-patent-grant" or head is None:
        raise ValueError(f"no us-patent-grant; the root is {root.tag}")
    document = head.find("publication-reference/document-id")
    number = _text(document, "doc-number")
    match = re.fullmatch(r"D(\d+)", number)
    if match is None:
        application = head.find("application-reference")
        kind = "" if application is None else application.get("appl-type", "")
        raise NotADesign(f"{number or 'a grant without a number'} is no design patent ({kind or 'kind unknown'})")
    descriptions = [_words(p) for p in root.iterfind("description/description-of-drawings//p")]
    return Grant(
        patent_id=f"USD{int(match[1]):07d}",
        date=date_of(_text(document, "date"), root.get("date-publ")),
        kind=_text(document, "kind"),
        locarno=_text(head, "classification-locarno/main-classification"),
        edition=_text(head, "classification-locarno/edition"),
        # its columns are fixed: spaces count
        uspc=(head.findtext("classification-national/main-classification") or "").rstrip(),
        title=_text(head, "invention-title"),
        claim=_text(root, "claims/claim/claim-text"),
        figures=int(count) if (count := _text(head, "figures/number-of-figures")).isdecimal() else 0,
        sheets=tuple(_sheets(root)),
        descriptions=tuple(text for text in descriptions if text),
    )


def _parse(data: bytes) -> ET.Element:
    """Parse without entities: ``ElementTree``'s own parser would expand those that a document declares."""
    builder, parser = ET.TreeBuilder(), expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = builder.start, builder.end
    parser.CharacterDataHandler = builder.data
    parser.EntityDeclHandler = _refuse
    try:
        parser.Parse(data, True)
        return builder.close()
    except expat.ExpatError as error:
        raise ValueError(f"broken XML: {error}") from error


def _refuse(name: str, *_: object) -> None:
    raise ValueError(f"the XML declares an entity '{name}', which no grant does")


def _words(element: ET.Element | None) -> str:
    return "" if element is None else text_of("".join(element.itertext()))


def _text(element: ET.Element | None, path: str) -> str:
    return "" if element is None else _words(element.find(path))


def _sheets(root: ET.Element) -> list[Sheet]:
    """Sheets in the order of the document; a sheet without a number counts on from the one before it."""
    sheets = []
    for image in root.iterfind("drawings/figure/img"):
        file = text_of(image.get("file"))
        match = _SHEET.search(PurePath(file).stem)
        number = int(match[1]) if match else sheets[-1].number + 1 if sheets else 1
        sheets.append(Sheet(file, number, text_of(image.get("orientation"))))
    return sheets


def figure_numbers(description: str) -> list[int]:
    """Return the numbers of the figures that a description begins with; ``[]`` for other paragraphs.

    >>> figure_numbers("FIGS. 1-3 and 5 are views of a shoe;"), figure_numbers("The broken lines of FIG. 1")
    ([1, 2, 3, 5], [])
    """
    match = _FIGURES.match(description)
    if match is None:
        return [1] if _ONLY_FIGURE.match(description) else []
    numbers = []
    for first, last in _RANGE.findall(match["numbers"]):
        numbers += range(int(first), min(int(last or first), int(first) + MOST_FIGURES) + 1)
    return numbers


def captions(grant: Grant, sheets: Sequence[Sheet]) -> dict[int, str] | None:
    """Return the description of each sheet, by its number; ``None`` where it cannot be told which belongs to which.

    It can where the numbers of sheets and of described figures are 1 to n, each once, and the grant states no other
    number of figures; in all other cases a sheet may show several figures, or a figure lie on several sheets. Figures
    of international registrations ("1.2 : Front") count in their order.
    """
    described = [(number, text) for text in grant.descriptions for number in figure_numbers(text)]
    if not described:
        described = list(enumerate(filter(_HAGUE.match, grant.descriptions), start=1))
    expected = list(range(1, len(sheets) + 1))
    agree = sorted(number for number, _ in described) == expected == sorted(sheet.number for sheet in sheets)
    return dict(described) if agree and grant.figures in (0, len(sheets)) else None


def remarks(grant: Grant) -> str:
    """The paragraphs that describe no figure: what the broken lines mean, and the like."""
    return " ".join(text for text in grant.descriptions if not figure_numbers(text) and not _HAGUE.match(text))
