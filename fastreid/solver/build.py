"""Optimisers by name, with fast-reid's parameter groups, gradient clipping and freezing."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from fastreid.solver import optim
from fastreid.solver.freeze import frozen_parameters
from fastreid.solver.sampled_rows import step_sampled_rows
from fastreid.utils.checkpoint import is_class_weight
from fastreid.utils.errors import nearest, require_choice
from fastreid.utils.registry import Registry

OPTIMIZER_REGISTRY = Registry("OPTIMIZER", "SOLVER.OPT")
NORM_TYPES = (
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.LocalResponseNorm,
)


@OPTIMIZER_REGISTRY.register(node="SOLVER")
def SGD(params: list[dict], momentum: float = 0.9, nesterov: bool = False, fused: bool = False) -> Optimizer:
    return _aligned(torch.optim.SGD(params, momentum=momentum, nesterov=nesterov, fused=fused or None))


@OPTIMIZER_REGISTRY.register(node="SOLVER")
def Adam(params: list[dict], fused: bool = False) -> Optimizer:
    return _aligned(torch.optim.Adam(params, fused=fused or None))


@OPTIMIZER_REGISTRY.register(node="SOLVER")
def AdamW(params: list[dict], fused: bool = False) -> Optimizer:
    return _aligned(torch.optim.AdamW(params, fused=fused or None))


def _aligned(optimizer: Optimizer) -> Optimizer:
    """Let states that are loaded lie in memory as their parameters do, which fused steps take for granted.

    A checkpoint of a training with another SOLVER.CHANNELS_LAST has another layout.
    """
    optimizer.register_load_state_dict_post_hook(_align_states)
    return optimizer


def _align_states(optimizer: Optimizer) -> None:
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            whole = isinstance(value, torch.Tensor) and value.shape == parameter.shape
            if whole and value.stride() != parameter.stride():
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


@OPTIMIZER_REGISTRY.register(node="SOLVER")
def Lamb(params: list[dict]) -> Optimizer:
    return optim.Lamb(params)


def build_optimizer(cfg, model: nn.Module, contiguous: bool = True) -> tuple[Optimizer, None]:
    """Build ``SOLVER.OPT`` over the parameters of ``model``.

    Any class of ``torch.optim`` that works with parameter groups can be named as well; it gets the groups and its own
    defaults for the rest.

    Args:
        contiguous: accepted for fast-reid's callers. Its flat buffers, which stop training with torch >= 2.0, are gone.

    Returns:
        The optimiser and ``None``, where fast-reid returned the owner of its buffers.
    """
    del contiguous
    solver = cfg.SOLVER
    groups = get_default_optimizer_params(
        model,
        base_lr=solver.BASE_LR,
        weight_decay=solver.WEIGHT_DECAY,
        weight_decay_norm=solver.WEIGHT_DECAY_NORM,
        weight_decay_bias=solver.WEIGHT_DECAY_BIAS,
        bias_lr_factor=solver.BIAS_LR_FACTOR,
        heads_lr_factor=solver.HEADS_LR_FACTOR,
        classifier_lr_factor=solver.CLASSIFIER_LR_FACTOR,
        weighting_lr_factor=solver.WEIGHTING_LR_FACTOR,
        freeze_layers=cfg.MODEL.FREEZE_LAYERS if solver.FREEZE_ITERS > 0 else (),
    )
    if solver.OPT in OPTIMIZER_REGISTRY:
        optimizer = OPTIMIZER_REGISTRY.build(solver.OPT, cfg, params=groups)
    else:
        optimizer = _torch_optimizer(solver.OPT)(groups)
    step_sampled_rows(cfg, optimizer, model)
    maybe_add_freeze_layer(cfg, optimizer)
    return maybe_add_gradient_clipping(cfg, optimizer), None


def _torch_optimizer(name: str) -> type[Optimizer]:
    found = getattr(torch.optim, name, None)
    if isinstance(found, type) and issubclass(found, Optimizer) and found is not Optimizer:
        return found
    names = [n for n, v in vars(torch.optim).items() if isinstance(v, type) and issubclass(v, Optimizer)]
    known = sorted({*names, *OPTIMIZER_REGISTRY.names()} - {"Optimizer"})
    raise KeyError(f"SOLVER.OPT: no optimiser named '{name}'.{nearest(name, known)} Known: {', '.join(known)}")


def get_default_optimizer_params(
    model: nn.Module,
    base_lr: float,
    weight_decay: float,
    weight_decay_norm: float,
    weight_decay_bias: float,
    bias_lr_factor: float = 1.0,
    heads_lr_factor: float = 1.0,
    freeze_layers: Sequence[str] = (),
    classifier_lr_factor: float = 1.0,
    weighting_lr_factor: float = 1.0,
) -> list[dict[str, Any]]:
    """Return parameter groups by learning rate, weight decay and whether they are frozen at first.

    fast-reid's rules: weights of norms have their own decay; every ``bias`` (of norms too) its own factor and decay;
    what lies in a module with "heads" in its name has the rate times ``heads_lr_factor``, on top of the others. The
    class weights (``is_class_weight``) have theirs times ``classifier_lr_factor`` as well, learnt weights of losses
    times ``weighting_lr_factor``. A module may name parameters of its own in ``without_decay``: numbers that mean
    something, such as a temperature, which decay would draw to 0.

    An optimiser without a step that joins all parameters, such as Adam or SGD, treats its groups as optimisers of their
    own: one Adam with two rates is two Adams.
    """
    frozen = {id(p) for p in frozen_parameters(model, freeze_layers)}
    groups: dict[tuple, dict[str, Any]] = {}
    seen: set[int] = set()
    for module_name, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad or id(parameter) in seen:
                continue
            seen.add(id(parameter))
            lr, decay = base_lr, weight_decay
            if isinstance(module, NORM_TYPES):
                decay = weight_decay_norm
            if name == "bias":
                lr, decay = lr * bias_lr_factor, weight_decay_bias
            if name in getattr(module, "without_decay", ()):
                decay = 0.0
            if "heads" in module_name:
                lr *= heads_lr_factor
            if is_class_weight(f"{module_name}.{name}"):
                lr *= classifier_lr_factor
            if module_name == "loss_weighting":
                lr *= weighting_lr_factor
            key = (lr, decay, id(parameter) in frozen)
            group = groups.setdefault(key, {"params": [], "lr": lr, "weight_decay": decay, "frozen": key[2]})
            group["params"].append(parameter)
    return list(groups.values())


def maybe_add_freeze_layer(cfg, optimizer: Optimizer) -> Optimizer:
    """Leave the groups marked ``frozen`` alone for the first ``SOLVER.FREEZE_ITERS`` steps.

    The steps left are an entry of these groups, so that they are saved and restored with the optimiser.
    """
    frozen = [group for group in optimizer.param_groups if group.get("frozen")]
    for group in frozen:
        group["frozen_steps_left"] = cfg.SOLVER.FREEZE_ITERS
    if frozen:
        optimizer.register_step_pre_hook(_skip_frozen_groups)
    return optimizer


def skip_frozen_steps(optimizer: Optimizer, done: int) -> None:
    """Let a fresh optimiser know that ``done`` steps of the training were made without it."""
    for group in optimizer.param_groups:
        if "frozen_steps_left" in group:
            group["frozen_steps_left"] = max(0, group["frozen_steps_left"] - done)


def _skip_frozen_groups(optimizer: Optimizer, args, kwargs) -> None:
    for group in optimizer.param_groups:
        if group.get("frozen_steps_left", 0) > 0:
            group["frozen_steps_left"] -= 1
            for parameter in group["params"]:
                parameter.grad = None


def maybe_add_gradient_clipping(cfg, optimizer: Optimizer | type[Optimizer]) -> Any:
    """Clip the gradient of each parameter tensor before each step, if ``SOLVER.CLIP_GRADIENTS.ENABLED``.

    Args:
        optimizer: an optimiser, or as in fast-reid its class, for which a factory with the same arguments is returned.
    """
    if not cfg.SOLVER.CLIP_GRADIENTS.ENABLED:
        return optimizer
    if isinstance(optimizer, type):
        return lambda *args, **kwargs: maybe_add_gradient_clipping(cfg, optimizer(*args, **kwargs))
    clip = _clipper(cfg.SOLVER.CLIP_GRADIENTS)

    def clip_all(optimizer: Optimizer, args, kwargs) -> None:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    clip(parameter)

    optimizer.register_step_pre_hook(clip_all)
    return optimizer


def _clipper(options) -> Callable[[nn.Parameter], Any]:
    require_choice("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", options.CLIP_TYPE, ("norm", "value"))
    if options.CLIP_TYPE == "value":
        return lambda parameter: nn.utils.clip_grad_value_(parameter, options.CLIP_VALUE)
    return lambda parameter: nn.utils.clip_grad_norm_(parameter, options.CLIP_VALUE, options.NORM_TYPE)
