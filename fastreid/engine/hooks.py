"""The hooks of a training. Their order in ``DefaultTrainer.build_hooks`` matters: evaluate, write; save at last."""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from fastreid.engine.averaging import SWA
from fastreid.engine.profiling import AutogradProfiler
from fastreid.engine.train_loop import HookBase
from fastreid.evaluation.testing import flatten_results_dict
from fastreid.solver.freeze import frozen_parameters, is_below
from fastreid.utils import comm
from fastreid.utils.checkpoint import PeriodicCheckpointer as _PeriodicCheckpointer
from fastreid.utils.checkpoint import unwrap
from fastreid.utils.events import EventStorage, EventWriter
from fastreid.utils.precision_bn import get_bn_modules, update_bn_stats

__all__ = [
    "SWA",
    "AutogradProfiler",
    "BufferAverage",
    "CallbackHook",
    "EpochSeed",
    "EvalHook",
    "IterationTimer",
    "LRScheduler",
    "LayerFreeze",
    "PeriodicCheckpointer",
    "PeriodicWriter",
    "PreciseBN",
    "flatten_results_dict",
    "get_bn_modules",
]

logger = logging.getLogger(__name__)


class CallbackHook(HookBase):
    """Call functions of the trainer at the points of their names, e.g. ``CallbackHook(after_epoch=f)``."""

    POINTS = ("before_train", "after_train", "before_epoch", "after_epoch", "before_step", "after_step")

    def __init__(self, **callbacks: Callable[[Any], None]):
        for point, callback in callbacks.items():
            if point not in self.POINTS:
                raise ValueError(f"CallbackHook has no point '{point}'; there are {', '.join(self.POINTS)}")
            setattr(self, point, lambda callback=callback: callback(self.trainer))


class IterationTimer(HookBase):
    """Record seconds per iteration (``time``), images per second and ``loader_stalls``; log the total at the end.

    ``loader_stalls`` counts the iterations of this run that spent more than ``STALL`` of their time waiting for data.
    """

    STALL = 0.05

    def __init__(self, warmup_iter: int = 3):
        self._warmup_iter = warmup_iter  # the first iterations start workers and fill caches

    def before_train(self) -> None:
        self._train_start = time.perf_counter()
        self._step_seconds, self._stalls = 0.0, 0

    def before_step(self) -> None:
        self._step_start = time.perf_counter()

    def after_step(self) -> None:
        seconds = time.perf_counter() - self._step_start
        self._step_seconds += seconds
        if self.trainer.iter - self.trainer.start_iter >= self._warmup_iter:
            storage = self.trainer.storage
            waited, when = storage.latest().get("data_time", (0.0, None))
            self._stalls += when == storage.iter and waited > self.STALL * seconds
            storage.put_scalar("loader_stalls", self._stalls, smoothing_hint=False)
            storage.put_scalar("time", seconds)
            if self.trainer.images_per_step:
                self.trainer.storage.put_scalar("img_per_s", self.trainer.images_per_step / seconds)

    def after_train(self) -> None:
        total = time.perf_counter() - self._train_start
        steps = self.trainer.iter - self.trainer.start_iter
        logger.info("%d iterations in %.1f s; %.1f s in hooks", steps, total, total - self._step_seconds)


class PeriodicWriter(HookBase):
    """Run writers every ``period`` iterations and at the end of each epoch."""

    def __init__(self, writers: Sequence[EventWriter], period: int = 200):
        self._writers = writers
        self._period = period

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        # the last iteration of an epoch is written once, after its evaluation
        if done % self._period == 0 and done % self.trainer.iters_per_epoch != 0:
            self._write()

    def after_epoch(self) -> None:
        self._write()

    def after_train(self) -> None:
        for writer in self._writers:
            writer.close()

    def _write(self) -> None:
        for writer in self._writers:
            writer.write()


