"""Learning-rate schedules: a warm-up per iteration, then a schedule per epoch."""

import inspect
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch.optim import Optimizer
from torch.optim import lr_scheduler as torch_schedulers
from torch.optim.lr_scheduler import LRScheduler

from fastreid.utils.errors import require_choice
from fastreid.utils.registry import Registry

SCHEDULER_REGISTRY = Registry("SCHEDULER", "SOLVER.SCHED")
logger = logging.getLogger(__name__)
# what a scheduler counts with; the others of its attributes say what is planned
COUNTERS = ("last_epoch", "T_cur", "T_i")  # the latter two: CosineAnnealingWarmRestarts


@SCHEDULER_REGISTRY.register(node="SOLVER")
def MultiStepLR(optimizer: Optimizer, epochs: int, steps: Sequence[int] = (30, 55), gamma: float = 0.1) -> LRScheduler:
    """Multiply the rate by ``gamma`` at each of ``steps`` (epochs since the end of warm-up and delay)."""
    late = [step for step in steps if step >= epochs]
    if late:
        logger.warning("SOLVER.STEPS %s are never reached: %d epochs remain after the warm-up", late, max(epochs, 0))
    return torch_schedulers.MultiStepLR(optimizer, milestones=sorted(steps), gamma=gamma)


@SCHEDULER_REGISTRY.register(node="SOLVER")
def CosineAnnealingLR(optimizer: Optimizer, epochs: int, eta_min_lr: float = 1e-7) -> LRScheduler:
    """Half a cosine from the base rate to ``eta_min_lr`` over ``epochs``; ``ValueError`` where no epoch is left."""
    if epochs < 1:
        raise ValueError(f"CosineAnnealingLR needs at least one epoch after warm-up and delay, got {epochs}")
    return torch_schedulers.CosineAnnealingLR(optimizer, T_max=epochs, eta_min=eta_min_lr)


# further schedules of PyTorch that run per epoch, begin at the base rate and need nothing but numbers
TORCH_SCHEDULES = ("CosineAnnealingWarmRestarts", "ExponentialLR", "LinearLR", "PolynomialLR", "StepLR")


def _of_torch(name: str) -> Callable[..., LRScheduler]:
    schedule = getattr(torch_schedulers, name)
    known = [option for option in inspect.signature(schedule).parameters if option not in ("optimizer", "last_epoch")]

    def build(optimizer: Optimizer, epochs: int, sched_options: Sequence[tuple[str, float]] = ()) -> LRScheduler:
        given = sched_options
        try:
            given = dict(sched_options)
            for option in given:
                require_choice("name of an option", option, known)
            scheduler = schedule(optimizer, **given)
        except (TypeError, ValueError) as error:
            raise ValueError(f"SOLVER.SCHED_OPTIONS {given} do not suit {name}: {error}") from error
        if any(group["lr"] != group["initial_lr"] for group in optimizer.param_groups):
            raise ValueError(
                f"{name} with SOLVER.SCHED_OPTIONS {given} does not begin at the base learning rate; SOLVER.WARMUP_* "
                "is what raises the rate at the beginning"
            )
        return scheduler

    build.__name__, build.__doc__ = name, f"``torch.optim.lr_scheduler.{name}`` with ``sched_options``, per epoch."
    return build


for _name in TORCH_SCHEDULES:
    SCHEDULER_REGISTRY.register(_of_torch(_name), node="SOLVER")


class WarmupLR(LRScheduler):
    """Raise the learning rate from ``warmup_factor`` times its base to the base within ``warmup_iters`` steps.

    Args:
        warmup_method: "linear" (equal additions), "exp" (equal factors) or "constant" (a jump at the end).
    """

    def __init__(
        self,
        optimizer: Optimizer,
        warmup_factor: float = 0.1,
        warmup_iters: int = 1000,
        warmup_method: str = "linear",
        last_epoch: int = -1,
    ):
        require_choice("SOLVER.WARMUP_METHOD", warmup_method, ("linear", "constant", "exp"))
        self.warmup_factor = warmup_factor
        self.warmup_iters = warmup_iters
        self.warmup_method = warmup_method
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        return [base * self._factor(self.last_epoch) for base in self.base_lrs]

    def _factor(self, step: int) -> float:
        if step >= self.warmup_iters:
            return 1.0
        done = step / self.warmup_iters
        if self.warmup_method == "constant":
            return self.warmup_factor
        if self.warmup_method == "exp":
            return self.warmup_factor ** (1 - done)
        return self.warmup_factor * (1 - done) + done


