"""What holds requests back: time between them, and money."""

import random
import threading
import time
from collections.abc import Callable

from fastreid.enrich.components import BudgetSpent

LONGEST_WAIT = 60.0  # seconds between two tries, unless the endpoint asks for more


class Stopped(Exception):
    """The command is ending: no request is begun any more."""


class Waiting:
    """Waits that end at once when the command does.

    Args:
        clock: seconds, never going back.
        sleep: called with the seconds to wait, instead of a wait that `stop` ends.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], object] | None = None):
        self.clock = clock
        self._stopped = threading.Event()
        self._sleep = sleep or self._stopped.wait
        self._lock = threading.Lock()
        self._next = 0.0  # no request before
        self._random = random.Random()

    def stop(self) -> None:
        self._stopped.set()

    def sleep(self, seconds: float) -> None:
        """Wait; raises ``Stopped`` when the command ends."""
        if seconds > 0 and not self._stopped.is_set():
            self._sleep(seconds)
        if self._stopped.is_set():
            raise Stopped

    def turn(self, per_minute: float) -> None:
        """Wait until the next request may begin, evenly spaced over all threads; 0 requests per minute: no limit."""
        with self._lock:
            begin = max(self.clock(), self._next)
            self._next = begin + 60.0 / per_minute if per_minute > 0 else self._next
        self.sleep(begin - self.clock())

    def back_off(self, tries: int, after: float) -> None:
        """Wait before the next try: 1, 2, 4, ... seconds up to a minute, less up to a half by chance.

        Args:
            tries: that have failed, at least 1.
            after: seconds that the endpoint asks for; no thread begins a request before.
        """
        with self._lock:
            self._next = max(self._next, self.clock() + after) if after else self._next
            delay = min(LONGEST_WAIT, 2.0 ** (tries - 1)) * self._random.uniform(0.5, 1.0)
        self.sleep(max(delay, after))


class Budget:
    """Money that requests may cost together; several threads ask before and report after each.

    Args:
        cap: 0 for none.
        spent: by earlier runs.
    """

    def __init__(self, cap: float, spent: float = 0.0):
        self.cap, self.spent = cap, spent
        self._open = 0.0  # what the requests on their way may cost at most
        self._changed = threading.Condition()

    def reserve(self, most: float) -> None:
        """Set aside what a request can cost; waits for those on their way when only their end can tell.

        Raises:
            BudgetSpent: the request could exceed the cap.
        """
        with self._changed:
            while self.cap and self._open and self.spent + self._open + most > self.cap:
                self._changed.wait()
            if self.cap and self.spent + most > self.cap:
                raise BudgetSpent(
                    f"{self.spent:.4f} of ENRICH.REWRITER.COST_CAP {self.cap:g} are spent, and the next request may "
                    f"cost {most:.4f}"
                )
            self._open += most

    def settle(self, most: float, cost: float) -> None:
        """Report what a request cost for which ``most`` was set aside."""
        with self._changed:
            self._open = max(0.0, self._open - most)
            self.spent += cost
            self._changed.notify_all()
