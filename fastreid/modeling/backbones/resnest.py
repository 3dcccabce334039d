"""ResNeSt (Zhang et al., CVPR Workshops 2022): timm's network, whose parameter names are fast-reid's.

timm and fast-reid keep the resolution of the last stage by different means: timm blurs its shortcut and leaves out the
pooling of its first block. ``keep_resolution`` therefore changes a network of the ordinary strides as fast-reid does.
"""

from timm.models.resnest import ResNestBottleneck
from timm.models.resnet import ResNet as TimmResNet
from torch import nn

from fastreid.layers import get_norm
from fastreid.modeling.backbones.build import BACKBONE_REGISTRY
from fastreid.modeling.backbones.pretrained import load_pretrained
from fastreid.modeling.backbones.pretrained_urls import pretrained_url
from fastreid.utils.errors import require_choice

# depth: blocks per stage, channels of the stem's first convolutions
DEPTHS = {
    "50x": ((3, 4, 6, 3), 32),
    "101x": ((3, 4, 23, 3), 64),
    "200x": ((3, 24, 36, 3), 64),
    "269x": ((3, 30, 48, 8), 64),
}


class ResNeSt(TimmResNet):
    """(B, in_channels, H, W) -> (B, 2048, H / 16, W / 16) with ``last_stride`` 1, else H / 32.

    Args:
        layers: blocks of the four stages.
        stem_width: channels of the first two of the stem's three convolutions; the third has twice as many.
        bn_norm: name or callable for ``get_norm``.
    """

    def __init__(self, layers: tuple[int, ...], stem_width: int, last_stride=1, bn_norm="BN", in_channels: int = 3):
        super().__init__(
            ResNestBottleneck, layers, num_classes=0, global_pool="", in_chans=in_channels, stem_type="deep",
            stem_width=stem_width, avg_down=True, base_width=64, cardinality=1, zero_init_last=False,
            norm_layer=lambda channels, **_: get_norm(bn_norm, channels),
            block_args={"radix": 2, "avd": True, "avd_first": False},
        )  # fmt: skip
        self.feature_dim = self.num_features
        self.relu = self.act1  # by this name MGN takes the parts of a ResNet
        if last_stride == 1:
            keep_resolution(self.layer4)


def keep_resolution(stage: nn.Sequential) -> None:
    """Take the stride of 2 from ``stage`` and dilate the convolutions after its first block instead."""
    first, *others = stage
    first.avd_last = nn.AvgPool2d(3, stride=1, padding=1)
    first.downsample[0] = nn.Identity()
    for block in others:
        block.conv2.conv.dilation = block.conv2.conv.padding = (2, 2)


@BACKBONE_REGISTRY.register(node="MODEL.BACKBONE")
def build_resnest_backbone(
    depth: str = "50x", last_stride: int = 1, norm: str = "BN", pretrain: bool = False, pretrain_path: str = "",
    *, in_channels: int = 3,
) -> ResNeSt:  # fmt: skip
    """Build a ResNeSt from the keys of ``MODEL.BACKBONE``.

    Args:
        depth: a key of ``DEPTHS``.
        pretrain: load ImageNet weights from ``pretrain_path`` or, where that is empty, from the public address.

    Raises:
        ValueError: a value that is not allowed.
        ConnectionError: the pretrained weights cannot be downloaded.
    """
    require_choice("MODEL.BACKBONE.DEPTH of build_resnest_backbone", depth, DEPTHS)
    require_choice("MODEL.BACKBONE.LAST_STRIDE", last_stride, (1, 2))
    model = ResNeSt(*DEPTHS[depth], last_stride, norm, in_channels)
    if pretrain:
        load_pretrained(model, pretrain_path or pretrained_url("build_resnest_backbone", depth))
    return model
