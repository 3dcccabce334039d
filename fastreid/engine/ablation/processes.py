"""Runs as processes: several side by side, each measured, none left behind."""

import contextlib
import logging
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import IO

import fastreid
from fastreid.engine.ablation.runs import CONSOLE, RESULTS, Run
from fastreid.utils.files import hold_lock

logger = logging.getLogger(__name__)

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
ERROR = "error: "  # begins the line with which a command ends, see `fastreid.utils.command`
SHOWN_LINES = 12  # of the console of a run that failed


class RunFailed(Exception):
    """A run that ended badly, or could not begin; the message is for the user."""


def environment(jobs: int) -> dict[str, str]:
    """The environment of a run: this package can be imported, and with several runs at a time each has one thread."""
    package = str(Path(fastreid.__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, **(dict.fromkeys(THREADS, "1") if jobs > 1 else {})}


def run_units(
    units: Sequence[Sequence[Run]], jobs: int, report: Callable[[Run, str], None], variables: Mapping[str, str]
) -> None:
    """Run ``units`` in their order, ``jobs`` of them at a time; the runs of a unit follow each other.

    A failure ends its unit only. When this process is interrupted or told to end, so are those of the runs.

    Args:
        report: called in this thread after each unit, for each of its runs, with what went wrong or "".
        variables: the environment of the processes.
    """
    processes = _Processes(variables)
    pool = ThreadPoolExecutor(jobs, "ablation")
    with _ended_politely():
        try:
            for done in as_completed([pool.submit(_run_unit, unit, processes) for unit in units]):
                for run, problem in done.result():
                    report(run, problem)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            processes.end()
            raise
        finally:
            pool.shutdown()


def _run_unit(unit: Sequence[Run], processes: "_Processes") -> list[tuple[Run, str]]:
    outcome: list[tuple[Run, str]] = []
    for run in unit:
        problem = ""
        try:
            if run.parent and not run.parent.finished:
                raise RunFailed(f"there is no trained model of '{run.parent.row.name}'")
            execute(run, processes)
        except (RunFailed, OSError, ValueError) as error:
            problem = str(error)
        outcome.append((run, problem))
    return outcome


def execute(run: Run, processes: "_Processes") -> None:
    """Do a run, unless it is finished; raises ``RunFailed`` with the last lines of its console."""
    with _alone_in(run) as lock:
        if run.finished:
            return
        command, before = run.command(), run.record if not run.changes else {}
        run.prepare()
        resumed = "--resume" in command
        spent = before.get("cpu_seconds", 0.0) if resumed else 0.0
        measured = not resumed or before.get("measured", False)
        run.write_record(cpu_seconds=spent, measured=False)  # stands while nobody knows what the process costs
        with open(run.folder / CONSOLE, "a" if resumed else "w", encoding="utf-8") as console:
            begun = console.tell()
            status, seconds = processes.run(command, console, lock)
        cost = {"cpu_seconds": round(spent + seconds, 2), "measured": measured}
        problem, lines = _problem(run, status, begun)
        run.write_record(finished=not problem, error=problem, **cost)
    if problem:
        shown = (f"  | {line}" for line in lines[-SHOWN_LINES:])
        raise RunFailed("\n".join([f"{problem}; its last lines ({run.folder / CONSOLE}):", *shown]))


def _problem(run: Run, status: int, begun: int) -> tuple[str, list[str]]:
    """What went wrong in a line, "" when nothing did, and the lines of the console from byte ``begun`` on."""
    if status == 0 and (run.folder / RESULTS).is_file():
        return "", []
    said = f"ended with status {status}" if status else f"ended without {RESULTS}"
    lines = (run.folder / CONSOLE).read_bytes()[begun:].decode(errors="replace").splitlines()
    error = next((line.removeprefix(ERROR) for line in reversed(lines) if line.startswith(ERROR)), "")
    return f"{said}: {error}" if error else said, lines


class _Processes:
    """Starts processes, measures them, and can end those that still run."""

    def __init__(self, variables: Mapping[str, str]):
        self._environment = variables
        self._running: set[int] = set()
        self._lock = threading.Lock()  # a number in `_running` is of a process of ours: none is reaped meanwhile
        self._ending = False

    def run(self, command: Sequence[str], console: IO, lock: int) -> tuple[int, float]:
        """Return exit status (negative: the signal) and CPU seconds, those of the processes it waited for included.

        Args:
            lock: open file that the process keeps, and with it its lock, should it outlive this one.
        """
        with self._lock:
            if self._ending:
                raise RunFailed("not begun: interrupted")
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=console, stderr=subprocess.STDOUT, pass_fds=[lock],
                env=self._environment,
            )  # fmt: skip
            self._running.add(process.pid)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with self._lock:
            self._running.discard(process.pid)
            _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        return process.returncode, usage.ru_utime + usage.ru_stime

    def end(self) -> None:
        """Ask what runs to end; nothing new begins."""
        with self._lock:
            self._ending = True
            for pid in self._running:
                os.kill(pid, signal.SIGTERM)


@contextlib.contextmanager
def _alone_in(run: Run) -> Iterator[int]:
    """Hold the lock of a run's folder; a process that outlived an earlier table keeps it until it ends."""
    path = run.folder.with_name(f".{run.folder.name}.lock")
    with hold_lock(path, RunFailed(f"another process works in {run.folder}")) as file:
        yield file.fileno()


@contextlib.contextmanager
def _ended_politely() -> Iterator[None]:
    """Let SIGTERM do what Ctrl-C does, in the main thread."""

    def interrupt(number, frame):
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
