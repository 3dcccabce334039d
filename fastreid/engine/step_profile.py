"""A hook that tells where the time of a training goes: PROFILE.ENABLED."""

import json
import logging
import os
import time
from pathlib import Path

import torch
from tabulate import tabulate
from torch.profiler import ProfilerActivity, record_function

from fastreid.engine.train_loop import HookBase
from fastreid.utils.errors import require_whole
from fastreid.utils.files import atomic_write

logger = logging.getLogger(__name__)

PHASES = ("data", "forward", "backward", "optimizer", "other")
OPERATORS = 40  # rows of the table of operators


class StepProfile(HookBase):
    """Time the phases of some iterations, then trace as many.

    ``shares.json`` and, of the traced iterations, which recording slows down, ``trace.json.gz`` (for
    https://ui.perfetto.dev) and ``operators.txt`` go into ``output_dir``; shares are logged too. "data" lasts to the
    forward pass and is the wait for the loader; "backward" lasts to the optimiser's step, with what of the exchange
    between processes the computation does not hide, and the figures. On a GPU the phases wait for one another.

    Args:
        start: iterations of this run before the first one that counts: workers start, caches fill.
        iters: iterations timed, and as many traced.

    Raises:
        ValueError: a negative ``start``, or ``iters`` below 1.
    """

    def __init__(self, output_dir: str | os.PathLike, start: int = 10, iters: int = 10):
        self._folder = Path(output_dir)
        self._start, self._iters = require_whole("PROFILE.START", start, 0), require_whole("PROFILE.ITERS", iters, 1)
        self._seconds = dict.fromkeys(PHASES, 0.0)
        self._timed, self._phase, self._since = 0, "", 0.0  # "": outside the iterations
        self._range: record_function | None = None
        self._profiler: torch.profiler.profile | None = None
        self._handles: list = []

    def before_step(self) -> None:
        done = self._done()
        if done == 0:
            self._attach()
        if done == self._iters and self._handles:
            self._tell()
            self._profiler = torch.profiler.profile(activities=_activities())
            self._profiler.start()
        if self._handles:
            self._enter("data")

    def after_step(self) -> None:
        if not self._handles:
            return
        self._enter("")
        if self._profiler is None:
            self._timed += 1
        elif self._done() + 1 == 2 * self._iters:
            self._trace()

    def after_train(self) -> None:
        """A training that ends before leaves what there is."""
        if self._profiler is not None:
            self._trace()
        elif self._handles:
            self._tell()
            self._detach()
        elif self._done() <= 0:
            logger.warning("PROFILE.START %d: the training ended before, nothing was profiled", self._start)

    def _done(self) -> int:
        return self.trainer.iter - self.trainer.start_iter - self._start

    def _attach(self) -> None:
        model, optimizer = self.trainer.model, self.trainer.optimizer
        self._handles = [
            model.register_forward_pre_hook(lambda *_: self._enter("forward")),
            model.register_forward_hook(lambda *_: self._enter("backward")),
            optimizer.register_step_pre_hook(lambda *_: self._enter("optimizer")),
            optimizer.register_step_post_hook(lambda *_: self._enter("other")),
        ]

    def _detach(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _enter(self, phase: str) -> None:
        """End the phase that lasts, begin another."""
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        now = time.perf_counter()
        if self._phase and self._profiler is None:
            self._seconds[self._phase] += now - self._since
        if self._range is not None:
            self._range.__exit__(None, None, None)
        self._range = record_function(phase).__enter__() if phase else None
        self._phase, self._since = phase, now

    def _tell(self) -> None:
        total = max(sum(self._seconds.values()), 1e-9)
        shares = {phase: seconds / total for phase, seconds in self._seconds.items()}
        found = {"iterations": self._timed, "seconds": self._seconds, "shares": shares}
        self._folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(self._folder / "shares.json", "w") as file:
            json.dump(found, file, indent=1)
        count = max(self._timed, 1)
        rows = [(phase, f"{1000 * self._seconds[phase] / count:.1f}", f"{shares[phase]:.1%}") for phase in PHASES]
        table = tabulate(rows, ("phase", "ms per iteration", "share"), disable_numparse=True)
        logger.info("Where the time of %d iterations went (%s):\n%s", self._timed, self._folder, table)

    def _trace(self) -> None:
        profiler, self._profiler = self._profiler, None
        profiler.stop()
        self._detach()
        partial = self._folder / f"trace-{os.getpid()}.json.gz"  # the suffix makes the profiler compress it
        profiler.export_chrome_trace(str(partial))
        os.replace(partial, self._folder / "trace.json.gz")
        by = "self_cuda_time_total" if torch.cuda.is_initialized() else "self_cpu_time_total"
        with atomic_write(self._folder / "operators.txt", "w") as file:
            file.write(profiler.key_averages().table(sort_by=by, row_limit=OPERATORS))
        logger.info("Trace and operators are in %s", self._folder)


def _activities() -> list[ProfilerActivity]:
    return [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
