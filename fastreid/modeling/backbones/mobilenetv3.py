"""MobileNetV3 (Howard et al., ICCV 2019): timm's network and fast-reid's last convolution, under fast-reid's names."""

import timm
import torch
from torch import nn

from fastreid.layers import get_norm
from fastreid.modeling.backbones.build import BACKBONE_REGISTRY
from fastreid.modeling.backbones.pretrained import load_pretrained
from fastreid.modeling.backbones.pretrained_urls import pretrained_url
from fastreid.modeling.backbones.timm_adapter import TimmBackbone, numbered_blocks, residual_parts
from fastreid.utils.errors import require_choice

# depth: (name in timm, output channels)
DEPTHS = {"Large": ("mobilenetv3_large_100", 1280), "Small": ("mobilenetv3_small_100", 1024)}


class MobileNetV3(TimmBackbone):
    """timm's network up to its last convolution on a feature map, and one more (``conv``, with norm and ReLU6).

    The published network applies that convolution after the pooling, without a norm.
    """

    def __init__(self, net: nn.Module, norm: str, feature_dim: int):
        net.conv_head = nn.Identity()
        super().__init__(net, norm, _paths(net))
        convolution = nn.Conv2d(net.num_features, feature_dim, 1, bias=False)
        nn.init.kaiming_normal_(convolution.weight, mode="fan_out")
        self.conv = nn.Sequential(convolution, get_norm(norm, feature_dim), nn.ReLU6(inplace=True))
        self.feature_dim = feature_dim

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(super().forward(x))


@BACKBONE_REGISTRY.register(node="MODEL.BACKBONE")
def build_mobilenetv3_backbone(
    norm: str = "BN", pretrain: bool = False, pretrain_path: str = "", *, depth: str, in_channels: int = 3
) -> MobileNetV3:
    """Build a MobileNetV3 with 1280 ("Large") or 1024 ("Small") output channels at 1 / 32 of the input size.

    Raises:
        ValueError: unknown ``depth``.
        ConnectionError: the pretrained weights cannot be downloaded.
    """
    require_choice("MODEL.BACKBONE.DEPTH of build_mobilenetv3_backbone", depth, DEPTHS)
    name, feature_dim = DEPTHS[depth]
    net = timm.create_model(name, num_classes=0, in_chans=in_channels, global_pool="")
    backbone = MobileNetV3(net, norm, feature_dim)
    if pretrain:
        load_pretrained(backbone, pretrain_path or pretrained_url("build_mobilenetv3_backbone", depth))
    return backbone


def _paths(net: nn.Module) -> dict[str, str]:
    paths = {"conv_stem": "features.0.0", "bn1": "features.0.1"}
    blocks = list(numbered_blocks(net))
    for number, (path, block) in enumerate(blocks[:-1], start=1):
        parts = residual_parts(block)
        has_se = not isinstance(block.se, nn.Identity)
        for place, (convolution, norm) in enumerate(parts):
            # squeeze-and-excitation takes the place before the projection
            place += has_se and place == len(parts) - 1
            paths[f"{path}.{convolution}"] = f"features.{number}.block.{place}.0"
            paths[f"{path}.{norm}"] = f"features.{number}.block.{place}.1"
        paths[f"{path}.se.conv_reduce"] = f"features.{number}.block.{len(parts) - 1}.fc1"
        paths[f"{path}.se.conv_expand"] = f"features.{number}.block.{len(parts) - 1}.fc2"
    last, number = blocks[-1][0], len(blocks)
    return {**paths, f"{last}.conv": f"features.{number}.0", f"{last}.bn1": f"features.{number}.1"}