class PeriodicCheckpointer(_PeriodicCheckpointer, HookBase):
    """Save after epochs, see ``fastreid.utils.checkpoint.PeriodicCheckpointer``, and after iterations.

    Args:
        iters: write ``model_latest`` over the former one every so many iterations; 0: never.

    The metric is "metric" of an evaluation in the same epoch, or the mean of "<data set>/metric" over several. Figures
    are written before: a training killed between the two writes the epoch again, and loses no line.
    """

    last = True

    def __init__(self, checkpointer, period: int, max_epoch: int | None = None, keep: int = 0, iters: int = 0):
        super().__init__(checkpointer, period, max_epoch, keep)
        self.iters = iters

    def before_train(self) -> None:
        self.max_epoch = self.trainer.max_epoch

    def after_epoch(self) -> None:
        storage = self.trainer.storage
        fresh = [
            value
            for name, (value, iteration) in storage.latest().items()
            if (name == "metric" or name.endswith("/metric")) and iteration == storage.iter
        ]
        metric = sum(fresh) / len(fresh) if fresh else None
        if getattr(self.checkpointer, "is_joint", False):
            metric = comm.all_gather(metric)[0]  # what to save is the same in all processes
        saved = self.step(self.trainer.epoch, metric=metric, **self._place(self.trainer.iter))
        if not saved and is_due(self.trainer.iter, self.iters):
            self._save_latest(self.trainer.epoch, self.trainer.iter)

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if is_due(done, self.iters) and done % self.trainer.iters_per_epoch:  # what ends an epoch comes after it
            self._save_latest(self.trainer.epoch - 1, done)

    def _save_latest(self, epoch: int, done: int) -> None:
        self.save("model_latest", epoch=epoch, best_metric=self.best_metric, **self._place(done))

    def _place(self, done: int) -> dict[str, Any]:
        events, length = self.trainer.storage.state_dict(), self.trainer.iters_per_epoch
        return {"iteration": done, "iters_per_epoch": length, "events": events}


def is_due(done: int, period: int) -> bool:
    """Whether something is to be done after ``done`` iterations, every ``period`` (0: never)."""
    return period > 0 and done % period == 0


class LRScheduler(HookBase):
    """Step the warm-up per iteration and the schedule per epoch, once warm-up and delay are over; record ``lr``.

    Args:
        optimizer: ``lr`` is the rate of its largest group, the one that most parameters follow.
        lr_scheduler: what ``build_lr_scheduler`` returns.
    """

    def __init__(self, optimizer: Optimizer, lr_scheduler: dict[str, Any]):
        self._optimizer = optimizer
        self._scheduler = lr_scheduler
        sizes = [len(group["params"]) for group in optimizer.param_groups]
        self._group = sizes.index(max(sizes))

    def after_step(self) -> None:
        lr = self._optimizer.param_groups[self._group]["lr"]
        self.trainer.storage.put_scalar("lr", lr, smoothing_hint=False)
        if self.trainer.iter + 1 <= self.trainer.warmup_iters:
            self._scheduler["warmup_sched"].step()

    def after_epoch(self) -> None:
        # trainer.iter already counts the iterations done
        if self.trainer.iter > self.trainer.warmup_iters and self.trainer.epoch + 1 > self.trainer.delay_epochs:
            self._scheduler["lr_sched"].step()


class EvalHook(HookBase):
    """Evaluate every ``eval_period`` epochs and after the last one; 0 means never.

    Args:
        eval_function: returns a (nested) dict of numbers, which go to the storage; empty in processes other than 0.
    """

    def __init__(self, eval_period: int, eval_function: Callable[[], dict]):
        self._period = eval_period
        self._func = eval_function

    def after_epoch(self) -> None:
        done = self.trainer.epoch + 1
        if self._period > 0 and (done % self._period == 0 or done == self.trainer.max_epoch):
            self._do_eval()

    def _do_eval(self) -> None:
        results = self._func()
        for name, value in flatten_results_dict(results or {}).items():
            try:
                self.trainer.storage.put_scalar(name, float(value), smoothing_hint=False)
            except (TypeError, ValueError) as error:
                raise ValueError(
                    f"The evaluation must return a nested dict of numbers; '{name}' is {value!r}"
                ) from error
        comm.synchronize()  # the others wait for process 0, which computes the metrics