def build_lr_scheduler(cfg, optimizer: Optimizer, iters_per_epoch: int) -> dict[str, LRScheduler]:
    """Return ``{"lr_sched": per epoch, "warmup_sched": per iteration}``; the second only with a warm-up.

    The caller steps ``warmup_sched`` after each of the first ``SOLVER.WARMUP_ITERS`` iterations, and ``lr_sched`` after
    each epoch that ends behind both the warm-up and ``SOLVER.DELAY_EPOCHS``. So its epochs count from there.

    Raises:
        ValueError: no iteration in an epoch, or no epoch left for a cosine.
        KeyError: unknown ``SOLVER.SCHED``.
    """
    solver = cfg.SOLVER
    if iters_per_epoch < 1:
        raise ValueError(f"iters_per_epoch must be at least 1, got {iters_per_epoch}")
    warmup_epochs = math.ceil(solver.WARMUP_ITERS / iters_per_epoch)
    epochs = solver.MAX_EPOCH - max(warmup_epochs, solver.DELAY_EPOCHS)
    try:
        schedulers = {"lr_sched": SCHEDULER_REGISTRY.build(solver.SCHED, cfg, optimizer=optimizer, epochs=epochs)}
    except ValueError as error:
        if epochs >= 1:
            raise
        raise ValueError(f"{error}. {_no_epoch_left(solver, iters_per_epoch, warmup_epochs)}") from error
    if solver.WARMUP_ITERS > 0:
        schedulers["warmup_sched"] = WarmupLR(
            optimizer, solver.WARMUP_FACTOR, solver.WARMUP_ITERS, solver.WARMUP_METHOD
        )
    return schedulers


def _no_epoch_left(solver, iters_per_epoch: int, warmup_epochs: int) -> str:
    """Say what leaves no epoch for the schedule, and which keys would."""
    remedies = [f"SOLVER.MAX_EPOCH {max(warmup_epochs, solver.DELAY_EPOCHS) + 1} or more"]
    if warmup_epochs >= solver.MAX_EPOCH:
        most = iters_per_epoch * (solver.MAX_EPOCH - 1)
        remedies.append(f"SOLVER.WARMUP_ITERS at most {most}" if most > 0 else "SOLVER.WARMUP_ITERS 0")
    if solver.DELAY_EPOCHS >= solver.MAX_EPOCH:
        remedies.append(f"SOLVER.DELAY_EPOCHS at most {solver.MAX_EPOCH - 1}")
    remedy = remedies[0] + (f", or {' and '.join(remedies[1:])}" if remedies[1:] else "")
    return (
        f"One epoch is {iters_per_epoch} iterations, the warm-up {solver.WARMUP_ITERS} (SOLVER.WARMUP_ITERS), the "
        f"delay {solver.DELAY_EPOCHS} epochs (SOLVER.DELAY_EPOCHS), SOLVER.MAX_EPOCH {solver.MAX_EPOCH}: set {remedy}"
    )


def counters(schedulers: Mapping[str, LRScheduler]) -> dict[str, dict[str, Any]]:
    """Return how far each of the schedulers is, by the names of its attributes."""
    return {
        name: {key: value for key, value in vars(scheduler).items() if key in COUNTERS}
        for name, scheduler in schedulers.items()
    }


def replay(optimizer: Optimizer, schedulers: Mapping[str, LRScheduler], start: Mapping[str, Mapping[str, Any]]) -> None:
    """Give a fresh ``optimizer`` the rates that restored ``schedulers`` have reached.

    Their base rates count where there is one for each group of the optimiser, and those of the groups otherwise. The
    steps are made again since many schedules of PyTorch derive a rate from the one before.

    Args:
        schedulers: as :func:`build_lr_scheduler` returns them. Others than PyTorch's are left alone.
        start: their :func:`counters` when they were new.
    """
    in_order = [name for name in ("warmup_sched", "lr_sched") if hasattr(schedulers.get(name), "base_lrs")]
    groups = optimizer.param_groups
    base_rates = [group.get("initial_lr", group["lr"]) for group in groups]
    for scheduler in map(schedulers.get, in_order):
        if len(scheduler.base_lrs) != len(groups):
            scheduler.base_lrs = list(base_rates)
        for group, rate in zip(groups, scheduler.base_lrs, strict=True):
            group["lr"] = group["initial_lr"] = rate
    for name in in_order:
        scheduler = schedulers[name]
        steps, counted = scheduler.last_epoch, scheduler._step_count
        vars(scheduler).update(start[name])
        for _ in range(steps - scheduler.last_epoch):
            scheduler.step()
        scheduler._step_count = counted
