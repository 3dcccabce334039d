"""Squeeze-and-excitation (Hu et al., CVPR 2018)."""

import torch
from torch import nn


class SELayer(nn.Module):
    """Scale each channel by a gate computed from the means of all channels.

    Args:
        channel: channels of the input.
        reduction: the gate's hidden layer has ``channel // reduction`` units.
    """

    def __init__(self, channel: int, reduction: int = 16):
        super().__init__()
        hidden = channel // reduction
        self.fc = nn.Sequential(
            nn.Linear(channel, hidden, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, channel, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.fc(x.mean(dim=(2, 3)))[:, :, None, None]
