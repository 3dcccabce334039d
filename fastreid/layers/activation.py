"""Activations that fast-reid names."""

import torch
import torch.nn.functional as F
from torch import nn


class Mish(nn.Module):
    """``x tanh(softplus(x))`` (Misra, 2019)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.mish(x)


class Swish(nn.Module):
    """``x sigmoid(x)`` (Ramachandran et al., 2017)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.silu(x)


class MemoryEfficientSwish(Swish):
    """The same function: PyTorch's own kernel already keeps only its input for the backward pass."""


class GELU(nn.Module):
    """``x Phi(x)`` with the normal distribution function (Hendrycks and Gimpel, 2016), in its tanh approximation."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.gelu(x, approximate="tanh")
