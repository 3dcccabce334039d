"""ResNet (He et al., CVPR 2016) with IBN, non-local blocks and squeeze-and-excitation, under fast-reid's names.

``resnext.py`` builds ResNeXt from the same blocks, stages and options.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn

from fastreid.layers import IBN, Non_local, SELayer, get_norm
from fastreid.modeling.backbones.build import BACKBONE_REGISTRY
from fastreid.modeling.backbones.pretrained import load_pretrained
from fastreid.modeling.backbones.pretrained_urls import pretrained_url, variant_name
from fastreid.utils.errors import require_choice, require_whole

logger = logging.getLogger(__name__)


class _Block(nn.Module):
    """What both residual blocks share: the sum, IBN-b's norm after it and the activation.

    Args:
        inplanes, planes: input channels; inner channels (the output has ``planes * expansion``).
        bn_norm: name or callable for ``get_norm``.
        ibn: "a" (split first norm; ``True``, fast-reid's flag, means the same), "b" (instance norm after the sum) or
            ``None``.
    """

    expansion = 1

    def __init__(
        self, inplanes: int, planes: int, bn_norm: str | Callable = "BN", ibn: str | bool | None = None,
        with_se: bool = False, stride: int = 1, downsample: nn.Module | None = None, reduction: int = 16,
    ):
        super().__init__()
        width, inner = planes * self.expansion, self._inner(planes)
        first_norm = IBN(inner, bn_norm) if ibn in ("a", True) else get_norm(bn_norm, inner)
        self._build_convs(inplanes, planes, bn_norm, first_norm, stride)
        self.relu = nn.ReLU(inplace=True)
        self.se = SELayer(width, reduction) if with_se else nn.Identity()
        self.IN = nn.InstanceNorm2d(width, affine=True) if ibn == "b" else nn.Identity()
        self.downsample = downsample if downsample is not None else nn.Identity()

    def _inner(self, planes: int) -> int:
        """Channels between the block's convolutions."""
        return planes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(self.IN(self.se(self._residual(x)) + self.downsample(x)))


class BasicBlock(_Block):
    """Two 3 x 3 convolutions (ResNet-18 and 34)."""

    def _build_convs(self, inplanes, planes, bn_norm, first_norm, stride):
        self.conv1 = nn.Conv2d(inplanes, planes, 3, stride, padding=1, bias=False)
        self.bn1 = first_norm
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = get_norm(bn_norm, planes)

    def _residual(self, x):
        return self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))


class Bottleneck(_Block):
    """1 x 1, 3 x 3 (with the stride) and 1 x 1 convolutions (ResNet-50 and deeper).

    The 3 x 3 convolution has ``groups`` groups, each of ``group_width`` channels in a network's first stage.
    """

    expansion = 4
    groups, group_width = 1, 64

    def _inner(self, planes):
        return planes * self.group_width // 64 * self.groups

    def _build_convs(self, inplanes, planes, bn_norm, first_norm, stride):
        inner = self._inner(planes)
        self.conv1 = nn.Conv2d(inplanes, inner, 1, bias=False)
        self.bn1 = first_norm
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, padding=1, groups=self.groups, bias=False)
        self.bn2 = get_norm(bn_norm, inner)
        self.conv3 = nn.Conv2d(inner, planes * self.expansion, 1, bias=False)
        self.bn3 = get_norm(bn_norm, planes * self.expansion)

    def _residual(self, x):
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        return self.bn3(self.conv3(x))


