"""A clock that can be paused."""

from time import perf_counter


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
