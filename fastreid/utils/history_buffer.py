"""The history of one scalar."""

from collections import deque

import numpy as np


class HistoryBuffer:
    """Keep the newest ``max_length`` pairs (value, iteration) of a scalar, and the mean of all of them."""

    def __init__(self, max_length: int = 1000):
        self._values: deque[tuple[float, float]] = deque(maxlen=max_length)
        self._count = 0
        self._sum = 0.0

    def update(self, value: float, iteration: float | None = None) -> None:
        """Add a value; without ``iteration`` it is the number of earlier values."""
        self._values.append((value, self._count if iteration is None else iteration))
        self._count += 1
        self._sum += value

    def latest(self) -> float:
        return self._values[-1][0]

    def latest_iteration(self) -> float:
        return self._values[-1][1]

    def median(self, window_size: int) -> float:
        return float(np.median(self._window(window_size)))

    def avg(self, window_size: int) -> float:
        return float(np.mean(self._window(window_size)))

    def global_avg(self) -> float:
        """Mean of every value ever added, also those no longer kept."""
        return self._sum / self._count

    def values(self) -> list[tuple[float, float]]:
        """Return the kept pairs (value, iteration), oldest first."""
        return list(self._values)

    def _window(self, size: int) -> list[float]:
        return [value for value, _ in list(self._values)[-size:]]
