"""The training loop, its hooks and one training step."""

import contextlib
import logging
import math
import time
import weakref
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import nn

from fastreid.utils import comm
from fastreid.utils.errors import require_choice
from fastreid.utils.events import EventStorage, get_event_storage

logger = logging.getLogger(__name__)


class HookBase:
    """Something done at certain points of a training. ``self.trainer`` is the trainer it is registered with.

    Attributes:
        last: called after all hooks without this mark, wherever in the list it stands.
    """

    trainer: "TrainerBase"
    last = False

    def before_train(self) -> None: ...

    def after_train(self) -> None:
        """Called at the regular end only, not after an error."""

    def before_epoch(self) -> None: ...

    def after_epoch(self) -> None: ...

    def before_step(self) -> None: ...

    def after_step(self) -> None: ...


class TrainerBase:
    """A loop of epochs and iterations with hooks; subclasses give ``run_step``.

    Attributes:
        iter, epoch: both from 0 and over the whole training, also after a resume.
        start_iter, max_iter, start_epoch, max_epoch, iters_per_epoch: set by ``train``.
        storage: the open ``EventStorage``.
        images_per_step: images of all processes in an iteration, if known.
    """

    start_iter = 0  # of a trainer from outside that does not set it
    images_per_step: int | None = None
    grad_scaler = None

    def __init__(self):
        self._hooks: list[HookBase] = []
        self._resumed_events: dict | None = None

    def register_hooks(self, hooks: Iterable[HookBase | None]) -> None:
        """Add hooks; they are called in the order of registration. ``None`` entries are left out."""
        for hook in hooks:
            if hook is not None:
                hook.trainer = weakref.proxy(self)  # no circle: trainer -> hook -> trainer
                self._hooks.append(hook)

    def train(self, start_epoch: int, max_epoch: int, iters_per_epoch: int, start_iter: int = 0) -> None:
        """Run the epochs ``start_epoch`` (from 0) to ``max_epoch - 1``.

        Args:
            start_iter: the first iteration, over the whole training, where that is within ``start_epoch``.
        """
        logger.info("Training from epoch %d to %d", start_epoch + 1, max_epoch)
        self.start_epoch, self.max_epoch, self.iters_per_epoch = start_epoch, max_epoch, iters_per_epoch
        self.iter = self.start_iter = max(start_iter, start_epoch * iters_per_epoch)
        self.max_iter = max_epoch * iters_per_epoch
        self.epoch = start_epoch
        with EventStorage(self.start_iter) as self.storage:
            if self._resumed_events:
                self.storage.load_state_dict(self._resumed_events)
            self.before_train()
            for self.epoch in range(start_epoch, max_epoch):
                self.storage.epoch = self.epoch
                self._run_epoch()
            self.after_train()

    def _run_epoch(self) -> None:
        self.before_epoch()
        while self.iter < (self.epoch + 1) * self.iters_per_epoch:
            self.storage.iter = self.iter
            self.before_step()
            self.run_step()
            self.after_step()
            self.iter += 1
        self.after_epoch()

    # the points at which hooks are called; a trainer may override them and call super()

    def before_train(self) -> None:
        self._call("before_train")

    def after_train(self) -> None:
        self._call("after_train")

    def before_epoch(self) -> None:
        self._call("before_epoch")

    def after_epoch(self) -> None:
        self._call("after_epoch")

    def before_step(self) -> None:
        self._call("before_step")

    def after_step(self) -> None:
        self._call("after_step")

    def _call(self, point: str) -> None:
        for hook in sorted(self._hooks, key=lambda hook: hook.last):
            getattr(hook, point)()

    def run_step(self) -> None:
        raise NotImplementedError


