"""What is known of a figure before anything is written about it, from the lines of a metadata file."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from fastreid.utils.english import in_sentence, with_article
from fastreid.utils.locarno import read_locarno

_DESIGN = re.compile(r"(?:the )?(?:ornamental )?design (?:for|of) (?:an? |the )?", re.IGNORECASE)
_FIGURE = re.compile(
    r"FIG(?:S?\.?|URES?)\s*\d+\w*(?:\s*(?:-|,|to|and)\s*\d+\w*)*[.:,\s-]*"
    r"(?:(?:is|are|shows?|depicts?|illustrates?)\s+)?(?P<text>.*)",
    re.IGNORECASE,
)
_OWN_DESIGN = re.compile(
    r",?\s+(?:showing|embodying|illustrating|depicting|in accordance with|according to) (?:my|our|the|an?) "
    r"(?:new |present |claimed |ornamental |first )*design\b",
    re.IGNORECASE,
)
_VIEW = re.compile(r"(?:an? |the )?(?P<view>[\w ,\-/]*?\bview)\b", re.IGNORECASE)
_SIDES = {"left": "left side", "right": "right side"}


@dataclass(frozen=True, slots=True)
class Source:
    """A figure and what is said of it; a text that is not there is "".

    Attributes:
        file: of the image, relative to the image folder.
        object: the article as it stands in a sentence: "chair", "LED lamp".
        view: "front elevational view", "front, top and right side perspective view".
        caption: the description of the figure without its number and formulas, a noun phrase: "a front elevational
            view of the chair".
        code: of the Locarno classification, "06-01", "06" without a subclass.
        heading: of the Locarno class: "Furnishing".
        note: on the broken lines, as the patent has it.
        image: SHA-256 of the image file, of figures that a captioner looks at.
    """

    file: str
    object: str = ""
    view: str = ""
    caption: str = ""
    code: str = ""
    heading: str = ""
    note: str = ""
    image: str = ""

    @property
    def sha256(self) -> str:
        """Of everything but the name of the file: two figures of which the same is known get the same texts."""
        return digest({field.name: getattr(self, field.name) for field in fields(self) if field.name != "file"})

    @property
    def broken_lines(self) -> bool:
        """Whether the patent says that broken lines are not claimed."""
        lines = re.search(r"\b(?:broken|dashed|dotted|phantom|dash)\b.*\blines?\b", self.note, re.IGNORECASE)
        out = re.search(r"no part|not (?:a )?part|unclaimed|not claimed|disclaim", self.note, re.IGNORECASE)
        return bool(lines and out)


def digest(value: Any) -> str:
    """Return the hex SHA-256 of a JSON value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def sources(patents: Iterable[Mapping[str, Any]]) -> Iterator[Source]:
    """Yield a source per figure of metadata lines, in their order."""
    for patent in patents:
        locarno = read_locarno(_text(patent, "locarno"))
        shared = {
            "code": locarno.subclass_code or locarno.class_code,
            "heading": locarno.class_name,
            "note": _text(patent, "note"),
        }
        for figure in patent["figures"]:
            name = _object(_text(figure, "object") or _text(patent, "title"))
            caption = _caption(_text(figure, "caption"), name)
            view = _view(_text(figure, "aspect") or _view_in(caption) or _text(figure, "view"))
            yield Source(figure["file"], object=name, view=view, caption=caption, **shared)


def _text(record: Mapping[str, Any], key: str) -> str:
    """Return a text with single spaces; "" for one that is missing or no text."""
    value = record.get(key)
    return " ".join(value.split()) if isinstance(value, str) else ""


def _object(title: str) -> str:
    title = _DESIGN.sub("", title, count=1) if _DESIGN.match(title) else title
    return in_sentence(title.rstrip(" .,;"))


def _caption(caption: str, name: str) -> str:
    """Return the noun phrase of "FIG. 2 is a front view thereof, showing my new design;" with ``name`` in it."""
    match = _FIGURE.match(caption)
    text = (match["text"] if match else caption).rstrip(" .,;")
    text = _OWN_DESIGN.sub("", text).split(";")[0].rstrip(" .,;")
    if name:
        text = re.sub(r"\bthereof\b", f"of the {name}", text)
    text = re.sub(r"\s+thereof\b", "", text)
    if not text or re.match(r"(?:an?|the|one)\s", text, re.IGNORECASE):
        return in_sentence(text)
    return with_article(text)


def _view_in(caption: str) -> str:
    match = _VIEW.match(caption)
    return match["view"] if match else ""


def _view(words: str) -> str:
    """Return "left side view" for the word "left" of a metadata file, and fuller descriptions as they are."""
    words = re.sub(r"^(?:an?|the)\s+", "", words.strip(" .,;"), flags=re.IGNORECASE)
    words = in_sentence(_SIDES.get(words, words))
    return words if not words or words.endswith("view") else f"{words} view"
