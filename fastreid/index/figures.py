"""What an index knows about each figure beside its vector."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastreid.utils.errors import nearest
from fastreid.utils.locarno import read_locarno

TEXT_COLUMNS = (
    "figure_id", "patent", "figure", "view", "title", "caption", "locarno", "office", "applicant", "path",
)  # fmt: skip
DATE_COLUMNS = ("date", "filed")
COLUMNS = TEXT_COLUMNS + DATE_COLUMNS


@dataclass(frozen=True, eq=False)
class Figures:
    """Columns of n figures, each an array of length n.

    Args:
        columns: ``figure_id`` (unique in the index) and ``patent`` are obligatory and not empty; every other column may
            be missing, then it is "" (text) or 0 (dates). Texts are ``figure`` (its number, "1"), ``view`` ("front"),
            ``title``, ``caption``, ``locarno``, ``office`` ("US"), ``applicant`` and ``path`` (the image, absolute or
            relative to the index's folder of images). ``date`` (grant or publication) and ``filed`` (priority or
            filing) are whole numbers yyyymmdd, 0 when unknown. A readable Locarno code is kept in one form, "14-04" (or
            "14" without a subclass); a code of another classification ("D14/486") stays as it is.

    Attributes:
        columns: all of ``COLUMNS``: object arrays of str, int64 for dates.

    Raises:
        ValueError: an unknown or missing column, lengths that disagree, an empty or repeated ``figure_id``, an empty
            ``patent``, or a date that is no yyyymmdd.
    """

    columns: Mapping[str, np.ndarray]

    def __post_init__(self):
        unknown = [name for name in self.columns if name not in COLUMNS]
        if unknown:
            raise ValueError(
                f"columns of Figures must be among {', '.join(COLUMNS)}; got '{unknown[0]}'."
                f"{nearest(unknown[0], COLUMNS)}"
            )
        missing = [name for name in ("figure_id", "patent") if name not in self.columns]
        if missing:
            raise ValueError(f"columns of Figures must contain '{missing[0]}'; got {sorted(self.columns)}")
        count = len(self.columns["figure_id"])
        columns = {name: _column(name, self.columns.get(name), count) for name in COLUMNS}
        for name in ("figure_id", "patent"):
            empty = np.flatnonzero(columns[name] == "")
            if len(empty):
                raise ValueError(f"{name} of figure {empty[0]} is empty")
        if len(set(columns["figure_id"].tolist())) < count:
            seen: set[str] = set()
            twice = next(name for name in columns["figure_id"] if name in seen or seen.add(name))
            raise ValueError(f"figure_id '{twice}' is given twice")
        object.__setattr__(self, "columns", columns)

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, Any]]) -> "Figures":
        """Return the figures of mappings, one per figure: ``{"figure_id": ..., "patent": ..., "date": 20180109}``."""
        rows = list(rows)
        names = list(dict.fromkeys([*(name for row in rows for name in row), "figure_id", "patent"]))
        return cls({name: [row.get(name) for row in rows] for name in names})

    @classmethod
    def stored(cls, columns: Mapping[str, np.ndarray]) -> "Figures":
        """Return the figures of all ``COLUMNS`` as an index keeps them, unchecked; a figure_id may occur twice."""
        figures = object.__new__(cls)
        object.__setattr__(figures, "columns", columns)
        return figures

    def __len__(self) -> int:
        return len(self.columns["figure_id"])

    def __getitem__(self, name: str) -> np.ndarray:
        return self.columns[name]

    def take(self, rows: np.ndarray | slice) -> "Figures":
        """Return some of the figures, by position or mask."""
        return Figures.stored({name: values[rows] for name, values in self.columns.items()})

    def row(self, place: int) -> dict[str, Any]:
        """Return one figure as plain values."""
        return {
            name: values[place] if name in TEXT_COLUMNS else int(values[place]) for name, values in self.columns.items()
        }


def class_of(code: str) -> str:
    """Return the class of a classification code: "14" of "14-04", "D14" of "D14/486", "" of ""."""
    return code.partition("-")[0] if read_locarno(code) else code.partition("/")[0]


def one_form(code: str) -> str:
    """Return a readable Locarno code as "14-04", or "14" without a subclass; any other text as it is."""
    found = read_locarno(code)
    return found.subclass_code or found.class_code or code


def _column(name: str, values: Any, count: int) -> np.ndarray:
    if name in DATE_COLUMNS:
        values = [0] * count if values is None else [0 if value is None else value for value in values]
        column = _dates(name, values)
    else:
        values = [""] * count if values is None else ["" if value is None else str(value).strip() for value in values]
        column = np.empty(len(values), dtype=object)
        column[:] = [one_form(value) for value in values] if name == "locarno" else values
    if column.shape != (count,):
        raise ValueError(f"column '{name}' of Figures must have shape ({count},); got {column.shape}")
    return column


def _dates(name: str, values: list) -> np.ndarray:
    given = np.asarray(values) if len(values) else np.zeros(0, dtype=np.int64)
    column = given.astype(np.int64) if given.dtype.kind in "iufb" else given
    if given.dtype.kind not in "iufb" or (column != given).any():
        raise ValueError(f"column '{name}' of Figures must hold dates as whole numbers yyyymmdd; got {values[:3]}")
    month, day = column // 100 % 100, column % 100
    good = (column == 0) | (
        (column >= 10000101) & (column <= 99991231) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)
    )
    if not good.all():
        bad = int(np.flatnonzero(~good)[0])
        raise ValueError(f"{name} of figure {bad} must be a date yyyymmdd, or 0 when unknown; got {column[bad]}")
    return column
