"""OSNet (Zhou et al., ICCV 2019): streams of several receptive fields, mixed by a gate that they share."""

from collections.abc import Callable, Sequence

import torch
from torch import nn

from fastreid.layers import get_norm
from fastreid.modeling.backbones.build import BACKBONE_REGISTRY
from fastreid.modeling.backbones.pretrained import load_pretrained
from fastreid.modeling.backbones.pretrained_urls import pretrained_url
from fastreid.utils.errors import require_choice

# depth: channels of the stem and of the three stages
DEPTHS = {
    "x1_0": (64, 256, 384, 512),
    "x0_75": (48, 192, 288, 384),
    "x0_5": (32, 128, 192, 256),
    "x0_25": (16, 64, 96, 128),
}


class ConvLayer(nn.Module):
    """Convolution that keeps the size up to its stride, norm, and ReLU unless ``linear``."""

    def __init__(
        self, inplanes: int, planes: int, kernel: int, norm: nn.Module, stride: int = 1, linear: bool = False
    ):
        super().__init__()
        self.conv = nn.Conv2d(inplanes, planes, kernel, stride, padding=kernel // 2, bias=False)
        self.bn = norm
        self.relu = nn.Identity() if linear else nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(self.bn(self.conv(x)))


class LightConv3x3(nn.Module):
    """Lite 3 x 3 convolution: 1 x 1, then depthwise 3 x 3 (eq. 1-2 of the paper), norm, ReLU."""

    def __init__(self, planes: int, bn_norm: str | Callable):
        super().__init__()
        self.conv1 = nn.Conv2d(planes, planes, 1, bias=False)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, groups=planes, bias=False)
        self.bn = get_norm(bn_norm, planes)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(self.bn(self.conv2(self.conv1(x))))


class ChannelGate(nn.Module):
    """Aggregation gate: scale each channel by a sigmoid computed from the means of all channels (eq. 4)."""

    def __init__(self, planes: int, reduction: int = 16):
        super().__init__()
        self.fc1 = nn.Conv2d(planes, planes // reduction, 1)
        self.relu = nn.ReLU(inplace=True)
        self.fc2 = nn.Conv2d(planes // reduction, planes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.fc2(self.relu(self.fc1(x.mean(dim=(2, 3), keepdim=True)))).sigmoid()


class OSBlock(nn.Module):
    """Bottleneck with four streams of one to four lite convolutions (receptive fields 3, 5, 7, 9).

    Args:
        inplanes, planes: input and output channels; the streams have ``planes // 4``.
        with_in: instance norm after the residual sum.
    """

    def __init__(self, inplanes: int, planes: int, bn_norm: str | Callable = "BN", with_in: bool = False):
        super().__init__()
        inner = planes // 4
        self.conv1 = ConvLayer(inplanes, inner, 1, get_norm(bn_norm, inner))
        self.conv2a = LightConv3x3(inner, bn_norm)
        self.conv2b, self.conv2c, self.conv2d = (
            nn.Sequential(*(LightConv3x3(inner, bn_norm) for _ in range(depth))) for depth in (2, 3, 4)
        )
        self.gate = ChannelGate(inner)
        self.conv3 = ConvLayer(inner, planes, 1, get_norm(bn_norm, planes), linear=True)
        self.downsample = nn.Identity()
        if inplanes != planes:
            self.downsample = ConvLayer(inplanes, planes, 1, get_norm(bn_norm, planes), linear=True)
        self.IN = nn.InstanceNorm2d(planes, affine=True) if with_in else nn.Identity()
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = self.conv1(x)
        mixed = sum(self.gate(stream(inner)) for stream in (self.conv2a, self.conv2b, self.conv2c, self.conv2d))
        return self.relu(self.IN(self.conv3(mixed) + self.downsample(x)))


class OSNet(nn.Module):
    """(B, in_channels, H, W) -> (B, ``feature_dim``, H / 16, W / 16).

    Args:
        channels: of the stem and the three stages of two blocks each; the last is ``feature_dim``.
        with_ibn: instance norm in the stem and in the blocks of the first stage (OSNet-IBN).
    """

    def __init__(
        self, channels: Sequence[int], bn_norm: str | Callable = "BN", with_ibn: bool = False, in_channels: int = 3
    ):
        super().__init__()
        stem, first, second, third = channels
        self.feature_dim = third
        stem_norm = nn.InstanceNorm2d(stem, affine=True) if with_ibn else get_norm(bn_norm, stem)
        self.conv1 = ConvLayer(in_channels, stem, 7, stem_norm, stride=2)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.conv2 = nn.Sequential(*_blocks(stem, first, bn_norm, with_ibn), _halve(first, bn_norm))
        self.conv3 = nn.Sequential(*_blocks(first, second, bn_norm), _halve(second, bn_norm))
        self.conv4 = nn.Sequential(*_blocks(second, third, bn_norm))
        self.conv5 = ConvLayer(third, third, 1, get_norm(bn_norm, third))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.maxpool(self.conv1(x))
        return self.conv5(self.conv4(self.conv3(self.conv2(x))))


def _blocks(inplanes: int, planes: int, bn_norm: str | Callable, with_in: bool = False) -> tuple[OSBlock, OSBlock]:
    return OSBlock(inplanes, planes, bn_norm, with_in), OSBlock(planes, planes, bn_norm, with_in)


def _halve(planes: int, bn_norm: str | Callable) -> nn.Sequential:
    """Transition between stages: 1 x 1 convolution and 2 x 2 mean."""
    return nn.Sequential(ConvLayer(planes, planes, 1, get_norm(bn_norm, planes)), nn.AvgPool2d(2, stride=2))


@BACKBONE_REGISTRY.register(node="MODEL.BACKBONE")
def build_osnet_backbone(
    norm: str = "BN", with_ibn: bool = False, pretrain: bool = False, pretrain_path: str = "",
    *, depth: str, in_channels: int = 3,
) -> OSNet:  # fmt: skip
    """Build an OSNet from the keys of ``MODEL.BACKBONE``.

    Args:
        depth: a key of ``DEPTHS``: the factor of the channels.
        pretrain: load ImageNet weights from ``pretrain_path`` or, where that is empty, from the public address.

    Raises:
        ValueError: a value that is not allowed.
        ConnectionError: the pretrained weights cannot be downloaded.
    """
    require_choice("MODEL.BACKBONE.DEPTH of build_osnet_backbone", depth, DEPTHS)
    model = OSNet(DEPTHS[depth], norm, with_ibn, in_channels)
    if pretrain:
        variant = f"{depth} IBN" if with_ibn else depth
        load_pretrained(model, pretrain_path or pretrained_url("build_osnet_backbone", variant))
    return model
