"""Design patent numbers as people write them: "US D0359000", "D359,000 S", "USD359000" name one patent."""

import re
from collections.abc import Iterable

from fastreid.index.base import Index

_DESIGN = re.compile(r"(?:US)?D?0*(\d{1,7})(?:S\d?)?", re.IGNORECASE)
_NOISE = re.compile(r"[\s,./'-]+")
DIGITS = 7  # of a design patent's number with its zeros


def forms_of(number: str) -> tuple[str, ...]:
    """Return the forms in which collections write a US design patent's number, the given one first.

    Numbers of other kinds (application numbers, other offices) have none but their own.
    """
    found = _DESIGN.fullmatch(_NOISE.sub("", number))
    if not found:
        return (number,)
    plain, padded = found[1], found[1].zfill(DIGITS)
    ends = ("", "S", "S1")
    forms = [f"{office}D{digits}{end}" for office in ("US", "") for digits in (padded, plain) for end in ends]
    return tuple(dict.fromkeys([number, *forms]))


def in_index(index: Index, numbers: Iterable[str], as_of: int | None = None) -> dict[str, str]:
    """Return for each number the patent of the index that it names, "" where there is none."""
    forms = {number: forms_of(number) for number in numbers}
    every = list(dict.fromkeys(form for each in forms.values() for form in each))
    rows = index.rows_of(patents=every, as_of=as_of) if every else ()
    there = set(index.figures(rows)["patent"].tolist()) if len(rows) else set()
    return {number: next((form for form in each if form in there), "") for number, each in forms.items()}
