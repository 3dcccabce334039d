"""Steps that touch the drawn class weights alone (``MODEL.HEADS.PFC.SAMPLE_RATE`` below 1).

In a step the optimiser gets, instead of the table of all class weights, the rows that were drawn, with their part of
its state; afterwards both are written back. A class that was not drawn keeps weight, momentum and averages as they
are: neither momentum nor weight decay moves it. Counts of steps (Adam's bias correction) are those of the training.
"""

import torch
from torch import nn
from torch.optim import Optimizer

from fastreid.layers.partial_fc import PartialFC
from fastreid.utils import comm

# their step treats each number of a weight by itself, so that a part of the rows is treated as it is in the whole
ROW_WISE = ("SGD", "Adam", "AdamW", "Adamax", "Adadelta", "Adagrad", "NAdam", "RAdam", "RMSprop")


class _SampledRows:
    def __init__(self, weight: nn.Parameter, partial_fc: PartialFC):
        self.weight, self.partial_fc = weight, partial_fc
        self._now: tuple[torch.Tensor, torch.Tensor] | None = None

    def before_step(self, optimizer: Optimizer, args, kwargs) -> None:
        self._now = joined_rows(self.weight, self.partial_fc.drawn)
        self.partial_fc.drawn.clear()
        if self._now is None:
            return
        index, rows = self._now
        _replace(optimizer, self.weight, rows)
        kept = optimizer.state.get(self.weight, {})
        if kept:
            optimizer.state[rows] = {
                key: value[index] if _is_table(value, self.weight) else value for key, value in kept.items()
            }

    @torch.no_grad()
    def after_step(self, optimizer: Optimizer, args, kwargs) -> None:
        if self._now is None:
            return
        index, rows = self._now
        self._now = None
        _replace(optimizer, rows, self.weight)
        self.weight[index] = rows
        kept, fresh = optimizer.state[self.weight], optimizer.state.pop(rows, {})
        for key, value in fresh.items():
            if _is_table(value, rows):
                if key not in kept:
                    kept[key] = torch.zeros_like(self.weight)
                kept[key][index] = value
            else:
                kept[key] = value


def joined_rows(
    weight: torch.Tensor, drawn: list[tuple[torch.Tensor, torch.Tensor]]
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Return indices (K,) and weights (K, D) with the sum of the gradients of all forwards; ``None`` without any.

    Several forwards before one step (accumulated gradients) have drawn classes of their own.
    """
    drawn = [(index, rows) for index, rows in drawn if rows.grad is not None]
    if len(drawn) < 2:
        return drawn[0] if drawn else None
    index, place = torch.cat([index for index, _ in drawn]).unique(return_inverse=True)
    rows = weight.detach()[index].requires_grad_()
    rows.grad = torch.zeros_like(rows).index_add_(0, place, torch.cat([rows.grad for _, rows in drawn]))
    return index, rows


def _replace(optimizer: Optimizer, old: torch.Tensor, new: torch.Tensor) -> None:
    for group in optimizer.param_groups:
        group["params"] = [new if parameter is old else parameter for parameter in group["params"]]


def _is_table(value, weight: torch.Tensor) -> bool:
    return isinstance(value, torch.Tensor) and value.shape == weight.shape


def step_sampled_rows(cfg, optimizer: Optimizer, model: nn.Module) -> None:
    """Let ``optimizer`` step the drawn rows of the partial FC heads of ``model``.

    Called before other hooks are registered, which then see the drawn rows.

    Raises:
        ValueError: settings that do not work with a part of the class weights.
    """
    heads = [module for module in model.modules() if isinstance(getattr(module, "partial_fc", None), PartialFC)]
    if not heads or (comm.get_world_size() == 1 and all(head.partial_fc.sample_rate == 1 for head in heads)):
        return
    if type(optimizer).__name__ not in ROW_WISE:
        raise ValueError(
            f"SOLVER.OPT {type(optimizer).__name__} reads all class weights at once, and MODEL.HEADS.PFC gives it a "
            f"part of them; possible: {', '.join(ROW_WISE)}"
        )
    amp, clip = cfg.SOLVER.AMP, cfg.SOLVER.CLIP_GRADIENTS
    if amp.ENABLED and amp.DTYPE == "float16" and heads[0].weight.is_cuda:
        raise ValueError(
            "SOLVER.AMP.DTYPE float16 skips a step where a gradient overflows, and with MODEL.HEADS.PFC each process "
            "sees the gradients of its own classes alone: use bfloat16"
        )
    if clip.ENABLED and clip.CLIP_TYPE == "norm" and comm.get_world_size() > 1:
        raise ValueError(
            "SOLVER.CLIP_GRADIENTS.CLIP_TYPE 'norm' needs the gradient of all class weights, of which each process "
            "has a part with MODEL.HEADS.PFC: use 'value', or no clipping"
        )
    for head in heads:
        if head.partial_fc.sample_rate < 1:
            rows = _SampledRows(head.weight, head.partial_fc)
            optimizer.register_step_pre_hook(rows.before_step)
            optimizer.register_step_post_hook(rows.after_step)
