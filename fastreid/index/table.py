"""The columns of all rows of an embedded index in memory, and what filters and counts ask of them."""

import threading
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

import numpy as np

from fastreid.index.base import Count
from fastreid.index.figures import DATE_COLUMNS, TEXT_COLUMNS, Figures, class_of
from fastreid.index.filters import FACETS, Filter

NUMBER_COLUMNS = ("row", "added", *DATE_COLUMNS)
PAIRS = 1 << 26  # (design, value) pairs that may be marked in one array


class Texts:
    """The different values of a text column, each with its place as its code.

    It only grows: the tables of one index share it, and one of an earlier version knows the beginning.
    """

    def __init__(self):
        self.values: list[str] = []
        self._codes: dict[str, int] | None = None  # made when it is first asked for, which few columns ever are
        self._guard = threading.Lock()

    @property
    def codes(self) -> dict[str, int]:
        """The code of each value."""
        with self._guard:
            return self._known()

    def _known(self) -> dict[str, int]:
        if self._codes is None:
            self._codes = dict(zip(self.values, range(len(self.values)), strict=True))
        return self._codes

    def encode(self, values: list[str]) -> np.ndarray:
        """Return the codes, int32 (n,), of values that differ from each other; new ones are added."""
        with self._guard:
            if not self.values:
                self.values, self._codes = list(values), None
                return np.arange(len(values), dtype=np.int32)
            known, count = self._known(), len(self.values)
            codes = np.fromiter((known.setdefault(value, len(known)) for value in values), np.int32, len(values))
            self.values += [values[place] for place in np.flatnonzero(codes >= count).tolist()]
            return codes