class SimpleTrainer(TrainerBase):
    """One step: a batch, a dict of losses, their sum, backward, the optimiser.

    Args:
        model: in training mode; called with the batch, it returns a dict of scalar losses.
        data_loader: endless.
        param_wrapper: kept as an attribute for fast-reid's subclasses, and not used.

    Attributes:
        accumulate: a batch is computed in so many parts, one after the other, and the gradients are averaged: the step
            of the whole batch wherever its losses are means over images. What looks at other images of the batch
            (batch norm, losses over pairs) sees those of a part.

    A subclass with a ``run_step`` of its own takes batches from ``next_batch()`` (or ``next(self._data_loader_iter)``)
    and records its losses with ``total_loss`` (or ``_write_metrics``); ``iter`` is that of the trainer around it.
    """

    accumulate = 1

    def __init__(self, model: nn.Module, data_loader: Iterable, optimizer: torch.optim.Optimizer, param_wrapper=None):
        super().__init__()
        model.train()
        self.model = model
        self.data_loader = data_loader
        self.optimizer = optimizer
        self.param_wrapper = param_wrapper
        self._batches: Iterator | None = None

    @property
    def _data_loader_iter(self) -> Iterator:
        """The stream of batches, which begins when it is first asked for: a resumed training enters it further on."""
        if self._batches is None:
            self._batches = iter(self.data_loader)
        return self._batches

    def next_batch(self) -> tuple[dict, float]:
        """Return the next batch and the seconds spent waiting for it."""
        start = time.perf_counter()
        return next(self._data_loader_iter), time.perf_counter() - start

    def run_step(self) -> None:
        assert self.model.training, "The model was left in evaluation mode; a hook must restore it"
        batch, data_time = self.next_batch()
        self.optimizer.zero_grad()
        parts, found = split_batch(batch, self.accumulate), []
        for number, part in enumerate(parts, start=1):
            with _gradients_shared(self.model, number == len(parts)):
                losses = self._forward(part)
                self._backward(sum(losses.values()) / len(parts))
            found.append({name: loss.detach() for name, loss in losses.items()})  # without what it was made of
        means = {name: sum(losses[name] for losses in found) / len(found) for name in found[0]}
        self._write_metrics(means, data_time)  # an error for a loss that is not finite comes before the step
        self._update()

    def _forward(self, batch: dict) -> dict[str, torch.Tensor]:
        return _require_losses(self.model(batch))

    def _backward(self, total: torch.Tensor) -> None:
        total.backward()

    def _update(self) -> None:
        self.optimizer.step()

    def total_loss(self, losses: dict[str, torch.Tensor], data_time: float) -> torch.Tensor:
        """Record the losses, averaged over the processes, and return their sum.

        Raises:
            ValueError: the model gives no loss.
            FloatingPointError: a loss is infinite or not a number.
        """
        self._write_metrics(_require_losses(losses), data_time)
        return sum(losses.values())

    def _write_metrics(self, losses: dict[str, torch.Tensor], data_time: float) -> None:
        """Record the losses and their sum, averaged over the processes.

        Raises:
            FloatingPointError: a loss is infinite or not a number.
        """
        names = list(losses)
        values = dict(zip(names, torch.stack([losses[n].detach().float() for n in names]).tolist(), strict=True))
        if not all(map(math.isfinite, values.values())):
            table = ", ".join(f"{name} = {value:g}" for name, value in values.items())
            raise FloatingPointError(
                f"Loss not finite at iteration {get_event_storage().iter}: {table}. A lower SOLVER.BASE_LR, a longer "
                "warm-up, SOLVER.CLIP_GRADIENTS.ENABLED True or SOLVER.AMP.DTYPE bfloat16 may help"
            )
        if comm.get_world_size() > 1:
            values = {name: float(value) for name, value in comm.reduce_dict(losses).items()}
        storage = get_event_storage()
        storage.put_scalar("data_time", data_time)
        storage.put_scalar("total_loss", sum(values.values()))
        storage.put_scalars(**values)


class AMPTrainer(SimpleTrainer):
    """A step in mixed precision.

    Args:
        grad_scaler: for float16 only; by default a new one.
        dtype: "float16" (with loss scaling; CUDA only, on a CPU bfloat16 is used instead) or "bfloat16".
    """

    def __init__(self, model, data_loader, optimizer, param_wrapper=None, grad_scaler=None, dtype: str = "float16"):
        super().__init__(model, data_loader, optimizer, param_wrapper)
        require_choice("SOLVER.AMP.DTYPE", dtype, ("float16", "bfloat16"))
        self.device_type = next(model.parameters()).device.type
        if self.device_type == "cpu" and dtype == "float16":
            logger.warning("SOLVER.AMP.DTYPE float16 is meant for GPUs: bfloat16 on this CPU")
            dtype = "bfloat16"
        self.dtype = getattr(torch, dtype)
        if dtype == "float16":
            self.grad_scaler = grad_scaler or torch.amp.GradScaler(self.device_type)

    def _forward(self, batch: dict) -> dict[str, torch.Tensor]:
        with torch.autocast(self.device_type, self.dtype):
            return super()._forward(batch)

    def _backward(self, total: torch.Tensor) -> None:
        (total if self.grad_scaler is None else self.grad_scaler.scale(total)).backward()

    def _update(self) -> None:
        if self.grad_scaler is None:
            self.optimizer.step()
            return
        self.grad_scaler.unscale_(self.optimizer)  # before hooks of the step see the gradients; a fused one would not
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()


def split_batch(batch: dict, parts: int) -> list[dict]:
    """Cut a batch table into ``parts`` tables of as many rows; values that have no rows are in each of them.

    Raises:
        ValueError: the rows do not divide.
    """
    if parts == 1:
        return [batch]
    rows = len(batch["images"])
    size, rest = divmod(rows, parts)
    if rest or not size:
        raise ValueError(f"a batch of {rows} images cannot be cut into {parts} equal parts (SOLVER.ACCUMULATE)")

    def cut(value, start: int):
        has_rows = isinstance(value, (torch.Tensor, np.ndarray, list, tuple)) and len(value) == rows
        return value[start : start + size] if has_rows else value

    return [{name: cut(value, start) for name, value in batch.items()} for start in range(0, rows, size)]


def _require_losses(losses: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    if not losses:
        raise ValueError("The model gives no loss: MODEL.LOSSES.NAME must name at least one")
    return losses


def _gradients_shared(model: nn.Module, now: bool) -> contextlib.AbstractContextManager:
    """Let the processes average their gradients in the backward of the last part only, which is enough."""
    return contextlib.nullcontext() if now or not hasattr(model, "no_sync") else model.no_sync()
