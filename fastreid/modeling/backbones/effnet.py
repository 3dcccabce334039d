"""EfficientNet (Tan and Le, ICML 2019): timm's network under the names that fast-reid took from pycls."""

import timm
from torch import nn

from fastreid.modeling.backbones.build import BACKBONE_REGISTRY
from fastreid.modeling.backbones.pretrained import load_pretrained
from fastreid.modeling.backbones.pretrained_urls import pretrained_url
from fastreid.modeling.backbones.timm_adapter import TimmBackbone, numbered_blocks, residual_parts, set_stride
from fastreid.utils.errors import require_choice

DEPTHS = tuple(f"b{size}" for size in range(8))


@BACKBONE_REGISTRY.register(node="MODEL.BACKBONE")
def build_effnet_backbone(
    last_stride: int = 1, norm: str = "BN", pretrain: bool = False, pretrain_path: str = "", *,
    depth: str, in_channels: int = 3,
) -> TimmBackbone:
    """Build an EfficientNet; its output is 1 / 16 of the input size with ``last_stride`` 1, else 1 / 32.

    Args:
        depth: "b0" (1280 output channels) to "b7" (2560).

    Raises:
        ValueError: unknown ``depth``, or no pretrained weights are known for it.
        ConnectionError: the pretrained weights cannot be downloaded.
    """
    require_choice("MODEL.BACKBONE.DEPTH of build_effnet_backbone", depth, DEPTHS)
    require_choice("MODEL.BACKBONE.LAST_STRIDE", last_stride, (1, 2))
    net = timm.create_model(f"efficientnet_{depth}", num_classes=0, in_chans=in_channels, global_pool="")
    set_stride(last_stride, net.blocks[5][0].conv_dw)  # the last of the stages that halve the size
    backbone = TimmBackbone(net, norm, _paths(net))
    if pretrain:
        load_pretrained(backbone, pretrain_path or pretrained_url("build_effnet_backbone", depth))
    return backbone


def _paths(net: nn.Module) -> dict[str, str]:
    paths = {"conv_stem": "stem.conv", "bn1": "stem.bn", "conv_head": "head.conv", "bn2": "head.conv_bn"}
    for path, block in numbered_blocks(net):
        stage, number = (int(digits) + 1 for digits in path.split(".")[1:])
        parts = residual_parts(block)
        for name, (convolution, norm) in zip(("exp", "dwise", "lin_proj")[-len(parts) :], parts, strict=True):
            paths[f"{path}.{convolution}"] = f"s{stage}.b{number}.{name}"
            paths[f"{path}.{norm}"] = f"s{stage}.b{number}.{name}_bn"
        paths[f"{path}.se.conv_reduce"] = f"s{stage}.b{number}.se.f_ex.0"
        paths[f"{path}.se.conv_expand"] = f"s{stage}.b{number}.se.f_ex.2"
    return paths
