"""Filter response normalisation and its activation (Singh and Krishnan, CVPR 2020)."""

import torch
from torch import nn


class FRN(nn.Module):
    """``weight * x / sqrt(mean(x^2) + |eps|) + bias``, the mean over the positions of each sample and channel (eq. 1).

    Args:
        num_features: channels C of (B, C, H, W).
        eps: keeps the root from zero; matters for maps of one position.
        is_eps_leanable: train ``eps`` (fast-reid's spelling); otherwise it is a buffer of shape (1,).
    """

    def __init__(self, num_features: int, eps: float = 1e-6, is_eps_leanable: bool = False):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        if is_eps_leanable:
            self.eps = nn.Parameter(torch.tensor([eps]))
        else:
            self.register_buffer("eps", torch.tensor([eps]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        power = x.square().mean(dim=(2, 3), keepdim=True)
        weight, bias = self.weight[:, None, None], self.bias[:, None, None]
        return weight * x * (power + self.eps.abs()).rsqrt() + bias


class TLU(nn.Module):
    """Thresholded linear unit: ``max(x, tau)`` with a learnt threshold per channel, starting at 0 (then it is ReLU)."""

    def __init__(self, num_features: int):
        super().__init__()
        self.tau = nn.Parameter(torch.zeros(num_features))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.maximum(x, self.tau[:, None, None])
