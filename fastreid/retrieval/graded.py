"""Graded relevance: how much each item is worth to a query, and nDCG.

An item's gain is the largest one among the columns in which it agrees with the query, for instance the same patent 3,
the same Locarno subclass 2, the same class 1, anything else 0. An unknown value ("" or -1) agrees with nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from fastreid.utils.errors import nearest

if TYPE_CHECKING:
    from fastreid.retrieval.candidates import Candidates, Columns

GAINS = {"pids": 3.0, "subclass": 2.0, "class": 1.0}
PAIRS_PER_CHUNK = 2**18  # about 100 bytes each


@dataclass(frozen=True, eq=False)
class Graded:
    """Gains of the first items of each query, and how many items of each gain it could have found.

    Attributes:
        gains: float64 (Q, k), gain of the item at each rank; 0 where there is none.
        levels: float64 (L,), the positive gains, falling.
        counts: int64 (Q, L), permitted gallery items of each level.
        complete: the lists hold every permitted item, so k is no limit.
    """

    gains: np.ndarray = field(repr=False)
    levels: np.ndarray
    counts: np.ndarray = field(repr=False)
    complete: bool = False

    def __post_init__(self):
        expected = (len(self.gains), len(self.levels))
        if np.shape(self.counts) != expected:
            given = np.shape(self.counts)
            raise ValueError(f"counts of graded relevance must have shape (Q, L) = {expected}; got {given}")
        if np.any(np.diff(self.levels) >= 0) or np.any(np.asarray(self.levels) <= 0):
            raise ValueError(f"levels of graded relevance must be positive and falling; got {list(self.levels)}")

    @classmethod
    def join(cls, parts: Sequence["Graded"]) -> "Graded":
        """Those of consecutive queries together."""
        return replace(parts[0], **{n: np.concatenate([getattr(p, n) for p in parts]) for n in ("gains", "counts")})

    def ndcg(self, k: int) -> np.ndarray:
        """Normalised discounted cumulative gain of the first ``k`` items, float64 (Q,).

        DCG@k is the sum of gain / log2(rank + 1), linear in the gain (Jaervelin and Kekaelaeinen, TOIS 2002, with the
        discount of Burges et al., 2005; not the 2^gain - 1 variant). It is divided by the DCG@k of the best order of
        all permitted items; 0 where none of them has a gain.

        Raises:
            ValueError: the lists are shorter than ``k``.
        """
        width = self.gains.shape[1]
        if k > width and not self.complete:
            raise ValueError(f"nDCG@{k} needs the first {k} items of each query; the gains given cover {width}")
        discounts = 1 / np.log2(np.arange(2, k + 2))
        found = self.gains[:, :k] @ discounts[: min(k, width)]
        summed = np.concatenate([[0.0], np.cumsum(discounts)])
        ends = np.minimum(np.cumsum(self.counts, axis=1), k)
        ideal = np.diff(summed[ends], axis=1, prepend=0.0) @ self.levels
        return np.divide(found, ideal, out=np.zeros(len(found)), where=ideal > 0)


def grade(
    indices: np.ndarray,
    candidates: "Candidates",
    q_columns: "Columns",
    g_columns: "Columns",
    gains: Mapping[str, float],
) -> Graded:
    """Grade ranked lists.

    Args:
        indices: int64 (Q, k), the first permitted gallery rows of each query, -1 where there is none.
        gains: gain of an item that agrees with the query in a column, such as `GAINS`.

    Raises:
        ValueError: no gains, a gain that is not positive, or a column which the queries or the gallery lack.
    """
    check_gains(gains, q_columns, g_columns)
    return Graded(
        gains=graded_gains(indices, q_columns, g_columns, gains),
        levels=gain_levels(gains),
        counts=ideal_counts(candidates, q_columns, g_columns, gains),
        complete=indices.shape[1] >= len(g_columns[next(iter(gains))]),
    )


def check_gains(gains: Mapping[str, float], q_columns: "Columns", g_columns: "Columns") -> None:
    """Raise ``ValueError`` unless every gain is a positive number for a column of both sides."""
    if not gains:
        raise ValueError("gains of graded relevance must name at least one column, as in {'pids': 3}; got none")
    for column, gain in gains.items():
        if not (np.isfinite(gain) and gain > 0):
            raise ValueError(f"gains of graded relevance must be positive; got {gain} for column '{column}'")
        for side, columns in (("queries", q_columns), ("gallery", g_columns)):
            if column not in columns:
                given = ", ".join(columns) or "none"
                raise ValueError(
                    f"gains of graded relevance name column '{column}', which the {side} lack; given: {given}."
                    f"{nearest(column, columns)}"
                )


def gain_levels(gains: Mapping[str, float]) -> np.ndarray:
    """The different gains, falling, float64 (L,)."""
    return np.array(sorted(set(gains.values()), reverse=True), dtype=np.float64)


def graded_gains(
    indices: np.ndarray, q_columns: "Columns", g_columns: "Columns", gains: Mapping[str, float]
) -> np.ndarray:
    """Gain of each listed gallery row, float64 (Q, k); 0 for -1, which stands for no item."""
    indices = np.asarray(indices)
    result, listed = np.zeros(indices.shape), indices >= 0
    for column, gain in gains.items():
        same = agrees(np.asarray(q_columns[column])[:, None], np.asarray(g_columns[column])[indices])
        np.maximum(result, gain, out=result, where=listed & same)
    return result


def ideal_counts(
    candidates: "Candidates", q_columns: "Columns", g_columns: "Columns", gains: Mapping[str, float]
) -> np.ndarray:
    """Number of permitted gallery items per query and gain level, int64 (Q, L); levels as `gain_levels`.

    Only the pairs that agree in some column are looked at, `PAIRS_PER_CHUNK` at a time.
    """
    levels = gain_levels(gains).tolist()
    ordered = sorted(gains, key=lambda column: -gains[column])
    columns = [_codes(np.asarray(q_columns[name]), np.asarray(g_columns[name])) for name in ordered]
    num_queries = len(columns[0][0])
    counts = np.zeros((num_queries, len(levels)), dtype=np.int64)
    for at, name in enumerate(ordered):
        for rows, items in _agreeing_pairs(*columns[at]):
            kept = candidates.permits_pairs(rows, items)
            for query, item in columns[:at]:  # counted already, with a gain at least as large
                kept = kept & (query[rows] != item[items])
            counts[:, levels.index(gains[name])] += np.bincount(rows[kept], minlength=num_queries)
    return counts


def _codes(q_values: np.ndarray, g_values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Small numbers in the place of values; unknown ones get -1 on the side of the queries, -2 on the other."""
    values, codes = np.unique(np.concatenate([q_values, g_values]), return_inverse=True)
    codes = np.where(is_known(values)[codes], codes, -1)
    query, item = np.split(codes, [len(q_values)])
    return query, np.where(item < 0, -2, item)


def _agreeing_pairs(q_codes: np.ndarray, g_codes: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (query rows, gallery rows) of the pairs with the same code, in bounded portions."""
    from fastreid.retrieval.candidates import EqualRows

    equal = EqualRows(q_codes, g_codes)
    portion = np.cumsum(equal.counts) // PAIRS_PER_CHUNK
    for rows in np.split(np.arange(len(portion)), np.flatnonzero(np.diff(portion)) + 1):
        starts, items = equal(rows)
        yield np.repeat(rows, np.diff(starts)), items


def agrees(query: np.ndarray, item: np.ndarray) -> np.ndarray:
    """Whether values are equal and known; the arrays broadcast against each other."""
    return (query == item) & is_known(query)


def is_known(values: np.ndarray) -> np.ndarray:
    """False for the values that stand for nothing: an empty text, or the number -1."""
    if values.dtype.kind == "O":  # texts, as feature files have them
        return (values != "") & (values != -1)
    return values != ("" if values.dtype.kind in "US" else -1)
