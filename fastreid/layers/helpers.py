"""Small helpers of network definitions."""

import collections.abc
import itertools
from collections.abc import Callable

import torch
from torch import nn


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


def drop_path(x: torch.Tensor, drop_prob: float = 0.0, training: bool = False) -> torch.Tensor:
    """Stochastic depth (Huang et al., ECCV 2016): zero whole samples with ``drop_prob``, scale the rest up."""
    if drop_prob == 0.0 or not training:
        return x
    keep = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(1 - drop_prob)
    return x * keep / (1 - drop_prob)


class DropPath(nn.Module):
    """``drop_path`` as a module, active in training mode."""

    def __init__(self, drop_prob: float = 0.0):
        super().__init__()
        if not 0 <= drop_prob < 1:
            raise ValueError(f"drop_prob of DropPath must be in [0, 1); got {drop_prob!r}")
        self.drop_prob = drop_prob

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return drop_path(x, self.drop_prob, self.training)
