"""RegNet X and Y (Radosavovic et al., CVPR 2020): timm's network under the names that fast-reid took from pycls."""

import timm
from torch import nn

from fastreid.modeling.backbones.build import BACKBONE_REGISTRY
from fastreid.modeling.backbones.pretrained import load_pretrained
from fastreid.modeling.backbones.pretrained_urls import pretrained_url
from fastreid.modeling.backbones.timm_adapter import TimmBackbone, set_stride
from fastreid.utils.errors import require_choice

# millions of multiply-adds; fast-reid ships settings of 600, 8000 and above, but its builder does not know them
SIZES = (200, 400, 600, 800, 1600, 3200, 4000, 6400, 8000, 12000, 16000, 32000)
# "800x" or "800y" (with squeeze-and-excitation): name in timm
DEPTHS = {f"{size}{kind}": f"regnet{kind}_{size // 100:03d}" for kind in "xy" for size in SIZES}
# part of a block in timm: in fast-reid
PARTS = {
    "conv1.conv": "f.a",
    "conv1.bn": "f.a_bn",
    "conv2.conv": "f.b",
    "conv2.bn": "f.b_bn",
    "conv3.conv": "f.c",
    "conv3.bn": "f.c_bn",
    "se.fc1": "f.se.f_ex.0",
    "se.fc2": "f.se.f_ex.2",
    "downsample.conv": "proj",
    "downsample.bn": "bn",
}


@BACKBONE_REGISTRY.register(node="MODEL.BACKBONE")
def build_regnet_backbone(
    last_stride: int = 1, norm: str = "BN", pretrain: bool = False, pretrain_path: str = "", *,
    depth: str, in_channels: int = 3,
) -> TimmBackbone:
    """Build a RegNet; its output is 1 / 16 of the input size with ``last_stride`` 1, else 1 / 32.

    Args:
        depth: a key of ``DEPTHS``.

    Raises:
        ValueError: unknown ``depth``.
        ConnectionError: the pretrained weights cannot be downloaded.
    """
    require_choice("MODEL.BACKBONE.DEPTH of build_regnet_backbone", depth, DEPTHS)
    require_choice("MODEL.BACKBONE.LAST_STRIDE", last_stride, (1, 2))
    net = timm.create_model(DEPTHS[depth], num_classes=0, in_chans=in_channels, global_pool="")
    set_stride(last_stride, net.s4.b1.conv2.conv, net.s4.b1.downsample.conv)
    backbone = TimmBackbone(net, norm, _paths(net))
    if pretrain:
        load_pretrained(backbone, pretrain_path or pretrained_url("build_regnet_backbone", depth))
    return backbone


def _paths(net: nn.Module) -> dict[str, str]:
    blocks = [f"s{stage}.{name}" for stage in range(1, 5) for name, _ in getattr(net, f"s{stage}").named_children()]
    return {f"{block}.{part}": f"{block}.{name}" for block in blocks for part, name in PARTS.items()}
