"""Logging: one console handler and one file per process."""

import logging
import sys
import time
from collections import Counter
from pathlib import Path

from fastreid.utils.file_io import PathManager

__all__ = ["PathManager", "log_every_n", "log_every_n_seconds", "log_first_n", "setup_logger"]

COLORS = {logging.WARNING: "\033[33m", logging.ERROR: "\033[31m", logging.CRITICAL: "\033[31m"}
_counts: Counter = Counter()
_last_times: dict[tuple, float] = {}


class _ConsoleFormatter(logging.Formatter):
    def __init__(self, color: bool):
        super().__init__("[%(asctime)s %(name)s]: %(message)s", datefmt="%m/%d %H:%M:%S")
        self._color = color

    def formatMessage(self, record: logging.LogRecord) -> str:
        text = super().formatMessage(record)
        if record.levelno >= logging.WARNING:
            text = text.replace("]: ", f"]: {record.levelname} ", 1)
        code = COLORS.get(record.levelno) if self._color else None
        return f"{code}{text}\033[0m" if code else text


def setup_logger(
    output: str | Path | None = None,
    distributed_rank: int = 0,
    *,
    color: bool = True,
    name: str = "fastreid",
    abbrev_name: str | None = None,
) -> logging.Logger:
    """Give the logger ``name`` a console handler (process 0 only) and, with ``output``, a file.

    Calling it again replaces the handlers of the first call, so no line is ever written twice.

    Args:
        output: a folder (the file is ``log.txt`` in it) or a file name ending in .txt or .log. Processes other than 0
            append ``.rankN``.
        color: colour warnings and errors where the console is a terminal.
        abbrev_name: accepted for fast-reid's callers; names are short already.
    """
    del abbrev_name
    logger = logging.getLogger(name)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    for handler in [h for h in logger.handlers if getattr(h, "from_setup_logger", False)]:
        logger.removeHandler(handler)
        handler.close()
    if distributed_rank == 0:
        console = logging.StreamHandler(sys.stdout)
        console.setFormatter(_ConsoleFormatter(color and sys.stdout.isatty()))
        _add(logger, console, logging.INFO)
    if output is not None:
        file = logging.FileHandler(_log_file(Path(output), distributed_rank), encoding="utf-8", delay=True)
        file.setFormatter(logging.Formatter("[%(asctime)s] %(name)s %(levelname)s: %(message)s"))
        _add(logger, file, logging.DEBUG)
    return logger


def _add(logger: logging.Logger, handler: logging.Handler, level: int) -> None:
    handler.setLevel(level)
    handler.from_setup_logger = True
    logger.addHandler(handler)


def _log_file(output: Path, rank: int) -> Path:
    file = output if output.suffix in (".txt", ".log") else output / "log.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    return file.with_name(f"{file.name}.rank{rank}") if rank > 0 else file


def _caller() -> tuple[tuple[str, int], str]:
    """Position and module name of the code that called the function that called this one."""
    frame = sys._getframe(2)
    return (frame.f_code.co_filename, frame.f_lineno), frame.f_globals["__name__"]


def log_first_n(level: int, message: str, n: int = 1, *, name: str | None = None) -> None:
    """Log a message the first ``n`` times that this line of code is reached."""
    place, module = _caller()
    _counts["first", place] += 1
    if _counts["first", place] <= n:
        logging.getLogger(name or module).log(level, message)


def log_every_n(level: int, message: str, n: int = 1, *, name: str | None = None) -> None:
    """Log a message each ``n``-th time that this line of code is reached, the first time included."""
    place, module = _caller()
    _counts["every", place] += 1
    if (_counts["every", place] - 1) % n == 0:
        logging.getLogger(name or module).log(level, message)


def log_every_n_seconds(level: int, message: str, n: float = 1, *, name: str | None = None) -> None:
    """Log a message unless this line of code has done so in the last ``n`` seconds."""
    place, module = _caller()
    now = time.monotonic()
    if now - _last_times.get(place, -float("inf")) >= n:
        logging.getLogger(name or module).log(level, message)
        _last_times[place] = now
