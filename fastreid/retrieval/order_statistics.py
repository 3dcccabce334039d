"""The n-th smallest of more values than fit in memory, from passes over approximations of them.

A first pass counts the approximations in a histogram, which brackets the value. The following passes evaluate exactly
what may lie in the bracket, and narrow it until that fits in memory.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

KEPT_VALUES = 1 << 20  # held per bracket; with more of them the bracket is narrowed
KEY_BITS, FINE_BINS = 20, 1 << 14
SIGN = 1 << (KEY_BITS - 1)


@dataclass(frozen=True)
class Chunk:
    """Part of a table of values.

    Attributes:
        values: float32 (b, c), approximate.
        error: float64 (b, 1), bound of ``|values - exact values|``.
        wanted: bool (b, c), the entries that count.
        exact: ``f(rows (n,), columns (n,)) -> float64 (n,)``, exact values of some entries.
    """

    values: np.ndarray
    error: np.ndarray
    wanted: np.ndarray
    exact: Callable[[np.ndarray, np.ndarray], np.ndarray]


Passes = Callable[[], Iterator[Chunk]]  # each call goes over the same table again


class Histogram:
    """Counts approximate values by the leading bits of their float32 representation."""

    def __init__(self, chunks: Iterable[Chunk]):
        self.counts, self.error = np.zeros(1 << KEY_BITS, dtype=np.int64), 0.0
        for chunk in chunks:
            self.error = max(self.error, float(chunk.error.max(initial=0)))
            self.counts += np.bincount(_key(chunk.values[chunk.wanted]), minlength=len(self.counts))

    @property
    def total(self) -> int:
        return int(self.counts.sum())

    def bracket(self, rank: int) -> tuple[float, float]:
        """Interval that holds the exact value number ``rank`` (from 0, the smallest first).

        No exact value is further than `error` from its approximation, so the same is true of the values of a rank.
        """
        key = int(np.searchsorted(np.cumsum(self.counts), rank, side="right"))
        low, high = _smallest_of(key), _smallest_of(key + 1)
        return float(low) - self.error, float(high) + self.error


def _key(values: np.ndarray) -> np.ndarray:
    """Leading bits of float32 values as numbers from 0, in the order of the values."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.int32)
    ordered = np.where(bits < 0, bits ^ 0x7FFFFFFF, bits)  # negative floats come in the order of falling bits
    return (ordered >> (32 - KEY_BITS)) + SIGN


def _smallest_of(key: int) -> np.float32:
    """The smallest float32 with this key."""
    ordered = (key - SIGN) << (32 - KEY_BITS)
    return np.int32(ordered if ordered >= 0 else ordered ^ 0x7FFFFFFF).view(np.float32)


def order_statistics(passes: Passes, histogram: Histogram, ranks: Sequence[int]) -> np.ndarray:
    """Exact values number ``ranks`` (from 0, the smallest first), float64 (len(ranks),).

    Args:
        histogram: made of the same passes; ``ranks`` are below its ``total``.
    """
    brackets = {rank: _Bracket(rank, *histogram.bracket(rank)) for rank in ranks}
    while pending := [bracket for bracket in brackets.values() if bracket.value is None]:
        for chunk in passes():
            for bracket in pending:
                bracket.see(chunk)
        for bracket in pending:
            bracket.settle()
    return np.array([brackets[rank].value for rank in ranks], dtype=np.float64)


class _Bracket:
    """An interval that holds the value number ``rank``; ``value`` is ``None`` until it is known."""

    def __init__(self, rank: int, low: float, high: float):
        self.rank, self.value = rank, None
        self._begin(low, high)

    def _begin(self, low: float, high: float) -> None:
        self.low, self.high, self.below = low, high, 0
        self.kept, self.num_kept, self.fine = [], 0, None

    def see(self, chunk: Chunk) -> None:
        below = (chunk.values < self.low - chunk.error) & chunk.wanted
        near = (chunk.values <= self.high + chunk.error) & chunk.wanted & ~below
        self.below += int(np.count_nonzero(below))
        rows, columns = np.nonzero(near)
        if len(rows):
            values = chunk.exact(rows, columns)
            self.below += int(np.count_nonzero(values < self.low))
            self._keep(values[(values >= self.low) & (values <= self.high)])

    def _keep(self, values: np.ndarray) -> None:
        self.num_kept += len(values)
        if self.fine is None and self.num_kept > KEPT_VALUES:
            self.fine = _FineHistogram(self.low, self.high)
            for earlier in self.kept:
                self.fine.see(earlier)
            self.kept = []
        if self.fine is None:
            self.kept.append(values)
        else:
            self.fine.see(values)

    def settle(self) -> None:
        """After a pass: either the value is known, or the bracket is narrower than before."""
        inside = self.rank - self.below
        if self.fine is None:
            self.value = float(np.partition(np.concatenate(self.kept), inside)[inside])
            return
        low, high = self.fine.bracket(inside)
        if low == high:
            self.value = low
        else:
            self._begin(low, high)


class _FineHistogram:
    """Counts exact values in equal steps of an interval, and keeps the range that each step saw."""

    def __init__(self, low: float, high: float):
        self.low, self.width = low, high - low
        self.counts = np.zeros(FINE_BINS, dtype=np.int64)
        self.smallest, self.largest = np.full(FINE_BINS, np.inf), np.full(FINE_BINS, -np.inf)

    def see(self, values: np.ndarray) -> None:
        steps = np.minimum((values - self.low) / self.width * FINE_BINS, FINE_BINS - 1).astype(np.int64)
        self.counts += np.bincount(steps, minlength=FINE_BINS)
        np.minimum.at(self.smallest, steps, values)
        np.maximum.at(self.largest, steps, values)

    def bracket(self, rank: int) -> tuple[float, float]:
        step = int(np.searchsorted(np.cumsum(self.counts), rank, side="right"))
        return float(self.smallest[step]), float(self.largest[step])