class ResNet(nn.Module):
    """(B, in_channels, H, W) -> (B, ``feature_dim``, H / 16, W / 16) with ``last_stride`` 1, else H / 32.

    Args:
        block: ``BasicBlock`` or ``Bottleneck``.
        layers: blocks of the four stages.
        last_stride: stride of the fourth stage.
        ibn: ``None``, "a" or "b". IBN-a splits the first norm of each block in the first ``ibn_a_stages`` stages; IBN-b
            puts an instance norm into the stem and after the last block of stages 1 and 2, as the authors' released
            networks have it.
        non_layers: non-local blocks of the four stages, each after one of the stage's last blocks.
        nl_channels: their inner channels.
        width: channels of the stem and inner channels of the first stage; each later stage doubles them.
    """

    ibn_a_stages = 3
    # fast-reid pools without padding and rounds up; sizes are those of the usual stem
    stem_pooling: Mapping = {"ceil_mode": True}

    def __init__(
        self, block: type[_Block], layers: Sequence[int], last_stride: int = 1, bn_norm: str | Callable = "BN",
        ibn: str | None = None, with_se: bool = False, non_layers: Sequence[int] = (0, 0, 0, 0),
        nl_channels: int = 1, in_channels: int = 3, width: int = 64,
    ):
        super().__init__()
        stages = [width, 2 * width, 4 * width, 8 * width]
        self.feature_dim = stages[-1] * block.expansion
        self.conv1 = nn.Conv2d(in_channels, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.InstanceNorm2d(width, affine=True) if ibn == "b" else get_norm(bn_norm, width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, **self.stem_pooling)
        inplanes = width
        for stage, (planes, depth) in enumerate(zip(stages, layers, strict=True), start=1):
            stride = (1, 2, 2, last_stride)[stage - 1]
            kinds = self._ibn_of_stage(ibn, stage, depth)
            setattr(self, f"layer{stage}", _make_stage(block, inplanes, planes, kinds, stride, bn_norm, with_se))
            inplanes = planes * block.expansion
        for stage, count in enumerate(non_layers, start=1):
            channels = stages[stage - 1] * block.expansion
            blocks = [Non_local(channels, bn_norm, inter_channels=nl_channels) for _ in range(count)]
            setattr(self, f"NL_{stage}", nn.ModuleList(blocks))
        self._init_weights()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for stage in range(1, 5):
            blocks, non_locals = getattr(self, f"layer{stage}"), getattr(self, f"NL_{stage}")
            first = len(blocks) - len(non_locals)
            for index, block in enumerate(blocks):
                x = block(x)
                if index >= first:
                    x = non_locals[index - first](x)
        return x

    def _init_weights(self) -> None:
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d) and not name.startswith("NL_"):
                fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
                nn.init.normal_(module.weight, std=math.sqrt(2.0 / fan_out))

    def _ibn_of_stage(self, ibn: str | None, stage: int, depth: int) -> list[str | None]:
        """The kind of each block of a stage."""
        if ibn == "a" and stage <= self.ibn_a_stages:
            return ["a"] * depth
        if ibn == "b" and stage <= 2:
            return [None] * (depth - 1) + ["b"]
        return [None] * depth


def _make_stage(block, inplanes, planes, kinds, stride, bn_norm, with_se) -> nn.Sequential:
    width = planes * block.expansion
    shortcut = None
    if stride != 1 or inplanes != width:
        convolution = nn.Conv2d(inplanes, width, 1, stride, bias=False)
        shortcut = nn.Sequential(convolution, get_norm(bn_norm, width))
    blocks = [block(inplanes, planes, bn_norm, kinds[0], with_se, stride, shortcut)]
    blocks += [block(width, planes, bn_norm, kind, with_se) for kind in kinds[1:]]
    return nn.Sequential(*blocks)


# depth: (block, blocks per stage, non-local blocks per stage). fast-reid has none for 18x and 34x, and its checkpoints
# of these depths with WITH_NL True must fit; 10x and 152x are ours.
DEPTHS = {
    "10x": (BasicBlock, (1, 1, 1, 1), (0, 1, 1, 0)),
    "18x": (BasicBlock, (2, 2, 2, 2), (0, 0, 0, 0)),
    "34x": (BasicBlock, (3, 4, 6, 3), (0, 0, 0, 0)),
    "50x": (Bottleneck, (3, 4, 6, 3), (0, 2, 3, 0)),
    "101x": (Bottleneck, (3, 4, 23, 3), (0, 2, 9, 0)),
    "152x": (Bottleneck, (3, 8, 36, 3), (0, 2, 9, 0)),
}


