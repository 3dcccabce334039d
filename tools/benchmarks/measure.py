"""Contestants, and the fresh processes they are measured in."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastreid.utils.memory import peak_of

TOOLS = Path(__file__).resolve().parents[1]
# Idle threads must not count as work: OpenMP (GNU, Intel) sleeps while it waits, OpenBLAS after 2^4 cycles.
PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0", "OPENBLAS_THREAD_TIMEOUT": "4"}


@dataclass(frozen=True)
class Contestant:
    """One way to solve a case.

    Attributes:
        function: "module:name", called as ``f(table, **options)``; returns the arrays of `compare.disagreements`.
        package: the distribution it comes from, in the environment of the peers; "" for this repository.
        exact: its results must equal ours; otherwise rounding in float32 is allowed for.
        compared: False where there is nothing to compare (a bare GEMM, another metric).
        referee: run once, to check results; its time means nothing and is not shown.
        command: ``function`` names a function ``f(folder, output, device, **options)`` that returns a command line to
            run instead of a function to call.
        prepared: ``function`` returns a function without arguments, and only that is measured.
        gpu: takes part in a run on a CUDA device.
    """

    name: str
    function: str
    package: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    exact: bool = False
    compared: bool = True
    referee: bool = False
    command: bool = False
    prepared: bool = False
    gpu: bool = True


@dataclass(frozen=True)
class Run:
    """Figures of one process: seconds of CPU (all threads) and wall, MiB; or ``error``, why there are none.

    ``extra`` is the peak above what was resident before the call; for a command line it is the whole peak.
    """

    cpu: float = 0.0
    wall: float = 0.0
    extra: float = 0.0
    peak: float = 0.0
    load: float = 0.0
    error: str = ""


def run(contestant: Contestant, table: Path, keep: Path | None, every: int, device: str, python: str) -> Run:
    """Measure ``contestant`` once in a fresh process of ``python``; ``keep`` receives its arrays (.npz)."""
    environment = {**os.environ, **PASSIVE, "PYTHONPATH": python_path(), **contestant.environment}
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if contestant.command:
        return run_command(contestant, table, keep, environment, device, load)
    specification = {
        "function": contestant.function,
        "options": contestant.options,
        "table": str(table),
        "device": device,
        "prepared": contestant.prepared,
        "keep": str(keep) if keep else "",
        "every": every,
    }
    command = [python, "-m", "benchmarks.worker", json.dumps(specification)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        return Run(load=load, error=reason(done.returncode, done.stderr))
    return Run(**json.loads(done.stdout.splitlines()[-1]), load=load)


def run_command(
    contestant: Contestant, table: Path, keep: Path | None, environment: dict[str, str], device: str, load: float
) -> Run:
    """Measure a whole command, its start and its imports included."""
    from benchmarks.worker import resolve

    output = (keep or table / "result.npz").with_suffix(".npy")
    command = resolve(contestant.function)(table, output, device, **contestant.options)
    log = output.with_suffix(".log")
    wall = time.perf_counter()
    with open(log, "w") as file:
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)
        process.returncode, usage, peak = watch(process.pid)
    wall = time.perf_counter() - wall
    if process.returncode:
        return Run(load=load, error=reason(process.returncode, log.read_text()))
    return Run(usage.ru_utime + usage.ru_stime, wall, peak, peak, load)


def watch(pid: int) -> tuple[int, Any, float]:
    """Wait for a process; return its exit status, its usage and its peak memory, MiB (see `peak_of` for why so)."""
    seen = 0
    while True:
        seen = peak_of(pid) or seen
        ended, state, usage = os.wait4(pid, os.WNOHANG)
        if ended:
            break
        time.sleep(0.01)
    peak = seen / 2**20 or usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)
    return os.waitstatus_to_exitcode(state), usage, peak


def reason(status: int, text: str) -> str:
    """Why a process ended, in one line."""
    if status < 0:
        return f"killed by signal {-status}" + (" (out of memory?)" if status == -9 else "")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = [line for line in lines if line.startswith("error: ")] or lines
    return said[-1] if said else f"exit status {status}"


def python_path() -> str:
    """What a process needs to import ``benchmarks`` and ``fastreid``, then what this one was given."""
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return os.pathsep.join(filter(None, [str(TOOLS), str(TOOLS.parent), *given]))
