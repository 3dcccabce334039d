"""Products of float32 matrices in float32, whatever the process has allowed PyTorch to do."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_inside, _saved = 0, None


@contextmanager
def full_float32() -> Iterator[None]:
    """Neither bfloat16 (CPU) nor TF32 (CUDA) in the place of float32: the bounds of a scan count on it.

    ``torch.set_float32_matmul_precision("medium")``, which training scripts like to call, would round the factors to
    eight bits. The setting belongs to the process: the first thread to enter saves it, the last to leave restores it.
    """
    global _inside, _saved
    with _lock:
        if not _inside:
            _saved = _exchange()
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                _exchange(_saved)


def _exchange(values: list[str] | None = None) -> list[str]:
    """Set the precision of each library (None: the full one) and return what it was."""
    import torch

    knobs = [torch.backends.cuda.matmul, getattr(torch.backends.mkldnn, "matmul", None)]
    if not all(hasattr(knob, "fp32_precision") for knob in knobs):  # PyTorch before 2.9
        before = [torch.get_float32_matmul_precision()]
        torch.set_float32_matmul_precision(values[0] if values else "highest")
        return before
    before = [knob.fp32_precision for knob in knobs]
    for knob, value in zip(knobs, values or ["ieee"] * len(knobs), strict=True):
        if knob.fp32_precision != value:
            knob.fp32_precision = value
    return before