class PreciseBN(HookBase):
    """Before an evaluation, set the statistics of batch norms to their mean over ``num_iter`` batches.

    Args:
        data_loader: endless or shorter than ``num_iter``; a loader of its own, not that of the training.
    """

    def __init__(self, model: nn.Module, data_loader: Iterable, num_iter: int, eval_period: int = 1):
        self._model, self._data_loader = model, data_loader
        self._num_iter, self._period = num_iter, eval_period

    def after_epoch(self) -> None:
        done = self.trainer.epoch + 1
        if self._period > 0 and (done % self._period == 0 or done == self.trainer.max_epoch):
            self.update_stats()

    def update_stats(self) -> None:
        logger.info("Precise BN: statistics over %d batches", self._num_iter)
        with EventStorage():  # what the model logs meanwhile is no figure of the training
            update_bn_stats(self._model, self._data_loader, self._num_iter)


class LayerFreeze(HookBase):
    """Keep layers fixed, in evaluation mode and without gradients, for the first ``freeze_iters`` iterations.

    The state follows from ``trainer.iter`` alone, so it is right after a resume and after an evaluation.

    Args:
        freeze_layers: names of modules or parameters, see ``fastreid.solver.freeze.is_below``.
    """

    def __init__(self, model: nn.Module, freeze_layers: Sequence[str], freeze_iters: int):
        self._model = unwrap(model)
        self._layers = list(freeze_layers)
        self._iters = freeze_iters
        self._parameters = frozen_parameters(self._model, self._layers)
        self._modules = [m for name, m in self._model.named_modules() if name and is_below(name, self._layers)]
        self._frozen = False

    def before_step(self) -> None:
        if self.trainer.iter < self._iters:
            if not self._frozen:
                self._freeze()
            for module in self._modules:  # an evaluation may have put them back to training mode
                module.training = False
        elif self._frozen:
            self._thaw()

    def _freeze(self) -> None:
        logger.info("Frozen until iteration %d: %s", self._iters, ", ".join(self._layers))
        for parameter in self._parameters:
            parameter.requires_grad_(False)
        self._frozen = True

    def _thaw(self) -> None:
        logger.info("No longer frozen: %s", ", ".join(self._layers))
        for parameter in self._parameters:
            parameter.requires_grad_(True)
        for module in self._modules:
            module.train()
        self._frozen = False


class EpochSeed(HookBase):
    """Seed torch's generators from (seed, rank, epoch) before each epoch.

    What the model draws (dropout, stochastic depth) is then the same in a resumed training, with any number of
    processes, and no generator states need saving.

    Args:
        iters: seed also before every so many iterations, after which a checkpoint is written; 0: never.
    """

    def __init__(self, seed: int, iters: int = 0):
        self._seed, self._iters = seed, iters

    def before_epoch(self) -> None:
        self._set(self.trainer.epoch * 104_729)

    def before_step(self) -> None:
        if is_due(self.trainer.iter, self._iters):
            self._set(self.trainer.iter * 15_485_863 + 1)

    def _set(self, place: int) -> None:
        # numbers far apart for neighbouring (rank, epoch)
        torch.manual_seed((self._seed * 1_000_003 + comm.get_rank() * 7_919 + place) % 2**63)


class BufferAverage(HookBase):
    """At the end of each epoch, average running statistics over the processes: one model is evaluated and saved.

    Args:
        iters: do so every so many iterations too, for what is saved then; 0: never.
    """

    def __init__(self, model: nn.Module, iters: int = 0):
        self._model, self._iters = model, iters

    def after_step(self) -> None:
        if is_due(self.trainer.iter + 1, self._iters):
            comm.average_buffers(self._model)

    def after_epoch(self) -> None:
        comm.average_buffers(self._model)
