"""Small helpers of network definitions."""

import collections.abc
import itertools
from collections.abc import Callable


def to_ntuple(n: int) -> Callable:
    """Return a function that repeats a single value ``n`` times and passes sequences on as they are."""

    def repeat(value):
        is_sequence = isinstance(value, collections.abc.Iterable) and not isinstance(value, str)
        return value if is_sequence else tuple(itertools.repeat(value, n))

    return repeat


to_2tuple, to_3tuple, to_4tuple = to_ntuple(2), to_ntuple(3), to_ntuple(4)


def make_divisible(value: float, divisor: int = 8, min_value: int | None = None) -> int:
    """Round a channel count to a multiple of ``divisor``, never below 90 % of it (MobileNet's rule)."""
    rounded = max(min_value or divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded
