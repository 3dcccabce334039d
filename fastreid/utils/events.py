"""Scalars of a training and the writers that show them: console, ``metrics.json``, TensorBoard."""

import datetime
import json
import logging
import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from fastreid.utils.files import atomic_write
from fastreid.utils.history_buffer import HistoryBuffer

_storages: list["EventStorage"] = []


def get_event_storage() -> "EventStorage":
    """Return the innermost open storage; outside of any ``with EventStorage()`` a new one that nobody reads."""
    return _storages[-1] if _storages else EventStorage()


def current_iteration() -> int | None:
    """Return the iteration of the innermost open storage; ``None`` outside of any."""
    return _storages[-1].iter if _storages else None


class EventStorage:
    """The histories of named scalars, each value with the iteration at which it was put.

    The training loop sets ``iter`` and ``epoch``; the storage is open within its ``with`` block.
    """

    def __init__(self, start_iter: int = 0):
        self.iter = self.start_iter = start_iter
        self.epoch = 0
        self._histories: dict[str, HistoryBuffer] = defaultdict(HistoryBuffer)
        self._hints: dict[str, bool] = {}
        self._prefix = ""

    def put_scalar(self, name: str, value: float, smoothing_hint: bool = True) -> None:
        """Add a value; writers show the median of the last values where ``smoothing_hint`` is set."""
        name = self._prefix + name
        self._histories[name].update(float(value), self.iter)
        self._hints[name] = smoothing_hint

    def put_scalars(self, *, smoothing_hint: bool = True, **values: float) -> None:
        for name, value in values.items():
            self.put_scalar(name, value, smoothing_hint)

    def history(self, name: str) -> HistoryBuffer:
        if name not in self._histories:
            raise KeyError(f"No scalar named '{name}'; there are {sorted(self._histories)}")
        return self._histories[name]

    def histories(self) -> dict[str, HistoryBuffer]:
        return dict(self._histories)

    def latest(self) -> dict[str, tuple[float, int]]:
        """Return name -> (last value, its iteration)."""
        return {name: (h.latest(), h.latest_iteration()) for name, h in self._histories.items()}

    def latest_with_smoothing_hint(self, window_size: int = 20) -> dict[str, tuple[float, int]]:
        """As ``latest``, but with the median of the last ``window_size`` values where that was asked for."""
        return {
            name: (h.median(window_size) if self._hints[name] else h.latest(), h.latest_iteration())
            for name, h in self._histories.items()
        }

    def smoothing_hints(self) -> dict[str, bool]:
        return dict(self._hints)

    def step(self) -> None:
        self.iter += 1

    @contextmanager
    def name_scope(self, name: str) -> Iterator[None]:
        """Put the scalars of this block under ``name/``."""
        outer, self._prefix = self._prefix, name.rstrip("/") + "/"
        try:
            yield
        finally:
            self._prefix = outer

    def state_dict(self, window_size: int = 20) -> dict:
        """Return the last values of each scalar, so that smoothed figures go on after a resume as if not stopped."""
        return {n: {"values": h.values()[-window_size:], "hint": self._hints[n]} for n, h in self._histories.items()}

    def load_state_dict(self, state: dict) -> None:
        for name, saved in state.items():
            self._hints[name] = saved["hint"]
            for value, iteration in saved["values"]:
                self._histories[name].update(value, iteration)

    def __enter__(self) -> "EventStorage":
        _storages.append(self)
        return self

    def __exit__(self, *_) -> None:
        _storages.remove(self)


class EventWriter:
    """Base of the writers: ``write`` shows the current state of the open storage."""

    def write(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        pass


class JSONWriter(EventWriter):
    """Append one JSON object per line with the scalars that are new since the last line.

    A resumed training repeats the iterations after its checkpoint; their old lines are dropped at the first write, so
    that each iteration stands in the file once, and values from before it are not new. A new training in a used folder
    starts the file afresh the same way.
    """

    def __init__(self, json_file: str | os.PathLike, window_size: int = 20):
        self._path = Path(json_file)
        self._window_size = window_size
        self._file = None
        self._written_to: int | None = None

    def write(self) -> None:
        storage = get_event_storage()
        if self._written_to is None:
            self._written_to = storage.start_iter - 1
        values = storage.latest_with_smoothing_hint(self._window_size)
        new = {name: value for name, (value, iteration) in values.items() if iteration > self._written_to}
        if not new:
            return
        if self._file is None:
            self._file = self._open(storage.start_iter)
        self._file.write(json.dumps({"iteration": storage.iter, **new}, sort_keys=True) + "\n")
        self._file.flush()
        self._written_to = storage.iter

    def _open(self, first_iteration: int):
        if self._path.exists():
            lines = self._path.read_text(encoding="utf-8").splitlines()
            with atomic_write(self._path, "w") as file:
                file.writelines(line + "\n" for line in lines if _is_before(line, first_iteration))
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return open(self._path, "a", encoding="utf-8")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _is_before(line: str, iteration: int) -> bool:
    try:
        return json.loads(line)["iteration"] < iteration
    except (ValueError, KeyError, TypeError):  # the half line of a killed process
        return False


class TensorboardXWriter(EventWriter):
    """Write the scalars as TensorBoard events; without the package tensorboard this is said once."""

    def __init__(self, log_dir: str, window_size: int = 20, **kwargs):
        self._log_dir, self._window_size, self._kwargs = log_dir, window_size, kwargs
        self._writer = None
        self._written_to = -1
        self._available = True

    def write(self) -> None:
        if self._writer is None and self._available:
            self._open()
        if self._writer is None:
            return
        for name, (value, iteration) in get_event_storage().latest_with_smoothing_hint(self._window_size).items():
            if iteration > self._written_to:
                self._writer.add_scalar(name, value, iteration)
        self._written_to = get_event_storage().iter
        self._writer.flush()

    def _open(self) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            self._available = False
            logging.getLogger(__name__).warning("No TensorBoard files: %s. Install the package tensorboard.", error)
        else:
            self._writer = SummaryWriter(self._log_dir, **self._kwargs)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class CommonMetricPrinter(EventWriter):
    """Log one line: progress, time left, losses, learning rate, images per second, memory (CUDA).

    Args:
        max_iter: iterations of the whole training.
        window_size: values over which losses (median) and times (mean) are taken.
    """

    def __init__(self, max_iter: int, window_size: int = 20):
        self._max_iter, self._window_size = max_iter, window_size
        self._logger = logging.getLogger(__name__)

    def write(self) -> None:
        storage = get_event_storage()
        parts = [f"epoch {storage.epoch + 1}", f"iter {storage.iter + 1}/{self._max_iter}"]
        parts.append(f"{(storage.iter + 1) / max(self._max_iter, 1):.0%}")
        histories = storage.histories()
        if "time" in histories:
            seconds = histories["time"].avg(self._window_size)
            left = datetime.timedelta(seconds=round(seconds * (self._max_iter - storage.iter - 1)))
            parts.append(f"eta {left}")
        parts += [f"{n} {h.median(self._window_size):.4g}" for n, h in histories.items() if _is_shown(n)]
        parts += self._speed(histories)
        self._logger.info("  ".join(parts))

    def _speed(self, histories: dict[str, HistoryBuffer]) -> list[str]:
        parts = []
        if "lr" in histories:
            parts.append(f"lr {histories['lr'].latest():.3g}")
        if "img_per_s" in histories:
            parts.append(f"{histories['img_per_s'].median(self._window_size):.4g} img/s")
        if "data_time" in histories:
            parts.append(f"data {histories['data_time'].avg(self._window_size):.3f} s")
        if torch.cuda.is_available():
            parts.append(f"mem {torch.cuda.max_memory_allocated() / 2**20:.0f} MiB")
        return parts


def _is_shown(name: str) -> bool:
    return "loss" in name or name.endswith("accuracy")
