"""Counts by reason, each with its first examples."""

import copy
from collections.abc import Mapping

EXAMPLES = 5


class Tally:
    """What was left out or is worth a note, by reason.

    Args:
        counts: what :meth:`as_dict` has returned.
    """

    def __init__(self, counts: Mapping[str, dict] | None = None):
        self._counts = copy.deepcopy(dict(counts or {}))

    def add(self, reason: str, example: str, count: int = 1) -> None:
        entry = self._counts.setdefault(reason, {"count": 0, "examples": []})
        entry["count"] += count
        if len(entry["examples"]) < EXAMPLES:
            entry["examples"].append(example[:300])

    def update(self, other: "Tally") -> None:
        for reason, theirs in other.as_dict().items():
            entry = self._counts.setdefault(reason, {"count": 0, "examples": []})
            entry["count"] += theirs["count"]
            entry["examples"] = (entry["examples"] + theirs["examples"])[:EXAMPLES]

    def total(self) -> int:
        return sum(entry["count"] for entry in self._counts.values())

    def as_dict(self) -> dict[str, dict]:
        """Return ``{reason: {"count": int, "examples": [str, ...]}}``."""
        return self._counts

    def __str__(self) -> str:
        return ", ".join(f"{entry['count']:,} {reason}" for reason, entry in self._counts.items())
