"""A rule applied to the columns of one search, in the forms that a scan of the gallery can use.

Most rules cost a scan nothing per pair: "granted before" is a prefix of the gallery in the order of dates, "another
patent" and "another camera" are short lists of excluded rows. Only what is left is a mask, made block by block.
"""

from functools import cached_property

import numpy as np

from fastreid.retrieval.rules import (
    RULE_REGISTRY,
    AllItems,
    Columns,
    EveryRule,
    Rule,
    at_query_time,
    get_rule,
    parts_of,
)

__all__ = [
    "RULE_REGISTRY",
    "AllItems",
    "Candidates",
    "Columns",
    "EqualRows",
    "EveryRule",
    "Rows",
    "Rule",
    "at_query_time",
    "get_rule",
]

Rows = slice | np.ndarray  # some rows of queries or of the gallery: a slice, or an int array

ALWAYS_LISTED = 1 << 16  # a `within` rule is kept as lists up to so many pairs, and up to 1/64 of all pairs
PROBE = 64  # rows of each side on which a declared `within` or `before` is tried


class EqualRows:
    """The gallery rows whose value equals that of a query, as CSR lists.

    Args:
        q_values, g_values: (Q,) and (G,), both numbers or both text. NaN equals nothing.

    Attributes:
        counts: int64 (Q,), length of each list.

    Raises:
        TypeError: values of two kinds, which could never be equal.
    """

    def __init__(self, q_values, g_values):
        q_values, g_values = _comparable(np.asarray(q_values), np.asarray(g_values))
        self._order = np.argsort(g_values, kind="stable")
        in_order = g_values[self._order]
        self._first = np.searchsorted(in_order, q_values, side="left")
        ends = np.searchsorted(in_order, q_values, side="right")
        self.counts = np.where(q_values == q_values, ends - self._first, 0)

    def __call__(self, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        """Return ``starts`` int64 (r + 1,) and ``items`` int64, ascending per query.

        The list of the i-th of ``rows`` is ``items[starts[i] : starts[i + 1]]``.
        """
        counts = self.counts[rows]
        starts = starts_of(counts)
        offsets = np.repeat(self._first[rows] - starts[:-1], counts)
        return starts, self._order[np.arange(starts[-1]) + offsets]


def _comparable(q_values: np.ndarray, g_values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Refuse two sides which a common type would change: text and numbers, or int64 and uint64 (both become float)."""
    if len(q_values) and len(g_values):
        kinds = {q_values.dtype.kind, g_values.dtype.kind}
        is_text = {kind in "US" for kind in kinds - {"O"}}
        if len(is_text) > 1 or np.result_type(q_values, g_values).kind not in kinds:
            raise TypeError(
                f"the values of the queries are {q_values.dtype} and those of the gallery {g_values.dtype}; a column "
                "must have one type on both sides"
            )
    return q_values, g_values


def starts_of(counts: np.ndarray) -> np.ndarray:
    """Where the lists of a CSR begin, int64 (n + 1,)."""
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def join_lists(rows: int, width: int, *lists: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Union of CSR lists of numbers below ``width``, ascending per row."""
    keys = [np.zeros(0, dtype=np.int64)]
    keys += [np.repeat(np.arange(rows), np.diff(starts)) * width + items for starts, items in lists]
    local, items = np.divmod(np.unique(np.concatenate(keys)), max(1, width))
    return starts_of(np.bincount(local, minlength=rows)), items


class Candidates:
    """The pairs that ``rule`` permits between ``num_queries`` queries and ``num_gallery`` gallery items.

    A pair is permitted when the item is among the first ``limits[i]`` of ``order``, not in `excluded`, and true in
    `mask`; `permitted` and `permits_pairs` answer for all three. ``rows`` and ``items`` are row numbers of the queries
    and of the gallery: a slice or an int array.

    Args:
        q_columns, g_columns: columns of length Q and G, at least those that the rule needs.

    Attributes:
        order: int64 (G,), the gallery rows by (date, row), those without a date last; ``None`` for the rows as they
            are. Set when a rule with ``before`` takes part.
        limits: int64 (Q,), how many positions of ``order`` can be permitted; ``None`` without ``order``.

    Raises:
        TypeError: a rule that does not answer with a bool array of the right shape, or columns it cannot be used on.
        ValueError: a rule that does not do what its ``within`` or ``before`` declares (tried on a few pairs).
    """

    def __init__(
        self, rule: Rule | str | None, q_columns: Columns, g_columns: Columns, num_queries: int, num_gallery: int
    ):
        self.num_queries, self.num_gallery = num_queries, num_gallery
        self._parts = [_Part(part, q_columns, g_columns) for part in parts_of(get_rule(rule)) if part.needs]
        dated = [part for part in self._parts if part.before][:1]
        self.order, self.limits = dated[0].prefix() if dated else (None, None)
        rest = [part for part in self._parts if part not in dated]
        self._listed = [part for part in rest if part.within and part.is_short]
        self._masked = [part for part in rest if part not in self._listed]

    def excluded(self, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        """Return gallery rows to leave out as CSR: ``starts`` int64 (r + 1,), ``items`` int64, ascending per query."""
        numbers = np.arange(self.num_queries)[rows]
        lists = [part.excluded(numbers) for part in self._listed]
        if len(lists) == 1:
            return lists[0]
        return join_lists(len(numbers), self.num_gallery, *lists)

    def mask(self, rows: Rows, items: Rows) -> np.ndarray | None:
        """Return bool (r, c) of what neither `excluded` nor ``limits`` say; ``None`` when nothing is left to say."""
        return _all_of(part.block(rows, items) for part in self._masked)

    def permitted(self, rows: Rows) -> np.ndarray | None:
        """Return bool (r, G), in the order of gallery rows; ``None`` when everything is permitted."""
        return _all_of(part.block(rows, slice(None)) for part in self._parts)

    def permits_pairs(self, q_rows: np.ndarray, g_rows: np.ndarray) -> np.ndarray:
        """Return bool (n,) for the pairs (q_rows[i], g_rows[i])."""
        permitted = _all_of(part.pairs(q_rows, g_rows) for part in self._parts)
        return np.ones(len(q_rows), dtype=bool) if permitted is None else permitted


def _all_of(masks) -> np.ndarray | None:
    result = None
    for mask in masks:
        result = mask if result is None else np.logical_and(result, mask, out=result)
    return result


class _Part:
    """One rule with the columns it reads, and the checks of what it answers."""

    def __init__(self, rule: Rule, q_columns: Columns, g_columns: Columns):
        self.rule, self.name = rule, type(rule).__name__
        self.within, self.before = getattr(rule, "within", None), getattr(rule, "before", None)
        self.query, self.item = self._read(q_columns), self._read(g_columns)
        self._check_declared()

    def _read(self, columns: Columns) -> dict[str, np.ndarray]:
        needed = {name: np.asarray(columns[name]) for name in self.rule.needs}
        derived = self.rule.read(needed) if hasattr(self.rule, "read") else needed
        declared = [name for name in (self.within, self.before) if name and name not in derived]
        if declared or {len(column) for column in derived.values()} != {len(column) for column in needed.values()}:
            wrong = f"no column '{declared[0]}'" if declared else "columns of another length"
            raise ValueError(f"rule {self.name} has {wrong} after read(); it needs {', '.join(self.rule.needs)}")
        return dict(derived)

    def _ask(self, query: Columns, item: Columns, shape: tuple[int, ...]) -> np.ndarray:
        if 0 in shape:
            return np.ones(shape, dtype=bool)
        try:
            answer = np.asarray(self.rule.permits(query, item))
        except KeyError as error:
            raise ValueError(f"rule {self.name} reads column {error}, which it does not name in `needs`") from error
        fits = answer.ndim == len(shape) and all(n in (1, full) for n, full in zip(answer.shape, shape, strict=True))
        if answer.dtype != bool or not fits:
            raise TypeError(
                f"permits() of rule {self.name} must return a bool array that broadcasts to {shape}, the shape of its "
                f"columns together; got {answer.dtype} of shape {answer.shape}"
            )
        if answer.shape == shape and answer.base is None:
            return answer
        return np.array(np.broadcast_to(answer, shape))  # a copy: it must not be one of the columns

    def block(self, rows: Rows, items: Rows) -> np.ndarray:
        query = {name: column[rows][:, None] for name, column in self.query.items()}
        item = {name: column[items][None, :] for name, column in self.item.items()}
        return self._ask(query, item, (len(next(iter(query.values()))), next(iter(item.values())).shape[1]))

    def pairs(self, q_rows: np.ndarray, g_rows: np.ndarray) -> np.ndarray:
        query = {name: column[q_rows] for name, column in self.query.items()}
        return self._ask(query, {name: column[g_rows] for name, column in self.item.items()}, (len(q_rows),))

    def prefix(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the gallery rows by (date, row) and, per query, how many of them lie before it."""
        query, item = self.query[self.before], self.item[self.before]
        known = np.flatnonzero(item > 0)
        known = known[np.argsort(item[known], kind="stable")]
        limits = np.where(query > 0, np.searchsorted(item[known], query, side="left"), 0)
        return np.concatenate([known, np.flatnonzero(~(item > 0))]), limits

    @cached_property
    def equal(self) -> EqualRows:
        return EqualRows(self.query[self.within], self.item[self.within])

    @property
    def is_short(self) -> bool:
        total = int(self.equal.counts.sum())
        return total <= max(ALWAYS_LISTED, len(self.query[self.within]) * len(self.item[self.within]) // 64)

    def excluded(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        starts, items = self.equal(rows)
        queries = np.repeat(np.arange(len(rows)), np.diff(starts))
        out = ~self.pairs(rows[queries], items)
        return starts_of(np.bincount(queries[out], minlength=len(rows))), items[out]

    def _check_declared(self) -> None:
        """Try what is declared on a few pairs spread over both sides: a false word would give false rankings."""
        if self.before:
            self._check_numbers(self.query[self.before], self.item[self.before])
            self._compare("before", self.before, lambda query, item, allowed: allowed == ((item > 0) & (item < query)))
        elif self.within:
            self._compare("within", self.within, lambda query, item, allowed: allowed | (item == query))

    def _check_numbers(self, query: np.ndarray, item: np.ndarray) -> None:
        if any(column.dtype.kind not in "iuf" for column in (query, item) if len(column)):
            raise TypeError(
                f"rule {self.name} needs numbers such as 20180109 (0: unknown) in column '{self.before}'; the queries "
                f"have {query.dtype}, the gallery {item.dtype}"
            )

    def _compare(self, kind: str, column: str, holds) -> None:
        rows, items = _spread(len(self.query[column])), _spread(len(self.item[column]))
        query, item = self.query[column][rows][:, None], self.item[column][items][None, :]
        wrong = np.argwhere(~np.broadcast_to(holds(query, item, self.block(rows, items)), (len(rows), len(items))))
        if len(wrong):
            i, j = wrong[0]
            raise ValueError(
                f"rule {self.name} declares {kind} = '{column}', but permits() says otherwise for query row {rows[i]} "
                f"and gallery row {items[j]}"
            )


def _spread(count: int) -> np.ndarray:
    return np.unique(np.linspace(0, max(0, count - 1), min(PROBE, count)).astype(np.int64))
