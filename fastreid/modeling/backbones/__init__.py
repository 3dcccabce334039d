"""Backbones: networks that turn an image into a feature map."""

from fastreid.modeling.backbones.build import BACKBONE_REGISTRY, build_backbone
from fastreid.modeling.backbones.resnet import build_resnet_backbone

__all__ = ["BACKBONE_REGISTRY", "build_backbone", "build_resnet_backbone"]
