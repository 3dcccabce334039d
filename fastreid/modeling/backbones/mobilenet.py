"""MobileNetV2 (Sandler et al., CVPR 2018): timm's network in fast-reid's widths and names."""

from functools import partial

from timm.models._efficientnet_builder import decode_arch_def, round_channels
from timm.models.efficientnet import EfficientNet
from torch import nn

from fastreid.modeling.backbones.build import BACKBONE_REGISTRY
from fastreid.modeling.backbones.pretrained import load_pretrained
from fastreid.modeling.backbones.pretrained_urls import pretrained_url
from fastreid.modeling.backbones.timm_adapter import TimmBackbone, numbered_blocks, residual_parts
from fastreid.utils.errors import require_choice

# depth: (factor of the widths, what widths are multiples of); timm's table knows no multiples of 4
DEPTHS = {f"{width}x": (width, 4 if width == 0.1 else 8) for width in (1.0, 0.75, 0.5, 0.35, 0.25, 0.1)}
# timm's notation: depth-wise separable or inverted residual, repeats, kernel, stride, expansion, width (Table 2)
STAGES = [
    ["ds_r1_k3_s1_c16"],
    ["ir_r2_k3_s2_e6_c24"],
    ["ir_r3_k3_s2_e6_c32"],
    ["ir_r4_k3_s2_e6_c64"],
    ["ir_r3_k3_s1_e6_c96"],
    ["ir_r3_k3_s2_e6_c160"],
    ["ir_r1_k3_s1_e6_c320"],
]


@BACKBONE_REGISTRY.register(node="MODEL.BACKBONE")
def build_mobilenetv2_backbone(
    norm: str = "BN", pretrain: bool = False, pretrain_path: str = "", *, depth: str, in_channels: int = 3
) -> TimmBackbone:
    """Build a MobileNetV2 with 1280 output channels at 1 / 32 of the input size.

    Args:
        depth: a key of ``DEPTHS``.

    Raises:
        ValueError: unknown ``depth``, or no pretrained weights are known for it.
        ConnectionError: the pretrained weights cannot be downloaded.
    """
    require_choice("MODEL.BACKBONE.DEPTH of build_mobilenetv2_backbone", depth, DEPTHS)
    width, divisor = DEPTHS[depth]
    net = EfficientNet(
        decode_arch_def(STAGES), num_classes=0, in_chans=in_channels, act_layer=nn.ReLU6, global_pool="",
        round_chs_fn=partial(round_channels, multiplier=width, divisor=divisor),
    )
    backbone = TimmBackbone(net, norm, _paths(net))
    if pretrain:
        load_pretrained(backbone, pretrain_path or pretrained_url("build_mobilenetv2_backbone", depth))
    return backbone


def _paths(net: EfficientNet) -> dict[str, str]:
    paths = {"conv_stem": "features.0.0", "bn1": "features.0.1", "conv_head": "conv.0", "bn2": "conv.1"}
    for number, (path, block) in enumerate(numbered_blocks(net), start=1):
        for place, (convolution, norm) in enumerate(residual_parts(block)):
            # convolution, norm and activation are three places
            paths[f"{path}.{convolution}"] = f"features.{number}.conv.{3 * place}"
            paths[f"{path}.{norm}"] = f"features.{number}.conv.{3 * place + 1}"
    return paths
