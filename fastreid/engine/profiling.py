"""A hook that records where the time of some iterations goes."""

import os
from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity

from fastreid.engine.train_loop import HookBase


class AutogradProfiler(HookBase):
    """Profile the iterations that ``enable_predicate`` picks, each into ``profiler-trace-iter{N}.json``.

    The files open in https://ui.perfetto.dev and in chrome://tracing. Recording slows an iteration down several times.

    >>> hooks.AutogradProfiler(lambda trainer: 10 < trainer.iter < 13, cfg.OUTPUT_DIR)

    Args:
        enable_predicate: called with the trainer before each iteration.
        output_dir: made where it does not exist.
        use_cuda: record the kernels too, where there is CUDA.
    """

    def __init__(self, enable_predicate: Callable[..., bool], output_dir: str, *, use_cuda: bool = True):
        self._enable_predicate = enable_predicate
        self._output_dir = str(output_dir)
        self._activities = [ProfilerActivity.CPU]
        if use_cuda and torch.cuda.is_available():
            self._activities.append(ProfilerActivity.CUDA)
        self._profiler: torch.profiler.profile | None = None

    def before_step(self) -> None:
        if self._enable_predicate(self.trainer):
            self._profiler = torch.profiler.profile(activities=self._activities)
            self._profiler.start()

    def after_step(self) -> None:
        if self._profiler is None:
            return
        self._profiler.stop()
        os.makedirs(self._output_dir, exist_ok=True)
        name = f"profiler-trace-iter{self.trainer.iter}.json"
        self._profiler.export_chrome_trace(os.path.join(self._output_dir, name))
        self._profiler = None