class Table:
    """Rows in rising order, removed ones among them.

    Args:
        arrays: int64 (N,): "row", "added" and the dates; int32 (N,): the codes of each text column.
        texts: the values of each text column.
        removed: int64 (N,), the version that removed the row, 0 for none.

    Attributes:
        sizes: how many values of each text column this table knows; `texts` may know more by now.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], texts: Mapping[str, Texts], removed: np.ndarray):
        self.arrays, self.texts, self.removed = arrays, texts, removed
        self.sizes = {name: len(column.values) for name, column in texts.items()}
        self.row, self.added = arrays["row"], arrays["added"]

    @classmethod
    def empty(cls) -> "Table":
        arrays = {name: np.empty(0, dtype=np.int64) for name in NUMBER_COLUMNS}
        arrays.update({name: np.empty(0, dtype=np.int32) for name in TEXT_COLUMNS})
        return cls(arrays, {name: Texts() for name in TEXT_COLUMNS}, np.empty(0, dtype=np.int64))

    def extended(self, segments: Sequence[tuple[Mapping[str, np.ndarray], Mapping[str, list[str]]]]) -> "Table":
        """Return the table with the rows of further segments, each given as its arrays and the values of its texts.

        One thread at a time may extend the tables of an index.
        """
        parts = {name: [column] for name, column in self.arrays.items()}
        for arrays, values in segments:
            for name in NUMBER_COLUMNS:
                parts[name].append(arrays[name])
            for name in TEXT_COLUMNS:
                parts[name].append(self.texts[name].encode(values[name])[arrays[name]])
        joined = {name: np.concatenate(column) for name, column in parts.items()}
        removed = np.zeros(len(joined["row"]), dtype=np.int64)
        removed[: len(self)] = self.removed
        return Table(joined, self.texts, removed)

    def without(self, removals: Iterable[tuple[np.ndarray, int]]) -> "Table":
        """Return the table after removals, each the rows and the version that removed them."""
        removed = self.removed.copy()
        for rows, version in removals:
            removed[self.places(rows)] = version
        return Table(self.arrays, self.texts, removed)

    def values(self, name: str) -> list[str]:
        """Return the values of a text column, by their codes."""
        return self.texts[name].values[: self.sizes[name]]

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
            good &= filter.accepts(name, self.values(name))[self.arrays[name]]
        return good

    def figures(self, places: np.ndarray) -> Figures:
        """Return what is known about the rows at some places."""
        columns: dict[str, np.ndarray] = {name: self.arrays[name][places] for name in DATE_COLUMNS}
        for name in TEXT_COLUMNS:
            values = self.texts[name].values
            column = np.empty(len(places), dtype=object)
            column[:] = [values[code] for code in self.arrays[name][places].tolist()]
            columns[name] = column
        return Figures.stored(columns)

    def named(self, column: str, names: Sequence[str]) -> np.ndarray:
        """Return the places of all rows, removed ones included, whose figure_id or patent is one of ``names``."""
        if not len(names):
            return np.empty(0, dtype=np.int64)
        known = self.texts[column].codes
        codes = {known[name] for name in names if name in known}
        return self._places_of(column, sorted(code for code in codes if code < self.sizes[column]))

    def some_values(self, column: str, mask: np.ndarray, most: int = 10_000) -> list[str]:
        """Return the first different values of a text column in the rows of a mask."""
        codes = np.flatnonzero(np.bincount(self.arrays[column][mask]))[:most]
        return [self.texts[column].values[code] for code in codes.tolist()]

    def _places_of(self, column: str, codes: Sequence[int]) -> np.ndarray:
        order, starts = self._by_code[column]
        parts = [order[starts[code] : starts[code + 1]] for code in codes]
        return np.sort(np.concatenate(parts)) if parts else np.empty(0, dtype=np.int64)

    @cached_property
    def _by_code(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Places in the order of the codes of a column, and where those of each code begin."""
        found = {}
        for name in ("figure_id", "patent"):
            codes = self.arrays[name]
            counts = np.bincount(codes, minlength=self.sizes[name])
            found[name] = np.argsort(codes, kind="stable"), np.concatenate([[0], np.cumsum(counts)])
        return found

    def count(self, mask: np.ndarray) -> Count:
        """Count the rows of a mask and their patents."""
        patents = np.zeros(self.sizes["patent"], dtype=bool)
        patents[self.arrays["patent"][mask]] = True
        return Count(int(mask.sum()), int(patents.sum()))

    def facets(self, filter: Filter, version: int) -> dict[str, dict[str, Count]]:
        """See :meth:`Index.facets`."""
        permitted: dict[Filter, np.ndarray | slice] = {}
        found = {}
        for facet in FACETS:
            wanted = filter.without(facet)
            if wanted not in permitted:
                mask = self.mask(wanted, version)
                permitted[wanted] = slice(None) if mask.all() else np.flatnonzero(mask)
            values, codes = self._facet(facet, filter.date_field)
            places = permitted[wanted]
            found[facet] = self._counted(values, codes[places], self.arrays["patent"][places])
        return found

    def _facet(self, facet: str, date_field: str) -> tuple[list[str], np.ndarray]:
        """Values of a facet and the code of each row."""
        if facet == "year":
            years = self.arrays[date_field] // 10000
            known = np.flatnonzero(np.bincount(years))
            code_of = np.zeros(known[-1] + 1 if len(known) else 0, dtype=np.int32)
            code_of[known] = np.arange(len(known))
            return [str(year) if year else "" for year in known.tolist()], code_of[years]
        if facet != "class":
            return self.values(facet), self.arrays[facet]
        classes: dict[str, int] = {}
        of_code = [classes.setdefault(class_of(code), len(classes)) for code in self.values("locarno")]
        return list(classes), np.array(of_code, dtype=np.int32)[self.arrays["locarno"]]

    def _counted(self, values: list[str], codes: np.ndarray, patents: np.ndarray) -> dict[str, Count]:
        """Count figures and patents of each value that occurs."""
        figures = np.bincount(codes, minlength=len(values))
        designs = _different(codes, len(values), patents, self.sizes["patent"])
        known = sorted((value, place) for place, value in enumerate(values) if figures[place])
        return {value: Count(int(figures[place]), int(designs[place])) for value, place in known}


def _different(codes: np.ndarray, values: int, patents: np.ndarray, count: int) -> np.ndarray:
    """Return how many of ``count`` patents occur with each of some values, int (values,)."""
    pairs = codes.astype(np.int64) * count + patents
    if values * count <= PAIRS:
        marked = np.zeros(values * count, dtype=bool)
        marked[pairs] = True
        return np.array([np.count_nonzero(row) for row in marked.reshape(values, count)], dtype=np.int64)
    pairs.sort()  # numpy.unique takes fifty times as long for a million
    first = np.ones(len(pairs), dtype=bool)
    first[1:] = pairs[1:] != pairs[:-1]
    return np.bincount(pairs[first] // count, minlength=values)
