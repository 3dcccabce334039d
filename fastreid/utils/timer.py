"""Clocks: one that can be paused, one that says when a line about progress is due."""

from collections.abc import Callable
from time import monotonic, perf_counter


class Timer:
    """Count seconds since construction or the last ``reset``, without the pauses."""

    def __init__(self):
        self.reset()

    def reset(self) -> None:
        self._start = perf_counter()
        self._paused_at: float | None = None
        self._pause = 0.0
        self._starts = 1

    def pause(self) -> None:
        if self._paused_at is not None:
            raise ValueError("The timer is paused already.")
        self._paused_at = perf_counter()

    def is_paused(self) -> bool:
        return self._paused_at is not None

    def resume(self) -> None:
        if self._paused_at is None:
            raise ValueError("The timer is not paused.")
        self._pause += perf_counter() - self._paused_at
        self._paused_at = None
        self._starts += 1

    def seconds(self) -> float:
        """Seconds counted so far."""
        end = perf_counter() if self._paused_at is None else self._paused_at
        return end - self._start - self._pause

    def avg_seconds(self) -> float:
        """Seconds per stretch between a start (or ``resume``) and the next pause."""
        return self.seconds() / self._starts


class Beat:
    """Says every few seconds that it is time for a line about progress.

    Args:
        every: seconds between two lines.
        clock: seconds, never going back.
    """

    def __init__(self, every: float = 10.0, clock: Callable[[], float] = monotonic):
        self._every, self._clock = every, clock
        self._begun = self._last = clock()

    def due(self) -> bool:
        """Whether so many seconds have gone since it was last said, or since the beginning."""
        now = self._clock()
        if now - self._last < self._every:
            return False
        self._last = now
        return True

    def rate(self, count: int) -> float:
        """How many a second, when ``count`` were done since the beginning."""
        return count / max(self._clock() - self._begun, 1e-9)
