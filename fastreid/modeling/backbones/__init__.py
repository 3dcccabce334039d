"""Backbones: networks that turn an image into a feature map."""

from fastreid.modeling.backbones.build import BACKBONE_REGISTRY, build_backbone
from fastreid.modeling.backbones.effnet import build_effnet_backbone
from fastreid.modeling.backbones.mobilenet import build_mobilenetv2_backbone
from fastreid.modeling.backbones.mobilenetv3 import build_mobilenetv3_backbone
from fastreid.modeling.backbones.osnet import build_osnet_backbone
from fastreid.modeling.backbones.regnet import build_regnet_backbone
from fastreid.modeling.backbones.repvgg import build_repvgg_backbone
from fastreid.modeling.backbones.resnest import build_resnest_backbone
from fastreid.modeling.backbones.resnet import build_resnet_backbone
from fastreid.modeling.backbones.resnext import build_resnext_backbone
from fastreid.modeling.backbones.shufflenet import build_shufflenetv2_backbone
from fastreid.modeling.backbones.timm_backbone import build_timm_backbone
from fastreid.modeling.backbones.vision_transformer import build_vit_backbone

__all__ = [
    "BACKBONE_REGISTRY",
    "build_backbone",
    "build_effnet_backbone",
    "build_mobilenetv2_backbone",
    "build_mobilenetv3_backbone",
    "build_osnet_backbone",
    "build_regnet_backbone",
    "build_repvgg_backbone",
    "build_resnest_backbone",
    "build_resnet_backbone",
    "build_resnext_backbone",
    "build_shufflenetv2_backbone",
    "build_timm_backbone",
    "build_vit_backbone",
]
