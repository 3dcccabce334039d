"""Split-attention convolution of ResNeSt (Zhang et al., CVPR Workshops 2022)."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from fastreid.layers.batch_norm import get_norm
from fastreid.layers.drop import DropBlock2d


class SplAtConv2d(nn.Module):
    """A convolution with ``radix`` outputs per channel, mixed by weights computed from their means.

    (B, in_channels, H, W) -> (B, channels, H', W'), with H' and W' as ``nn.Conv2d`` makes them. Parameter names are
    those of fast-reid and of the authors' checkpoints: ``conv, bn0, fc1, bn1, fc2``.

    Args:
        kernel_size, stride, padding, dilation, bias, options: of the convolution, as for ``nn.Conv2d``.
        groups: cardinal groups; the convolution has ``groups * radix``.
        radix: splits of each group, weighted by a softmax over them; with 1 the weight is a sigmoid gate.
        reduction_factor: the hidden layer of the weights has ``in_channels * radix // reduction_factor`` channels, at
            least 32.
        norm_layer: name of a norm or a callable (``get_norm``); ``None`` for none.
        dropblock_prob: share of the convolution's output that DropBlock zeroes in training, in blocks of 3 x 3.

    Raises:
        ValueError: ``rectify`` or ``rectify_avg``, which would need rectified convolutions.
    """

    def __init__(
        self, in_channels: int, channels: int, kernel_size, stride=1, padding=0, dilation=1, groups: int = 1,
        bias: bool = True, radix: int = 2, reduction_factor: int = 4, rectify: bool = False, rectify_avg: bool = False,
        norm_layer: str | Callable | None = None, dropblock_prob: float = 0.0, **options,
    ):  # fmt: skip
        super().__init__()
        if rectify or rectify_avg:
            raise ValueError("rectify and rectify_avg of SplAtConv2d are not supported: there is no rectified Conv2d")
        self.radix, self.cardinality, self.channels = radix, groups, channels
        splits, hidden = channels * radix, max(in_channels * radix // reduction_factor, 32)
        grouped = {"groups": groups * radix, "bias": bias, **options}
        self.conv = nn.Conv2d(in_channels, splits, kernel_size, stride, padding, dilation, **grouped)
        self.bn0 = get_norm(norm_layer, splits) or nn.Identity()
        self.dropblock = DropBlock2d(dropblock_prob, block_size=3)
        self.fc1 = nn.Conv2d(channels, hidden, 1, groups=groups)
        self.bn1 = get_norm(norm_layer, hidden) or nn.Identity()
        self.fc2 = nn.Conv2d(hidden, splits, 1, groups=groups)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        splits = F.relu(self.dropblock(self.bn0(self.conv(x)))).unflatten(1, (self.radix, self.channels))
        means = splits.sum(1).mean(dim=(2, 3), keepdim=True)
        scores = self.fc2(F.relu(self.bn1(self.fc1(means)))).flatten(1)
        return (splits * self._weights(scores)[..., None, None]).sum(1)

    def _weights(self, scores: torch.Tensor) -> torch.Tensor:
        """(B, radix * channels), ordered by group first -> weights (B, radix, channels)."""
        by_group = scores.unflatten(1, (self.cardinality, self.radix, -1))
        weights = by_group.softmax(2) if self.radix > 1 else by_group.sigmoid()
        return weights.transpose(1, 2).flatten(2)
