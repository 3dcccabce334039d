"""Stochastic weight averaging around any optimiser."""

from collections.abc import Callable

import torch
from torch.optim import Optimizer

from fastreid.utils.errors import require_whole


class SWA(Optimizer):
    """Average the weights along a training (Izmailov et al., UAI 2018, algorithm 1).

    The wrapper shares its parameter groups with ``optimizer``, so schedulers may take either. It averages parameters
    only: the statistics of batch norms have to be computed anew for the averaged weights (``update_bn_stats``). In a
    ``DefaultTrainer`` the hook ``fastreid.engine.hooks.SWA`` does both.

    >>> swa = SWA(torch.optim.SGD(model.parameters(), lr=0.1), swa_freq=100)
    >>> ...  # zero_grad, backward, swa.step()
    >>> swa.swap_swa_param()  # the model now has the average, the wrapper the last weights; again to swap back

    Args:
        swa_freq: steps from one addition to the average to the next; ``None``: only when ``update_swa`` is called.
        swa_lr_factor: what ``reset_lr_to_swa`` multiplies the learning rates with.
    """

    def __init__(self, optimizer: Optimizer, swa_freq: int | None = None, swa_lr_factor: float | None = None):
        if swa_freq is not None:
            require_whole("swa_freq of SWA", swa_freq, 1)
        if swa_lr_factor is not None and swa_lr_factor < 0:
            raise ValueError(f"swa_lr_factor of SWA must be >= 0; got {swa_lr_factor}")
        super().__init__(optimizer.param_groups, optimizer.defaults)
        self.optimizer, self.swa_freq, self.swa_lr_factor = optimizer, swa_freq, swa_lr_factor
        self.param_groups = optimizer.param_groups  # the list itself: groups added to one are seen by the other
        self.steps = self.n_avg = 0

    def step(self, closure: Callable | None = None):
        loss = self.optimizer.step(closure)
        self.steps += 1
        if self.swa_freq is not None and self.steps % self.swa_freq == 0:
            self.update_swa()
        return loss

    @torch.no_grad()
    def update_swa(self) -> None:
        """Add the present weights to the average."""
        self.n_avg += 1
        for parameter in self._parameters():
            state = self.state[parameter]
            if "swa_average" not in state:
                state["swa_average"] = parameter.detach().clone()
            state["swa_average"].lerp_(parameter, 1 / self.n_avg)

    @torch.no_grad()
    def swap_swa_param(self) -> None:
        """Exchange the weights with their average; ``RuntimeError`` when nothing was averaged yet."""
        if self.n_avg == 0:
            raise RuntimeError("SWA has no average yet: call update_swa(), or set swa_freq and train that many steps")
        for parameter, state in self.state.items():
            last = parameter.detach().clone()
            parameter.copy_(state["swa_average"])
            state["swa_average"].copy_(last)

    def reset_lr_to_swa(self) -> None:
        """Multiply the learning rates, present and initial, by ``swa_lr_factor``."""
        if self.swa_lr_factor is None:
            raise ValueError("swa_lr_factor of SWA is None: no learning rate to set")
        for group in self.param_groups:
            group["lr"] = group["initial_lr"] = self.swa_lr_factor * group["lr"]

    def state_dict(self) -> dict:
        averages = [self.state.get(parameter, {}).get("swa_average") for parameter in self._parameters()]
        counts = {"steps": self.steps, "n_avg": self.n_avg}
        return {"optimizer": self.optimizer.state_dict(), "averages": averages, **counts}

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict) -> None:
        self.optimizer.load_state_dict(state_dict["optimizer"])
        self.param_groups = self.optimizer.param_groups
        self.steps, self.n_avg = state_dict["steps"], state_dict["n_avg"]
        self.state.clear()
        for parameter, average in zip(self._parameters(), state_dict["averages"], strict=True):
            if average is not None:
                self.state[parameter]["swa_average"] = average.to(parameter, copy=True)

    def _parameters(self) -> list[torch.Tensor]:
        return [parameter for group in self.param_groups for parameter in group["params"]]
