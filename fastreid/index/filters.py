"""Which figures of an index a search may show: the conditions of an examiner, the same on every backend."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from fastreid.data.metadata import is_date
from fastreid.index.figures import DATE_COLUMNS, class_of, one_form
from fastreid.utils.errors import nearest, require_choice

FACETS = ("class", "locarno", "office", "view", "applicant", "year")
_LISTS = ("locarno", "office", "view", "applicant", "patents", "not_patents")
_TEXT_COLUMN = {"locarno": "locarno", "office": "office", "view": "view", "applicant": "applicant"}


@dataclass(frozen=True)
class Filter:
    """All conditions hold together; an empty one excludes nothing.

    Args:
        before: strictly before this date, yyyymmdd. As under the rule "granted_before", the same day is not before and
            an unknown date (0) is never permitted.
        since: on or after this date.
        date_field: the column that both read, "date" (grant or publication) or "filed" (priority or filing).
        locarno: any of these classes ("14") or codes ("14-04"; of another classification "D14", "D14/486").
        office, view, applicant: any of these values.
        patents: figures of these patents only.
        not_patents: no figures of these patents.
        title: all these words occur in the title, as parts of it, in any case.

    Raises:
        ValueError, TypeError: a value that is no date, list of texts or text.
    """

    before: int = 0
    since: int = 0
    date_field: str = "date"
    locarno: tuple[str, ...] = ()
    office: tuple[str, ...] = ()
    view: tuple[str, ...] = ()
    applicant: tuple[str, ...] = ()
    patents: tuple[str, ...] = ()
    not_patents: tuple[str, ...] = ()
    title: str = ""

    def __post_init__(self):
        for name in ("before", "since"):
            value = getattr(self, name)
            if not isinstance(value, (int, np.integer)) or isinstance(value, bool):
                raise TypeError(f"{name} of a Filter must be a date as the number yyyymmdd; got {value!r}")
            if value != 0 and not is_date(int(value)):
                raise ValueError(
                    f"{name} of a Filter must be a date yyyymmdd of the calendar, or 0 for none; got {value}"
                )
            object.__setattr__(self, name, int(value))
        require_choice("date_field of a Filter", self.date_field, DATE_COLUMNS)
        for name in _LISTS:
            values = getattr(self, name)
            if not isinstance(values, (tuple, list)) or not all(isinstance(value, str) for value in values):
                raise TypeError(f"{name} of a Filter must be a list of texts; got {values!r}")
            values = dict.fromkeys(value.strip() for value in values)
            if name == "locarno":
                values = dict.fromkeys(
                    value if value.isdecimal() and len(value) <= 2 else one_form(value) for value in values
                )
                values = dict.fromkeys(value.zfill(2) if value.isdecimal() else value for value in values)
            object.__setattr__(self, name, tuple(values))
        if not isinstance(self.title, str):
            raise TypeError(f"title of a Filter must be a text; got {self.title!r}")
        object.__setattr__(self, "title", " ".join(self.title.split()))

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> "Filter":
        """Return the filter of plain values, as `as_json` gives; an unknown name raises ``ValueError``."""
        known = [field.name for field in fields(cls)]
        for name in given:
            if name not in known:
                raise ValueError(f"a Filter has no '{name}'; it has {', '.join(known)}.{nearest(name, known)}")
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in given.items()})

    def as_json(self) -> dict[str, Any]:
        """Return the conditions that are set, as plain values; {} for none."""
        empty, conditions = Filter(), {}
        for field in fields(self):
            value = getattr(self, field.name)
            if value != getattr(empty, field.name):
                conditions[field.name] = list(value) if isinstance(value, tuple) else value
        if not self.has_dates:
            conditions.pop("date_field", None)
        return conditions

    def __bool__(self) -> bool:
        """Whether it excludes anything."""
        return bool(self.as_json())

    @property
    def has_dates(self) -> bool:
        return bool(self.before or self.since)

    @property
    def text_columns(self) -> tuple[str, ...]:
        """Text columns on which a condition is set, for `accepts`."""
        names = [column for name, column in _TEXT_COLUMN.items() if getattr(self, name)]
        names += ["patent"] if self.patents or self.not_patents else []
        return (*names, "title") if self.title else tuple(names)

    def accepts(self, column: str, values: Sequence[str]) -> np.ndarray:
        """Return bool (n,): which values of a text column pass the conditions on that column.

        A backend asks it once per distinct value where it cannot express the condition itself.
        """
        if column == "patent":
            only, never = set(self.patents), set(self.not_patents)
            return np.array([(not only or value in only) and value not in never for value in values], dtype=bool)
        if column == "title":
            words = self.title.casefold().split()
            return np.array([all(word in value.casefold() for word in words) for value in values], dtype=bool)
        wanted = set(getattr(self, column))
        if column == "locarno":
            return np.array(
                [not wanted or value in wanted or class_of(value) in wanted for value in values], dtype=bool
            )
        return np.array([not wanted or value in wanted for value in values], dtype=bool)

    def accepts_dates(self, dates: np.ndarray) -> np.ndarray:
        """Return bool (n,): which dates of the column ``date_field`` pass."""
        good = np.ones(np.shape(dates), dtype=bool)
        if self.before:
            good &= (dates > 0) & (dates < self.before)
        if self.since:
            good &= dates >= self.since
        return good

    def mask(self, columns: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return bool (n,): which figures are permitted. The slow, obvious form that all backends are compared with."""
        good = self.accepts_dates(columns[self.date_field])
        for name in self.text_columns:
            good &= self.accepts(name, columns[name].tolist())
        return good

    def without(self, facet: str) -> "Filter":
        """Return the filter without its condition on a facet, under which the values of that facet are counted."""
        require_choice("a facet", facet, FACETS)
        if facet == "year":
            return replace(self, before=0, since=0)
        return replace(self, **{"locarno" if facet == "class" else facet: ()})
