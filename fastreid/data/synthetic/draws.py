"""Random draws that have a name each."""

import zlib
from collections.abc import Sequence

import numpy as np


class Draws:
    """Named random numbers: every draw has its own seed, made of ``key`` and the draw's name.

    One running stream would shift all later draws when a parameter is added or a branch is skipped. Here the leg type
    of design 17 stays the same whatever else is drawn.

    Args:
        key: non-negative integers, for instance root seed, split, number of the design.
    """

    def __init__(self, *key: int):
        self.key = key

    def generator(self, name: str) -> np.random.Generator:
        return np.random.default_rng([*self.key, zlib.crc32(name.encode())])

    def child(self, name: str) -> "Draws":
        """Return the draws of a sub-part, so that two sub-parts may use the same names."""
        return Draws(*self.key, zlib.crc32(name.encode()))

    def choice(self, name: str, options: Sequence, weights: Sequence[float] | None = None):
        if weights is None:
            return options[int(self.generator(name).integers(len(options)))]
        shares = np.cumsum(weights) / np.sum(weights)
        return options[int(np.searchsorted(shares, self.generator(name).random(), side="right"))]

    def between(self, name: str, low: float, high: float) -> float:
        return float(self.generator(name).uniform(low, high))

    def integer(self, name: str, low: int, high: int) -> int:
        """Return an integer of ``low`` to ``high``, both included."""
        return int(self.generator(name).integers(low, high + 1))

    def chance(self, name: str, probability: float) -> bool:
        return bool(self.generator(name).random() < probability)


class SiblingDraws(Draws):
    """Draws of one of several designs of a line: discrete draws are those of the line, continuous ones lie near them.

    Args:
        key: that of the line's :class:`Draws`.
        sibling: number of the design within the line.
        sigma: standard deviation of the deviation, as a share of the range of a draw; what would leave the range is
            reflected back into it.
    """

    def __init__(self, *key: int, sibling: int, sigma: float):
        super().__init__(*key)
        self.sibling, self.sigma = sibling, sigma

    def child(self, name: str) -> "SiblingDraws":
        return SiblingDraws(*super().child(name).key, sibling=self.sibling, sigma=self.sigma)

    def between(self, name: str, low: float, high: float) -> float:
        own = np.random.default_rng([*self.key, zlib.crc32(name.encode()), 1 + self.sibling])
        value = super().between(name, low, high) + self.sigma * (high - low) * own.normal()
        inside = high - abs(high - (low + abs(value - low)))
        return float(np.clip(inside, low, high))
