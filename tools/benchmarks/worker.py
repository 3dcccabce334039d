"""One measurement in a process of its own: ``python -m benchmarks.worker SPECIFICATION``, a JSON object.

Loads the arrays, calls the function once on a small part (so that libraries and kernels are loaded and imports are not
counted), then once on everything, and prints one JSON line. A ``prepared`` function returns the call to be measured.
"""

import importlib
import json
import os
import re
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import data

MIB = 2**20
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class ProcessMemory:
    """Peak of the resident memory above what is resident now, MiB.

    On Linux the peak is reset first; elsewhere an earlier peak above the present one would hide a part.
    """

    def __init__(self):
        if CLEAR.exists():
            CLEAR.write_text("5")  # resets VmHWM
        self.before = status("VmRSS") or peak_rss()

    def extra(self) -> float:
        return max(0.0, self.peak() - self.before)

    def peak(self) -> float:
        return status("VmHWM") or peak_rss()


class DeviceMemory:
    """As `ProcessMemory`, of what torch has allocated on the CUDA device."""

    def __init__(self):
        import torch

        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        self.before = torch.cuda.memory_allocated() / MIB

    def extra(self) -> float:
        return self.peak() - self.before

    def peak(self) -> float:
        import torch

        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() / MIB


def status(name: str) -> float | None:
    """A figure of /proc/self/status, MiB; ``None`` off Linux."""
    found = re.search(rf"^{name}:\s+(\d+) kB", STATUS.read_text(), re.MULTILINE) if STATUS.exists() else None
    return int(found.group(1)) / 1024 if found else None


def peak_rss() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MIB if sys.platform == "darwin" else peak / 1024


def resolve(name: str) -> Callable:
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)


def measured(function: Callable[[], dict], memory_class: type) -> tuple[dict, dict]:
    """Call ``function``; return its arrays, and its CPU and wall seconds and MiB."""
    memory = memory_class()
    cpu, wall = time.process_time(), time.perf_counter()
    result = function()
    peak, extra = memory.peak(), memory.extra()  # waits for a CUDA device
    figures = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    return result, {**figures, "extra": extra, "peak": peak}


@contextmanager
def low_precision_too() -> Iterator[None]:
    """Our scan would take float32 for so small a part, and load the bfloat16 library within the measurement."""
    mode = os.environ.get("FASTREID_SCAN")
    if mode == "auto":
        from fastreid.retrieval.scan import has_fast_bfloat16

        os.environ["FASTREID_SCAN"] = "bf16" if has_fast_bfloat16() else "fp32"
    yield
    if mode:
        os.environ["FASTREID_SCAN"] = mode


def main(specification: str) -> None:
    given = json.loads(specification)
    function = resolve(given["function"])
    options, device = given["options"], given["device"]
    table = data.load(given["table"])

    def ready(part: data.Table) -> Callable[[], dict]:
        part = part if device == "cpu" else part.to(device)
        return function(part, **options) if given["prepared"] else partial(function, part, **options)

    with low_precision_too():
        ready(table.small())()
    result, figures = measured(ready(table), ProcessMemory if device == "cpu" else DeviceMemory)
    if given["keep"]:
        np.savez(given["keep"], **{name: thinned(name, value, given["every"]) for name, value in result.items()})
    print(json.dumps(figures))


def thinned(name: str, values, every: int) -> np.ndarray:
    """Every n-th row of the large results: comparing those is enough. A function among them is called only now."""
    values = data.as_numpy(values() if callable(values) else values)
    return values[::every] if name in ("features", "distances") else values


if __name__ == "__main__":
    main(sys.argv[1])
