"""Regularisation by dropping: whole samples (stochastic depth) and blocks of a feature map (DropBlock)."""

import torch
from torch import nn


def drop_path(x: torch.Tensor, drop_prob: float = 0.0, training: bool = False) -> torch.Tensor:
    """Stochastic depth (Huang et al., ECCV 2016): zero whole samples with ``drop_prob``, scale the rest up."""
    if drop_prob == 0.0 or not training:
        return x
    keep = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(1 - drop_prob)
    return x * keep / (1 - drop_prob)


class DropPath(nn.Module):
    """``drop_path`` as a module, active in training mode."""

    def __init__(self, drop_prob: float = 0.0):
        super().__init__()
        _require_probability(self, drop_prob)
        self.drop_prob = drop_prob

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return drop_path(x, self.drop_prob, self.training)


def drop_block_2d(
    x: torch.Tensor, drop_prob: float = 0.1, block_size: int = 7, gamma_scale: float = 1.0, with_noise: bool = False,
    inplace: bool = False, batchwise: bool = False,
) -> torch.Tensor:  # fmt: skip
    """DropBlock (Ghiasi et al., NeurIPS 2018): zero square blocks of each channel, scale the rest to the same sum.

    Args:
        x: (B, C, H, W).
        drop_prob: share of the positions to drop; ``gamma_scale`` multiplies it.
        block_size: side of a block in positions, an odd number; on a smaller map the largest odd number that fits.
        with_noise: fill the blocks with standard normal noise, and leave the rest as it is.
        inplace: change ``x`` itself.
        batchwise: the same blocks in all samples.
    """
    from torchvision.ops import drop_block2d

    largest = (min(x.shape[2:]) - 1) // 2 * 2 + 1
    scale = drop_block2d(torch.ones_like(x[:1] if batchwise else x), drop_prob * gamma_scale, min(block_size, largest))
    if with_noise:
        dropped = scale == 0
        noise = torch.randn_like(scale) * dropped
        return x.masked_fill_(dropped, 0).add_(noise) if inplace else x.masked_fill(dropped, 0) + noise
    return x.mul_(scale) if inplace else x * scale


class DropBlock2d(nn.Module):
    """``drop_block_2d`` as a module, active in training mode."""

    def __init__(
        self, drop_prob: float = 0.1, block_size: int = 7, gamma_scale: float = 1.0, with_noise: bool = False,
        inplace: bool = False, batchwise: bool = False,
    ):  # fmt: skip
        super().__init__()
        _require_probability(self, drop_prob)
        self.drop_prob = drop_prob
        self.options = (block_size, gamma_scale, with_noise, inplace, batchwise)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or self.drop_prob == 0:
            return x
        return drop_block_2d(x, self.drop_prob, *self.options)


def _require_probability(layer: nn.Module, drop_prob: float) -> None:
    if not 0 <= drop_prob < 1:
        raise ValueError(f"drop_prob of {type(layer).__name__} must be in [0, 1); got {drop_prob!r}")
