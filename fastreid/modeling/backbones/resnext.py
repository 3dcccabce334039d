"""ResNeXt (Xie et al., CVPR 2017): the ResNet of this package with grouped 3 x 3 convolutions, 32 groups of 4."""

from collections.abc import Mapping, Sequence

from fastreid.modeling.backbones.build import BACKBONE_REGISTRY
from fastreid.modeling.backbones.resnet import Bottleneck, ResNet, build_family


class ResNeXtBottleneck(Bottleneck):
    """A bottleneck whose 3 x 3 convolution has 32 groups of 4 channels (8, 16, 32 in the later stages)."""

    groups, group_width = 32, 4


class ResNeXt(ResNet):
    """A ``ResNet`` as fast-reid's ResNeXt is: the usual padded pooling in the stem, and IBN-a in all four stages.

    The public ResNeXt-IBN weights have none in the fourth; loading them names its first norms as not fitting.
    """

    ibn_a_stages = 4
    stem_pooling: Mapping = {"padding": 1}


# fast-reid names 152x but cannot build it
DEPTHS = {
    "50x": (ResNeXtBottleneck, (3, 4, 6, 3), (0, 2, 3, 0)),
    "101x": (ResNeXtBottleneck, (3, 4, 23, 3), (0, 2, 3, 0)),
    "152x": (ResNeXtBottleneck, (3, 8, 36, 3), (0, 2, 3, 0)),
}


@BACKBONE_REGISTRY.register(node="MODEL.BACKBONE")
def build_resnext_backbone(
    depth: str = "50x", last_stride: int = 1, norm: str = "BN", with_ibn: bool = False, ibn_type: str = "a",
    with_nl: bool = False, nl_channels: int = 1, nl_layers: Sequence[int] = (), pretrain: bool = False,
    pretrain_path: str = "", *, in_channels: int = 3,
) -> ResNeXt:
    """Build a ResNeXt from the keys of ``MODEL.BACKBONE``; the arguments are those of ``resnet.build_family``.

    Raises:
        ValueError: a value that is not allowed.
        ConnectionError: the pretrained weights cannot be downloaded.
    """
    return build_family(
        "build_resnext_backbone", ResNeXt, DEPTHS, depth=depth, last_stride=last_stride, norm=norm,
        with_ibn=with_ibn, ibn_type=ibn_type, with_nl=with_nl, nl_channels=nl_channels, nl_layers=nl_layers,
        pretrain=pretrain, pretrain_path=pretrain_path, in_channels=in_channels,
    )  # fmt: skip
