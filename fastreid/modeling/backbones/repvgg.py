"""RepVGG (Ding et al., CVPR 2021): three branches in training, one convolution afterwards.

Own code, because timm's re-parameterisation reads its own fused norm layers (so that ``NORM`` could not be honoured)
and its table lacks half of the group-wise variants. timm's parameter names are understood on load.
"""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import nn

from fastreid.layers import get_norm
from fastreid.modeling.backbones.build import BACKBONE_REGISTRY
from fastreid.modeling.backbones.naming import Names
from fastreid.modeling.backbones.pretrained import load_pretrained
from fastreid.modeling.backbones.pretrained_urls import pretrained_url
from fastreid.utils.errors import require_choice

# letter and width: (blocks of the four stages, factors of their widths 64, 128, 256 and 512) (Table 2 of the paper)
A, B = (2, 4, 14, 1), (4, 6, 16, 1)
SIZES = {
    "A0": (A, (0.75, 0.75, 0.75, 2.5)),
    "A1": (A, (1, 1, 1, 2.5)),
    "A2": (A, (1.5, 1.5, 1.5, 2.75)),
    "B0": (B, (1, 1, 1, 2.5)),
    "B1": (B, (2, 2, 2, 4)),
    "B2": (B, (2.5, 2.5, 2.5, 5)),
    "B3": (B, (3, 3, 3, 5)),
}
# depth: (size, groups of every second convolution)
DEPTHS = {size: (size, 1) for size in SIZES} | {f"{s}g{g}": (s, g) for s in ("B1", "B2", "B3") for g in (2, 4)}


