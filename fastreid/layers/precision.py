"""Full precision inside mixed-precision training."""

import functools
from collections.abc import Callable

import torch


def full_precision(function: Callable) -> Callable:
    """Run ``function`` outside autocast, its 16-bit tensor arguments as float32 (float64 stays float64).

    Distances, margins times a scale of 64, and exponentials of them do not fit 16 bits.
    """

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)]
        device = tensors[0].device.type if tensors else "cpu"
        with torch.autocast(device, enabled=False):
            return function(*map(_widen, args), **{name: _widen(value) for name, value in kwargs.items()})

    return wrapper


def _widen(value):
    half = isinstance(value, torch.Tensor) and value.dtype in (torch.float16, torch.bfloat16)
    return value.float() if half else value
