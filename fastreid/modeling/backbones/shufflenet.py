"""ShuffleNetV2 (Ma et al., ECCV 2018) as its authors published it, and as fast-reid has it.

torchvision's network shuffles at the end of a block and gives one half of the channels to the next block's shortcut;
here a block gives the even channels to the shortcut and the odd ones to its convolutions. Where a stage begins,
torchvision gives each branch half of the output; here the shortcut keeps its number of channels. The weights of one do
not fit the other, and timm has no such network.
"""

from collections.abc import Callable, Sequence

import torch
from torch import nn

from fastreid.layers import get_norm
from fastreid.modeling.backbones.build import BACKBONE_REGISTRY
from fastreid.modeling.backbones.pretrained import load_pretrained
from fastreid.modeling.backbones.pretrained_urls import pretrained_url
from fastreid.utils.errors import require_choice

# depth: channels of the stem, the three stages and the last convolution
DEPTHS = {
    "0.5x": (24, 48, 96, 192, 1024),
    "1.0x": (24, 116, 232, 464, 1024),
    "1.5x": (24, 176, 352, 704, 1024),
    "2.0x": (24, 244, 488, 976, 2048),
}
BLOCKS = (4, 8, 4)


def _conv(inplanes: int, planes: int, bn_norm: str | Callable, kernel: int = 1, stride: int = 1, groups: int = 1):
    """Convolution without bias, and its norm."""
    convolution = nn.Conv2d(inplanes, planes, kernel, stride, kernel // 2, groups=groups, bias=False)
    return convolution, get_norm(bn_norm, planes)


def _pointwise(inplanes: int, planes: int, bn_norm: str | Callable):
    return *_conv(inplanes, planes, bn_norm), nn.ReLU(inplace=True)


def _depthwise(planes: int, bn_norm: str | Callable, stride: int):
    return _conv(planes, planes, bn_norm, kernel=3, stride=stride, groups=planes)


class ShuffleV2Block(nn.Module):
    """(B, inplanes, H, W) -> (B, planes, H / stride, W / stride).

    With stride 1 the even channels pass unchanged and the odd ones through the main branch; with stride 2 both
    branches see all channels.
    """

    def __init__(self, inplanes: int, planes: int, stride: int, bn_norm: str | Callable = "BN"):
        super().__init__()
        self.stride = stride
        shortcut = inplanes if stride == 2 else inplanes // 2
        inner = planes // 2
        self.branch_main = nn.Sequential(
            *_pointwise(shortcut, inner, bn_norm),
            *_depthwise(inner, bn_norm, stride),
            *_pointwise(inner, planes - shortcut, bn_norm),
        )
        self.branch_proj = nn.Identity()
        if stride == 2:
            self.branch_proj = nn.Sequential(
                *_depthwise(shortcut, bn_norm, stride), *_pointwise(shortcut, shortcut, bn_norm)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        even, odd = (x[:, 0::2], x[:, 1::2]) if self.stride == 1 else (x, x)
        return torch.cat((self.branch_proj(even), self.branch_main(odd)), dim=1)


class ShuffleNetV2(nn.Module):
    """(B, in_channels, H, W) -> (B, ``feature_dim``, H / 32, W / 32).

    Args:
        channels: of the stem, the three stages and the last convolution, whose are ``feature_dim``.
    """

    def __init__(self, channels: Sequence[int], bn_norm: str | Callable = "BN", in_channels: int = 3):
        super().__init__()
        stem, *stages, last = channels
        self.feature_dim = last
        self.first_conv = nn.Sequential(*_conv(in_channels, stem, bn_norm, 3, stride=2), nn.ReLU(inplace=True))
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        blocks, inplanes = [], stem
        for planes, depth in zip(stages, BLOCKS, strict=True):
            blocks.append(ShuffleV2Block(inplanes, planes, 2, bn_norm))
            blocks += [ShuffleV2Block(planes, planes, 1, bn_norm) for _ in range(depth - 1)]
            inplanes = planes
        self.features = nn.Sequential(*blocks)
        self.conv_last = nn.Sequential(*_pointwise(inplanes, last, bn_norm))
        self._init_weights()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv_last(self.features(self.maxpool(self.first_conv(x))))

    def _init_weights(self) -> None:
        """The authors' initial values: normal 1 / inputs of a convolution (0.01 in the stem), biases of norms 1e-4."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=1.0 / module.weight.shape[1])
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.constant_(module.bias, 1e-4)
        nn.init.normal_(self.first_conv[0].weight, std=0.01)


@BACKBONE_REGISTRY.register(node="MODEL.BACKBONE")
def build_shufflenetv2_backbone(
    norm: str = "BN", pretrain: bool = False, pretrain_path: str = "", *, depth: str, in_channels: int = 3
) -> ShuffleNetV2:
    """Build a ShuffleNetV2 from the keys of ``MODEL.BACKBONE``.

    Args:
        depth: a key of ``DEPTHS``: the factor of the channels.
        pretrain: load ImageNet weights from ``pretrain_path``; no public address is known.

    Raises:
        ValueError: a value that is not allowed, or ``pretrain`` without a path.
    """
    require_choice("MODEL.BACKBONE.DEPTH of build_shufflenetv2_backbone", depth, DEPTHS)
    model = ShuffleNetV2(DEPTHS[depth], norm, in_channels)
    if pretrain:
        load_pretrained(model, pretrain_path or pretrained_url("build_shufflenetv2_backbone", depth))
    return model
