"""What the servers keep of a figure beside its vector, and the conditions of a filter as they are put to them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fastreid.index.figures import DATE_COLUMNS, TEXT_COLUMNS, Figures, class_of
from fastreid.index.filters import Filter

ROW, VECTOR, ADDED, REMOVED = "row_no", "vector", "added", "removed"
DERIVED = ("class_code", "title_folded")  # so that a server need neither parse codes nor fold case as Python does
SCALARS = (*TEXT_COLUMNS, *DERIVED, *DATE_COLUMNS)
FACET_COLUMNS = {"class": "class_code"}  # facets whose column has another name; "year" is derived from a date


@dataclass(frozen=True)
class Condition:
    """One condition on a row.

    Attributes:
        columns: of which one must meet it.
        sign: "in", "not in", "contains" (a part of a text), "<", ">" or ">=".
        value: list of texts; text; or whole number.
    """

    columns: tuple[str, ...]
    sign: str
    value: list[str] | str | int


@dataclass(frozen=True)
class Permitted:
    """The rows that version ``version`` has and that meet all of ``conditions``."""

    version: int
    conditions: tuple[Condition, ...] = ()


def storable(text: str) -> bool:
    """Whether a server can keep a text: valid Unicode (no lone surrogates) without a NUL character."""
    return "\0" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)


def require_storable(figures: Figures, most_bytes: int | None = None) -> None:
    """Raise ``ValueError`` that names the figure and the column of a text that a server cannot keep.

    Args:
        most_bytes: longest text in UTF-8, folded titles included; ``None`` for no limit.
    """
    for name, values in columns_of(figures).items():
        for place, value in enumerate(values if name not in DATE_COLUMNS else ()):
            if not storable(value):
                raise ValueError(f"{name} of figure {place} must be valid Unicode without NUL; got {value[:40]!r}")
            # a character takes at most four bytes: most texts need not be encoded to be measured
            if most_bytes and 4 * len(value) > most_bytes and len(value.encode()) > most_bytes:
                raise ValueError(f"{name} of figure {place} may have {most_bytes} bytes; got {value[:40]!r}...")


def columns_of(figures: Figures) -> dict[str, list]:
    """Return the columns ``SCALARS`` of figures as lists of plain values."""
    columns = {name: figures[name].tolist() for name in (*TEXT_COLUMNS, *DATE_COLUMNS)}
    columns["class_code"] = [class_of(code) for code in columns["locarno"]]
    columns["title_folded"] = [title.casefold() for title in columns["title"]]
    return {name: columns[name] for name in SCALARS}


def conditions_of(filter: Filter | None) -> tuple[Condition, ...]:
    """Return the conditions of a filter, all of which must hold; () for none."""
    if not filter:
        return ()
    found = []
    if filter.before:
        found += [Condition((filter.date_field,), ">", 0), Condition((filter.date_field,), "<", filter.before)]
    if filter.since:
        found.append(Condition((filter.date_field,), ">=", filter.since))
    if filter.locarno:
        found.append(Condition(("locarno", "class_code"), "in", _storable(filter.locarno)))
    for column in ("office", "view", "applicant"):
        if getattr(filter, column):
            found.append(Condition((column,), "in", _storable(getattr(filter, column))))
    if filter.patents:
        found.append(Condition(("patent",), "in", _storable(filter.patents)))
    if never := _storable(filter.not_patents):
        found.append(Condition(("patent",), "not in", never))
    for word in filter.title.casefold().split():
        # no title that is kept contains a word that cannot be kept
        found.append(Condition(("title_folded",), "contains", word) if storable(word) else NOTHING)
    return tuple(found)


NOTHING = Condition(("patent",), "in", [])


def _storable(values: Iterable[str]) -> list[str]:
    return [value for value in values if storable(value)]


def parts(values: Sequence, size: int) -> Iterable[Sequence]:
    """Cut a sequence into parts of ``size``."""
    return (values[start : start + size] for start in range(0, len(values), size))
