"""Pooling of a feature map (B, C, H, W) to (B, C, 1, 1).

``MODEL.HEADS.POOL_LAYER`` names a class in ``POOLING_REGISTRY``; the head calls it without arguments.
"""

import torch
import torch.nn.functional as F
from torch import nn

from fastreid.layers.precision import full_precision
from fastreid.utils.registry import Registry

POOLING_REGISTRY = Registry("POOLING", "MODEL.HEADS.POOL_LAYER")
_register = POOLING_REGISTRY.register()


@_register
class Identity(nn.Module):
    """For backbones that pool themselves."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@_register
class Flatten(nn.Module):
    """(B, C, H, W) -> (B, C * H * W, 1, 1)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)[:, :, None, None]


@_register
class GlobalAvgPool(nn.AdaptiveAvgPool2d):
    """Mean over all positions."""

    def __init__(self, output_size: int | tuple[int, int] = 1):
        super().__init__(output_size)


@_register
class GlobalMaxPool(nn.AdaptiveMaxPool2d):
    """Largest value over all positions."""

    def __init__(self, output_size: int | tuple[int, int] = 1):
        super().__init__(output_size)


@_register
class GeneralizedMeanPooling(nn.Module):
    """GeM with a fixed exponent: ``(mean max(x, eps)^p)^(1/p)`` (Radenovic et al., TPAMI 2019, eq. 3).

    Args:
        p: exponent; 1 is the mean, large values approach the maximum.
        output_size: (height, width) of the output.
        eps: lower bound of the activations, which keeps the root's gradient finite.
    """

    def __init__(self, p: float = 3.0, output_size: tuple[int, int] = (1, 1), eps: float = 1e-6):
        super().__init__()
        if not p > 0:
            raise ValueError(f"p of {type(self).__name__} must be positive; got {p!r}")
        self.p, self.output_size, self.eps = float(p), output_size, eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = self._pool(x)
        # a model converted to half precision goes on in it; under autocast the mean keeps its 32 bits
        return pooled if torch.is_autocast_enabled(x.device.type) else pooled.to(x.dtype)

    @full_precision  # a cube overflows 16 bits from 41 on
    def _pool(self, x: torch.Tensor) -> torch.Tensor:
        powers = x.clamp(min=self.eps).pow(self.p)
        return F.adaptive_avg_pool2d(powers, self.output_size).pow(1.0 / self.p)

    def extra_repr(self) -> str:
        return f"p={float(self.p):.3g}, output_size={self.output_size}"


@_register
class GeneralizedMeanPoolingP(GeneralizedMeanPooling):
    """GeM with a learnable exponent: parameter ``p`` of shape (1,), starting at ``p``."""

    def __init__(self, p: float = 3.0, output_size: tuple[int, int] = (1, 1), eps: float = 1e-6):
        super().__init__(p, output_size, eps)
        del self.p
        self.p = nn.Parameter(torch.full((1,), float(p)))


@_register
class FastGlobalAvgPool(nn.Module):
    """Mean over all positions, written as one reduction.

    Args:
        flatten: give (B, C) instead of (B, C, 1, 1).
    """

    def __init__(self, flatten: bool = False):
        super().__init__()
        self.flatten = flatten

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=(2, 3), keepdim=not self.flatten)


@_register
class AdaptiveAvgMaxPool(nn.Module):
    """Sum of the mean and the maximum over all positions."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=(2, 3), keepdim=True) + F.adaptive_max_pool2d(x, 1)


@_register
class ClipGlobalAvgPool(nn.Module):
    """Mean over all positions, clipped to 0..1."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=(2, 3), keepdim=True).clamp(0.0, 1.0)
