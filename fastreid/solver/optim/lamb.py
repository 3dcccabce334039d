"""LAMB: Adam with one step length per layer, for large batches."""

from collections.abc import Callable, Iterable

import torch
from torch.optim import Optimizer


class Lamb(Optimizer):
    """LAMB (You et al., ICLR 2020, algorithm 2): the step of each tensor has the length of the tensor, times ``lr``.

    The direction is Adam's (bias-corrected) plus ``weight_decay`` times the weights. A tensor whose norm, or whose
    direction's norm, is zero takes that direction as it is.

    Args:
        eps: added to the root of the second moment.
        adam: no step lengths per layer: Adam with decoupled weight decay, for comparison.
    """

    MAX_NORM = 10.0  # of the weights, in the step length: the upper bound of the paper's phi, as in fast-reid

    def __init__(
        self, params: Iterable, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-6,
        weight_decay: float = 0.0, adam: bool = False,
    ):  # fmt: skip
        options = {"lr": lr, "eps": eps, "weight_decay": weight_decay}
        for name, value in options.items():
            if value < 0:
                raise ValueError(f"{name} of Lamb must not be negative; got {value!r}")
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas of Lamb must be two numbers in [0, 1); got {betas!r}")
        super().__init__(params, {**options, "betas": betas, "adam": adam})

    @torch.no_grad()
    def step(self, closure: Callable | None = None):
        """Do one step; ``closure``, if given, computes the gradients again and returns the loss, as does ``step``."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)
        return loss

    def _update(self, parameter: torch.Tensor, group: dict) -> None:
        state, (beta1, beta2) = self.state[parameter], group["betas"]
        if not state:
            state.update(step=0, exp_avg=torch.zeros_like(parameter), exp_avg_sq=torch.zeros_like(parameter))
        state["step"] += 1
        mean = state["exp_avg"].lerp_(parameter.grad, 1 - beta1)
        square = state["exp_avg_sq"].mul_(beta2).addcmul_(parameter.grad, parameter.grad, value=1 - beta2)
        root = (square / (1 - beta2 ** state["step"])).sqrt()
        direction = mean / (1 - beta1 ** state["step"]) / (root + group["eps"]) + group["weight_decay"] * parameter
        length = 1.0 if group["adam"] else self._length(parameter, direction)
        parameter.sub_(group["lr"] * length * direction)

    def _length(self, parameter: torch.Tensor, direction: torch.Tensor) -> torch.Tensor:
        """Trust ratio, a scalar on the device: no value is read, so that nothing waits for the GPU."""
        weights, step = parameter.norm().clamp(max=self.MAX_NORM), direction.norm()
        return torch.where((weights > 0) & (step > 0), weights / step, 1.0)