class RepVGGBlock(nn.Module):
    """ReLU of the sum of a 3 x 3 convolution, a 1 x 1 convolution and, where shapes agree, the input, each with a norm.

    Args:
        groups: of both convolutions.
    """

    def __init__(self, inplanes: int, planes: int, norm: str | Callable, stride: int = 1, groups: int = 1):
        super().__init__()
        self.stride, self.groups, self.deploying = stride, groups, False
        same = inplanes == planes and stride == 1
        self.rbr_identity = get_norm(norm, inplanes) if same else None
        self.rbr_dense = _conv_norm(inplanes, planes, 3, stride, groups, norm)
        self.rbr_1x1 = _conv_norm(inplanes, planes, 1, stride, groups, norm)
        self.register_parameter("fused_weight", None)
        self.register_parameter("fused_bias", None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.deploying:
            return F.relu(F.conv2d(x, self.fused_weight, self.fused_bias, self.stride, 1, 1, self.groups))
        out = self.rbr_dense(x) + self.rbr_1x1(x)
        return F.relu(out if self.rbr_identity is None else out + self.rbr_identity(x))

    @torch.no_grad()
    def fuse(self) -> None:
        """Replace the branches by one convolution that computes what they compute in evaluation mode (section 3.3).

        Raises:
            TypeError: a norm without running statistics.
        """
        if self.deploying:
            return
        weight, bias = _fold(self.rbr_dense.conv.weight, self.rbr_dense.bn)
        pointwise, pointwise_bias = _fold(F.pad(self.rbr_1x1.conv.weight, [1, 1, 1, 1]), self.rbr_1x1.bn)
        weight, bias = weight + pointwise, bias + pointwise_bias
        if self.rbr_identity is not None:
            identity, identity_bias = _fold(nn.init.dirac_(torch.empty_like(weight), self.groups), self.rbr_identity)
            weight, bias = weight + identity, bias + identity_bias
        self.fused_weight, self.fused_bias = nn.Parameter(weight.float()), nn.Parameter(bias.float())
        del self.rbr_identity, self.rbr_dense, self.rbr_1x1
        self.deploying = True


def _conv_norm(inplanes, planes, kernel, stride, groups, norm) -> nn.Sequential:
    layers = nn.Sequential()
    layers.add_module("conv", nn.Conv2d(inplanes, planes, kernel, stride, kernel // 2, groups=groups, bias=False))
    layers.add_module("bn", get_norm(norm, planes))
    return layers


def _fold(weight: torch.Tensor, norm: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias, float64, of the convolution that equals ``weight`` followed by ``norm`` in evaluation mode."""
    if getattr(norm, "running_mean", None) is None:
        raise TypeError(f"RepVGG can be deployed with batch norms only, not with {type(norm).__name__}")
    mean, variance, scale, shift = (t.double() for t in (norm.running_mean, norm.running_var, norm.weight, norm.bias))
    scale = scale / (variance + norm.eps).sqrt()
    return weight.double() * scale[:, None, None, None], shift - mean * scale


class RepVGG(nn.Module):
    """(B, in_channels, H, W) -> (B, ``feature_dim``, H / 16, W / 16) with ``last_stride`` 1, else H / 32.

    Args:
        blocks, widths: blocks and output channels of the four stages.
        groups: of the convolutions of every second block.
    """

    def __init__(self, blocks, widths, groups: int = 1, norm="BN", last_stride: int = 1, in_channels: int = 3):
        super().__init__()
        self.deploying = False
        self.feature_dim = widths[-1]
        planes, index = min(64, widths[0]), 0
        self.stage0 = RepVGGBlock(in_channels, planes, norm, 2)
        for stage, (depth, width) in enumerate(zip(blocks, widths, strict=True), start=1):
            layers = nn.Sequential()
            for place in range(depth):
                index += 1
                stride = 1 if place else (last_stride if stage == 4 else 2)
                layers.append(RepVGGBlock(planes, width, norm, stride, 1 if index % 2 else groups))
                planes = width
            setattr(self, f"stage{stage}", layers)
        self.names = Names({}, _paths_in_timm(self))
        self.names.attach(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for stage in (self.stage0, self.stage1, self.stage2, self.stage3, self.stage4):
            x = stage(x)
        return x

    def deploy(self, mode: bool = True) -> None:
        """Fuse the branches of every block (``mode`` True); parameters are then ``fused_weight`` and ``fused_bias``.

        Raises:
            ValueError: ``mode`` is False, but the branches are gone.
            TypeError: a norm other than batch norm.
        """
        if not mode and self.deploying:
            raise ValueError("RepVGG.deploy(False): fused branches cannot be separated; load the training checkpoint")
        for block in [block for block in self.modules() if mode and isinstance(block, RepVGGBlock)]:
            block.fuse()
        self.deploying = mode

    def adapt_weights(self, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Give pretrained weights with timm's names those of ``state_dict``."""
        return self.names.to_public(self, weights)


def _paths_in_timm(net: RepVGG) -> dict[str, str]:
    branches = {"rbr_identity": "identity", "rbr_dense": "conv_kxk", "rbr_1x1": "conv_1x1"}
    paths = {}
    for path, _ in net.named_modules():
        stage, *rest = path.split(".")
        if stage:
            first = ["stem"] if stage == "stage0" else ["stages", str(int(stage[-1]) - 1)]
            paths[path] = ".".join(first + [branches.get(part, part) for part in rest])
    return paths


@BACKBONE_REGISTRY.register(node="MODEL.BACKBONE")
def build_repvgg_backbone(
    last_stride: int = 1, norm: str = "BN", pretrain: bool = False, pretrain_path: str = "", *,
    depth: str, in_channels: int = 3,
) -> RepVGG:
    """Build a RepVGG; call its ``deploy(True)`` after training.

    Args:
        depth: a key of ``DEPTHS``; "g2" and "g4" have 2 or 4 groups in every second convolution.

    Raises:
        ValueError: unknown ``depth``, or no pretrained weights are known for it.
        ConnectionError: the pretrained weights cannot be downloaded.
    """
    require_choice("MODEL.BACKBONE.DEPTH of build_repvgg_backbone", depth, DEPTHS)
    require_choice("MODEL.BACKBONE.LAST_STRIDE", last_stride, (1, 2))
    size, groups = DEPTHS[depth]
    blocks, factors = SIZES[size]
    widths = [int(width * factor) for width, factor in zip((64, 128, 256, 512), factors, strict=True)]
    backbone = RepVGG(blocks, widths, groups, norm, last_stride, in_channels)
    if pretrain:
        load_pretrained(backbone, pretrain_path or pretrained_url("build_repvgg_backbone", depth))
    return backbone
