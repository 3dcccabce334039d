"""The columns of all rows of an embedded index in memory, and what filters and counts ask of them."""

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np

from fastreid.index.base import Count
from fastreid.index.figures import DATE_COLUMNS, TEXT_COLUMNS, Figures, class_of
from fastreid.index.filters import FACETS, Filter

PAIRS = 1 << 26  # (design, value) pairs that may be marked in one array


class Table:
    """Rows in rising order, removed ones among them.

    Args:
        arrays: int64 (N,): "row", "added" and the dates; int32 (N,): the codes of each text column.
        values: the different values of each text column.
        removed: int64 (N,), the version that removed the row, 0 for none.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], values: Mapping[str, list[str]], removed: np.ndarray):
        self.arrays, self.values, self.removed = arrays, values, removed
        self.row, self.added = arrays["row"], arrays["added"]

    @classmethod
    def empty(cls) -> "Table":
        arrays = {name: np.empty(0, dtype=np.int64) for name in ("row", "added", *DATE_COLUMNS)}
        arrays.update({name: np.empty(0, dtype=np.int32) for name in TEXT_COLUMNS})
        return cls(arrays, {name: [] for name in TEXT_COLUMNS}, np.empty(0, dtype=np.int64))

    def extended(self, arrays: Mapping[str, np.ndarray], values: Mapping[str, list[str]]) -> "Table":
        """Return the table with the rows of one more segment; its values get the codes that this table has for them."""
        joined, all_values = {}, {}
        for name in ("row", "added", *DATE_COLUMNS):
            joined[name] = np.concatenate([self.arrays[name], arrays[name]])
        for name in TEXT_COLUMNS:
            known = dict(zip(self.values[name], range(len(self.values[name])), strict=True))
            codes = np.array([known.setdefault(value, len(known)) for value in values[name]], dtype=np.int32)
            joined[name] = np.concatenate([self.arrays[name], codes[arrays[name]]]) if len(codes) else self.arrays[name]
            all_values[name] = list(known)
        return Table(joined, all_values, np.concatenate([self.removed, np.zeros(len(arrays["row"]), dtype=np.int64)]))

    def without(self, rows: np.ndarray, version: int) -> "Table":
        """Return the table in which ``version`` removed some rows."""
        removed = self.removed.copy()
        removed[self.places(rows)] = version
        return Table(self.arrays, self.values, removed)

    def __len__(self) -> int:
        return len(self.row)

    def places(self, rows: np.ndarray) -> np.ndarray:
        """Return where rows stand in this table; ``KeyError`` for one that it does not have."""
        rows = np.asarray(rows, dtype=np.int64)
        places = np.searchsorted(self.row, rows)
        bad = (places >= len(self.row)) | (
            self.row[np.minimum(places, len(self.row) - 1)] != rows if len(self.row) else True
        )
        if np.any(bad):
            raise KeyError(f"the index has no row {rows[np.broadcast_to(bad, rows.shape)][0]}")
        return places

    def alive(self, version: int) -> np.ndarray:
        """Return bool (N,): the rows that a version sees."""
        return (self.added <= version) & ((self.removed == 0) | (self.removed > version))

    def mask(self, filter: Filter, version: int) -> np.ndarray:
        """Return bool (N,): the rows that a version sees and a filter permits."""
        good = self.alive(version)
        if filter.has_dates:
            good &= filter.accepts_dates(self.arrays[filter.date_field])
        for name in filter.text_columns:
            if self.values[name]:
                good &= filter.accepts(name, self.values[name])[self.arrays[name]]
        return good

    def figures(self, places: np.ndarray) -> Figures:
        """Return what is known about the rows at some places."""
        columns: dict[str, np.ndarray] = {name: self.arrays[name][places] for name in DATE_COLUMNS}
        for name in TEXT_COLUMNS:
            values = self.values[name]
            column = np.empty(len(places), dtype=object)
            column[:] = [values[code] for code in self.arrays[name][places].tolist()]
            columns[name] = column
        return Figures.stored(columns)

    @cached_property
    def codes(self) -> dict[str, dict[str, int]]:
        """Code of each value, for the columns by which rows are named."""
        return {name: {value: code for code, value in enumerate(self.values[name])} for name in ("figure_id", "patent")}

    def named(self, column: str, names: Sequence[str]) -> np.ndarray:
        """Return the places of all rows, removed ones included, whose figure_id or patent is one of ``names``."""
        codes = [self.codes[column][name] for name in names if name in self.codes[column]]
        return self._places_of(column, np.unique(np.array(codes, dtype=np.int64)))

    def _places_of(self, column: str, codes: np.ndarray) -> np.ndarray:
        order, starts = self._by_code[column]
        parts = [order[starts[code] : starts[code + 1]] for code in codes]
        return np.sort(np.concatenate(parts)) if parts else np.empty(0, dtype=np.int64)

    @cached_property
    def _by_code(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Places in the order of the codes of a column, and where those of each code begin."""
        found = {}
        for name in ("figure_id", "patent"):
            codes = self.arrays[name]
            counts = np.bincount(codes, minlength=len(self.values[name]))
            found[name] = np.argsort(codes, kind="stable"), np.concatenate([[0], np.cumsum(counts)])
        return found

    def count(self, mask: np.ndarray) -> Count:
        """Count the rows of a mask and their patents."""
        patents = np.zeros(len(self.values["patent"]), dtype=bool)
        patents[self.arrays["patent"][mask]] = True
        return Count(int(mask.sum()), int(patents.sum()))

    def facets(self, filter: Filter, version: int) -> dict[str, dict[str, Count]]:
        """See :meth:`Index.facets`."""
        masks: dict[Filter, np.ndarray] = {}
        found = {}
        for facet in FACETS:
            wanted = filter.without(facet)
            if wanted not in masks:
                masks[wanted] = self.mask(wanted, version)
            values, codes = self._facet(facet, filter.date_field)
            found[facet] = self._counted(values, codes[masks[wanted]], self.arrays["patent"][masks[wanted]])
        return found

    def _facet(self, facet: str, date_field: str) -> tuple[list[str], np.ndarray]:
        """Values of a facet and the code of each row."""
        if facet == "year":
            years, codes = np.unique(self.arrays[date_field] // 10000, return_inverse=True)
            return [str(year) if year else "" for year in years.tolist()], codes
        if facet != "class":
            return self.values[facet], self.arrays[facet]
        classes: dict[str, int] = {}
        of_code = [classes.setdefault(class_of(code), len(classes)) for code in self.values["locarno"]]
        return list(classes), np.array(of_code, dtype=np.int32)[self.arrays["locarno"]] if of_code else self.arrays[
            "locarno"
        ]

    def _counted(self, values: list[str], codes: np.ndarray, patents: np.ndarray) -> dict[str, Count]:
        """Count figures and patents of each value that occurs."""
        figures = np.bincount(codes, minlength=len(values))
        count = len(self.values["patent"])
        if len(values) * count <= PAIRS:
            pairs = np.zeros((len(values), count), dtype=bool)
            pairs[codes, patents] = True
            designs = pairs.sum(axis=1)
        else:
            pairs = np.unique(codes.astype(np.int64) * count + patents)
            designs = np.bincount(pairs // count, minlength=len(values))
        known = sorted((value, place) for place, value in enumerate(values) if figures[place])
        return {value: Count(int(figures[place]), int(designs[place])) for value, place in known}
