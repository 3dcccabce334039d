"""A hook that ends a training with the average of its last weights."""

import logging
import math
from typing import Any

import torch
from torch.optim.swa_utils import AveragedModel

from fastreid.engine.train_loop import HookBase
from fastreid.utils.checkpoint import read_checkpoint, unwrap
from fastreid.utils.events import EventStorage
from fastreid.utils.precision_bn import get_bn_modules, update_bn_stats

logger = logging.getLogger(__name__)


class SWA(HookBase):
    """Stochastic weight averaging (Izmailov et al., UAI 2018).

    From iteration ``swa_start`` on, the weights after every ``swa_freq`` iterations are averaged. After the last
    iteration, before its evaluation, the model gets the average, and its batch norms the statistics that belong to it.
    The average is saved in checkpoints as ``swa``, so that a resumed training goes on with it.

    Args:
        swa_start: iteration, from 0, at which averaging begins.
        swa_freq: iterations between two models that are averaged.
        swa_lr_factor: the learning rates from then on, as a multiple of those at ``swa_start``.
        eta_min: lowest learning rate of a cycle; only with ``lr_sched``.
        lr_sched: let the rates fall as half a cosine within each ``swa_freq`` iterations, instead of staying constant.
        bn_iters: training batches over which the statistics of batch norms are taken at the end; 0 leaves them.
    """

    def __init__(
        self, swa_start: int, swa_freq: int, swa_lr_factor: float, eta_min: float = 0.0, lr_sched: bool = False,
        bn_iters: int = 50,
    ):  # fmt: skip
        if swa_freq < 1 or swa_start < 0:
            raise ValueError(f"SWA needs swa_start >= 0 and swa_freq >= 1; got {swa_start} and {swa_freq}")
        self.swa_start, self.swa_freq, self.swa_lr_factor = swa_start, swa_freq, swa_lr_factor
        self.eta_min, self.lr_sched, self.bn_iters = eta_min, lr_sched, bn_iters
        self._average: AveragedModel | None = None
        self._lrs: list[float] = []

    def before_train(self) -> None:
        if self.swa_start + self.swa_freq > self.trainer.max_iter:
            logger.warning("SWA averages nothing: it would begin after iteration %d", self.swa_start + self.swa_freq)
        checkpointer = getattr(self.trainer, "checkpointer", None)
        if checkpointer is None:
            return
        if checkpointer.is_joint:
            raise ValueError("SWA keeps the average of whole models: MODEL.HEADS.PFC.ENABLED spreads it over processes")
        checkpointer.checkpointables["swa"] = self
        if self.trainer.start_iter > self.swa_start and checkpointer.has_checkpoint():
            self.load_state_dict(read_checkpoint(checkpointer.get_checkpoint_file()).get("swa", {}))

    def before_step(self) -> None:
        done = self.trainer.iter - self.swa_start
        if done < 0:
            return
        groups = self.trainer.optimizer.param_groups
        if not self._lrs:
            logger.info("SWA begins: one model in %d iterations is averaged", self.swa_freq)
            self._lrs = [group["lr"] * self.swa_lr_factor for group in groups]
        for group, lr in zip(groups, self._lrs, strict=True):  # whatever the schedule made of it
            group["lr"] = self._rate(lr, done % self.swa_freq)

    def _rate(self, lr: float, step: int) -> float:
        if not self.lr_sched:
            return lr
        return self.eta_min + (lr - self.eta_min) * (1 + math.cos(math.pi * step / self.swa_freq)) / 2

    def after_step(self) -> None:
        done = self.trainer.iter + 1 - self.swa_start
        if done > 0 and done % self.swa_freq == 0:
            self._averaged().update_parameters(unwrap(self.trainer.model))
        if self.trainer.iter + 1 == self.trainer.max_iter and self._average is not None:
            self._finish()

    def _averaged(self) -> AveragedModel:
        if self._average is None:
            self._average = AveragedModel(unwrap(self.trainer.model))
        return self._average

    def _finish(self) -> None:
        model = unwrap(self.trainer.model)
        logger.info("SWA: the model is now the average of %d", int(self._average.n_averaged))
        with torch.no_grad():
            for own, averaged in zip(model.parameters(), self._average.module.parameters(), strict=True):
                own.copy_(averaged)
        if self.bn_iters and get_bn_modules(model):
            with EventStorage():  # what the model logs meanwhile is no figure of the training
                update_bn_stats(model, self.trainer.data_loader, self.bn_iters)

    def state_dict(self) -> dict[str, Any]:
        average = None if self._average is None else self._average.state_dict()
        return {"lrs": self._lrs, "average": average}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._lrs = list(state.get("lrs", ()))
        if state.get("average") is not None:
            self._averaged().load_state_dict(state["average"])
