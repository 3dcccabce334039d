"""How far an enrichment is: a line in the log every few seconds."""

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from fastreid.utils.timer import Beat

logger = logging.getLogger(__name__)


@dataclass
class Outcome:
    """Numbers of figures.

    Attributes:
        total: that the metadata name.
        kept: whose texts were there.
        made: whose texts were made by the rewriter, ``fallback`` by the one that takes its place.
        failed: that stay without texts, for these ``reasons``.
    """

    total: int = 0
    kept: int = 0
    made: int = 0
    fallback: int = 0
    failed: int = 0
    reasons: Counter = field(default_factory=Counter)

    def __str__(self) -> str:
        parts = [f"{self.kept} kept", f"{self.made} made"]
        parts += [f"{self.fallback} by the fallback"] if self.fallback else []
        return f"{', '.join(parts)}, {self.failed} failed of {self.total} figures"


class Progress:
    """Logs an outcome as it grows.

    Args:
        every: seconds between two lines.
        clock: seconds, never going back.
    """

    def __init__(self, every: float = 10.0, clock: Callable[[], float] = time.monotonic):
        self._beat = Beat(every, clock)

    def show(self, outcome: Outcome, status: Callable[[], str], last: bool = False) -> None:
        """Log a line when it is time for one; with ``last`` in any case."""
        if self._beat.due() or last:
            rate = self._beat.rate(outcome.made + outcome.fallback)
            logger.info("%s", "; ".join(filter(None, (str(outcome), f"{rate:.1f} figures/s", status()))))
