"""Backbones: networks that turn an image into a feature map."""

from fastreid.modeling.backbones.build import BACKBONE_REGISTRY, build_backbone
from fastreid.modeling.backbones.osnet import build_osnet_backbone
from fastreid.modeling.backbones.resnest import build_resnest_backbone
from fastreid.modeling.backbones.resnet import build_resnet_backbone
from fastreid.modeling.backbones.resnext import build_resnext_backbone
from fastreid.modeling.backbones.shufflenet import build_shufflenetv2_backbone

__all__ = [
    "BACKBONE_REGISTRY",
    "build_backbone",
    "build_osnet_backbone",
    "build_resnest_backbone",
    "build_resnet_backbone",
    "build_resnext_backbone",
    "build_shufflenetv2_backbone",
]
