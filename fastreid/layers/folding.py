"""Batch norms whose statistics are fixed, folded into the convolutions before them."""

from collections import Counter
from collections.abc import Iterator

import torch
from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fastreid.layers.batch_norm import IBN, FrozenBatchNorm

# forward methods that are x * weight + bias, and nothing else
PLAIN = (nn.Conv1d.forward, nn.Conv2d.forward, nn.Conv3d.forward, nn.Linear.forward)
NORMS = (_BatchNorm, FrozenBatchNorm, IBN)


def fold_batch_norms(model: nn.Module) -> int:
    """Fold each batch norm of ``model`` that follows a convolution or a linear layer into it, in place.

    The outputs stay the same up to rounding. Of an IBN the batch norm is folded and the instance norm stays. A norm
    is left where its input is used elsewhere too, or comes from something else; a convolution that changes its weights
    at each call keeps its norm.

    Args:
        model: in evaluation mode, and a copy: it cannot be trained afterwards.

    Returns:
        number of norms folded.

    Raises:
        ValueError: the model is in training mode.
    """
    if model.training:
        raise ValueError("fold_batch_norms takes a model in evaluation mode: in training its statistics change")
    try:
        graph = _Tracer().trace(model)
    except Exception:  # code of any kind runs here; what cannot be traced as a whole is traced in parts
        return sum(fold_batch_norms(child) for child in model.children())
    pairs = list(_pairs(model, graph))
    for before, norm in pairs:
        _fold(model, before, norm)
    return len(pairs)


class _Tracer(fx.Tracer):
    """Sees norms and all modules without parts as one node each."""

    def is_leaf_module(self, module: nn.Module, qualified_name: str) -> bool:
        return isinstance(module, NORMS) or not any(True for _ in module.children())


def _pairs(model: nn.Module, graph: fx.Graph) -> Iterator[tuple[str, str]]:
    """Names of a layer and of the norm that alone takes its output; each is called once."""
    modules = dict(model.named_modules())
    calls = Counter(node.target for node in graph.nodes if node.op == "call_module")
    read = [str(node.target) for node in graph.nodes if node.op == "get_attr"]  # weights used beside the call
    for node in graph.nodes:
        before = node.args[0] if node.op == "call_module" and len(node.args) == 1 else None
        if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) != 1:
            continue
        names = (before.target, node.target)
        alone = all(calls[name] == 1 for name in names)
        untouched = not any(attribute.startswith(f"{name}.") for attribute in read for name in names)
        if alone and untouched and type(modules[names[0]]).forward in PLAIN and _is_fixed(modules[names[1]]):
            yield names


def _is_fixed(norm: nn.Module) -> bool:
    if isinstance(norm, IBN):
        return _is_fixed(norm.BN)
    return isinstance(norm, (_BatchNorm, FrozenBatchNorm)) and norm.running_mean is not None


def _fold(model: nn.Module, before: str, name: str) -> None:
    layer, norm = model.get_submodule(before), model.get_submodule(name)
    if isinstance(norm, IBN):
        _scale_outputs(layer, norm.BN, first=norm.half)
        norm.BN = nn.Identity()
        return
    _scale_outputs(layer, norm)
    # timm's norms hold the activation too
    rest = [part for part in (getattr(norm, "drop", None), getattr(norm, "act", None)) if part is not None]
    parent, _, own = name.rpartition(".")
    setattr(model.get_submodule(parent), own, nn.Sequential(*rest) if rest else nn.Identity())


@torch.no_grad()
def _scale_outputs(layer: nn.Module, norm: nn.Module, first: int = 0) -> None:
    """Let ``layer`` do the work of ``norm``, which sees its output channels from ``first`` on; sums in float64."""
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.double()
    shift = -norm.running_mean.double() * scale
    if norm.bias is not None:
        shift = shift + norm.bias.double()
    weight = layer.weight.double()
    bias = weight.new_zeros(len(weight)) if layer.bias is None else layer.bias.double()
    weight[first:] *= scale.view(-1, *[1] * (weight.dim() - 1))
    bias[first:] = bias[first:] * scale + shift
    kind = layer.weight.dtype
    layer.weight = nn.Parameter(weight.to(kind), requires_grad=False)
    layer.bias = nn.Parameter(bias.to(kind), requires_grad=False)
