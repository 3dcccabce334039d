"""Weight initialisation. ``trunc_normal_`` is PyTorch's; the others follow Keras' variance scaling."""

import math

import torch
from torch import nn
from torch.nn.init import _calculate_fan_in_and_fan_out, trunc_normal_

from fastreid.utils.errors import require_choice

__all__ = [
    "lecun_normal_", "trunc_normal_", "variance_scaling_", "weights_init_classifier", "weights_init_kaiming",
]

_NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm)


def weights_init_kaiming(module: nn.Module) -> None:
    """For ``Module.apply``: convolutions Kaiming (fan out), linear layers normal 0.01, norms 1; biases 0."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.01)
    elif isinstance(module, nn.modules.conv._ConvNd):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, _NORMS) and module.weight is not None:
        nn.init.ones_(module.weight)
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)


def weights_init_classifier(module: nn.Module) -> None:
    """For ``Module.apply``: linear layers normal with standard deviation 0.001, biases 0."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.001)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def variance_scaling_(
    tensor: torch.Tensor, scale: float = 1.0, mode: str = "fan_in", distribution: str = "normal"
) -> torch.Tensor:
    """Fill ``tensor`` in place with variance ``scale / fan``.

    Args:
        mode: "fan_in", "fan_out" or "fan_avg".
        distribution: "truncated_normal" (cut at two standard deviations, variance corrected), "normal", "uniform".
    """
    require_choice("mode of variance_scaling_", mode, ("fan_in", "fan_out", "fan_avg"))
    require_choice("distribution of variance_scaling_", distribution, ("truncated_normal", "normal", "uniform"))
    fan_in, fan_out = _calculate_fan_in_and_fan_out(tensor)
    fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[mode]
    std = math.sqrt(scale / fan)
    if distribution == "uniform":
        bound = math.sqrt(3) * std
        return nn.init.uniform_(tensor, -bound, bound)
    if distribution == "normal":
        return nn.init.normal_(tensor, std=std)
    # 0.8796 is the standard deviation of a unit normal cut at two standard deviations
    std /= 0.87962566103423978
    return trunc_normal_(tensor, std=std, a=-2 * std, b=2 * std)


def lecun_normal_(tensor: torch.Tensor) -> torch.Tensor:
    """Fill ``tensor`` in place from a truncated normal of variance ``1 / fan_in`` (LeCun et al., 1998)."""
    return variance_scaling_(tensor, mode="fan_in", distribution="truncated_normal")
