"""Non-local block (Wang et al., CVPR 2018), dot-product form."""

import torch
from torch import nn

from fastreid.layers.batch_norm import get_norm


class Non_local(nn.Module):
    """Add to every position a sum over all positions, weighted by dot products: ``x + W(theta (phi^T g) / HW)``.

    The last norm starts at zero, so that a fresh block is the identity.

    Args:
        in_channels: channels of the input and the output.
        reduc_ratio: kept for fast-reid's signature; it computes ``reduc_ratio // reduc_ratio``, thus 1 inner channel.
        inter_channels: inner channels. 1 is what checkpoints of fast-reid have; the paper uses ``in_channels // 2``.
    """

    def __init__(self, in_channels: int, bn_norm: str = "BN", reduc_ratio: int = 2, inter_channels: int = 1):
        super().__init__()
        self.in_channels, self.inter_channels = in_channels, inter_channels
        self.g = nn.Conv2d(in_channels, inter_channels, 1)
        self.W = nn.Sequential(nn.Conv2d(inter_channels, in_channels, 1), get_norm(bn_norm, in_channels))
        self.theta = nn.Conv2d(in_channels, inter_channels, 1)
        self.phi = nn.Conv2d(in_channels, inter_channels, 1)
        nn.init.zeros_(self.W[1].weight)
        nn.init.zeros_(self.W[1].bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        g, theta, phi = (conv(x).flatten(2) for conv in (self.g, self.theta, self.phi))  # (B, I, HW) each
        # (g phi^T) theta needs I x I numbers where g (phi^T theta) needs HW x HW; divided first to stay in 16-bit range
        context = (g / g.shape[2]) @ phi.transpose(1, 2)
        y = (context @ theta).unflatten(2, x.shape[2:])
        return x + self.W(y)  # in this order the sum has the memory layout of x
