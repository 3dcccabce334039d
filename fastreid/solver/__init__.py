"""Optimisers and learning-rate schedules."""

from fastreid.solver.build import OPTIMIZER_REGISTRY, build_optimizer
from fastreid.solver.lr_scheduler import SCHEDULER_REGISTRY, WarmupLR, build_lr_scheduler

__all__ = ["OPTIMIZER_REGISTRY", "SCHEDULER_REGISTRY", "WarmupLR", "build_lr_scheduler", "build_optimizer"]