@BACKBONE_REGISTRY.register(node="MODEL.BACKBONE")
def build_resnet_backbone(
    depth: str = "50x", last_stride: int = 1, norm: str = "BN", with_ibn: bool = False, ibn_type: str = "a",
    with_se: bool = False, with_nl: bool = False, nl_channels: int = 1, nl_layers: Sequence[int] = (),
    width: int = 64, pretrain: bool = False, pretrain_path: str = "", *, in_channels: int = 3,
) -> ResNet:
    """Build a ResNet from the keys of ``MODEL.BACKBONE``; the arguments are those of ``build_family``.

    Raises:
        ValueError: a value that is not allowed.
        ConnectionError: the pretrained weights cannot be downloaded.
    """
    return build_family(
        "build_resnet_backbone", ResNet, DEPTHS, depth=depth, last_stride=last_stride, norm=norm,
        with_ibn=with_ibn, ibn_type=ibn_type, with_se=with_se, with_nl=with_nl, nl_channels=nl_channels,
        nl_layers=nl_layers, width=width, pretrain=pretrain, pretrain_path=pretrain_path, in_channels=in_channels,
    )  # fmt: skip


def build_family(
    name: str, network: type[ResNet], depths: Mapping[str, tuple], *, depth: str, last_stride: int, norm: str,
    with_ibn: bool, ibn_type: str, with_nl: bool, nl_channels: int, nl_layers: Sequence[int], pretrain: bool,
    pretrain_path: str, in_channels: int, with_se: bool = False, width: int = 64,
) -> ResNet:  # fmt: skip
    """Build a member of the ResNet family.

    Args:
        name: the backbone's name in the registry, for messages and public weights.
        network: ``ResNet`` or a class derived from it.
        depths: for each depth (block, blocks per stage, non-local blocks per stage).
        depth: a key of ``depths``.
        nl_layers: non-local blocks of the four stages where ``with_nl``; empty: the row of ``depths``.
        width: channels of the first stage; 64 is the standard network, 32 a quarter of its cost.
        pretrain: load ImageNet weights from ``pretrain_path`` or, where that is empty, from the public address.
    """
    require_choice(f"MODEL.BACKBONE.DEPTH of {name}", depth, depths)
    require_choice("MODEL.BACKBONE.LAST_STRIDE", last_stride, (1, 2))
    require_choice("MODEL.BACKBONE.IBN_TYPE", ibn_type, ("a", "b"))
    require_whole("MODEL.BACKBONE.WIDTH", width, 1)
    require_whole("MODEL.BACKBONE.NL_CHANNELS", nl_channels, 1)
    block, layers, non_layers = depths[depth]
    ibn = ibn_type if with_ibn else None
    non_layers = _check_nl_layers(nl_layers or non_layers, layers) if with_nl else (0, 0, 0, 0)
    if with_nl and not any(non_layers):
        logger.warning("MODEL.BACKBONE.WITH_NL: %s %s has no non-local block; NL_LAYERS adds them", name, depth)
    model = network(block, layers, last_stride, norm, ibn, with_se, non_layers, nl_channels, in_channels, width)
    if pretrain:
        load_pretrained(model, pretrain_path or pretrained_url(name, variant_name(depth, ibn, with_se)))
    return model


def _check_nl_layers(nl_layers: Sequence[int], layers: Sequence[int]) -> tuple[int, ...]:
    if len(nl_layers) != 4 or any(not 0 <= n <= depth for n, depth in zip(nl_layers, layers, strict=False)):
        raise ValueError(
            f"MODEL.BACKBONE.NL_LAYERS must give, for each of the four stages, at most its number of blocks "
            f"{tuple(layers)}; got {nl_layers!r}"
        )
    return tuple(nl_layers)
