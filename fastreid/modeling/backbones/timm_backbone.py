"""Any network of timm by its name: feature map, width, size of the input and stride of the last stage."""

import logging
import math
from collections.abc import Sequence

import timm
import torch
import torch.nn.functional as F
from torch import nn

from fastreid.modeling.backbones.build import BACKBONE_REGISTRY
from fastreid.modeling.backbones.pretrained import create_timm, load_pretrained
from fastreid.modeling.backbones.timm_adapter import TimmBackbone, replace_norms, set_stride

logger = logging.getLogger(__name__)


class AnyTimmBackbone(TimmBackbone):
    """(B, C, H, W) -> (B, ``feature_dim``, h, w), whatever the network gives: maps, maps with channels last, tokens.

    Class and register tokens are dropped.

    Args:
        stages: numbers of timm's ``feature_info`` (``forward_intermediates``; of transformers the blocks) whose maps
            stand side by side as channels, -1 the last. The smaller ones are repeated up to the size of the largest, so
            that any global pooling gives what it would of each map alone. Empty: the last map of the network.
    """

    def __init__(self, net: nn.Module, norm: str | None = None, stages: Sequence[int] = ()):
        super().__init__(net if norm is None else replace_norms(net, norm, keep_eps=True), norm=None)
        self.stages = list(stages)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.stages:
            maps = self.net.forward_intermediates(x, indices=self.stages, intermediates_only=True)
            size = max((each.shape[-2:] for each in maps), key=math.prod)
            return torch.cat([F.interpolate(each, size) if each.shape[-2:] != size else each for each in maps], dim=1)
        out = super().forward(x)
        if not isinstance(out, torch.Tensor) or out.dim() not in (3, 4):
            raise ValueError(f"{type(self.net).__name__} of timm gives no feature map or tokens")
        if out.dim() == 3:
            return _grid_of_tokens(out[:, getattr(self.net, "num_prefix_tokens", 0) :], x.shape[-2:])
        channels_last = getattr(self.net, "output_fmt", None) == "NHWC" or out.shape[1] != self.feature_dim
        return out.permute(0, 3, 1, 2) if channels_last else out


def _grid_of_tokens(tokens: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """(B, h * w, D) -> (B, D, h, w), where h : w is about the height : width of the image."""
    height, width, count = (int(number) for number in (*size, tokens.shape[1]))  # plain numbers while tracing
    step = math.sqrt(height * width / count)
    h, w = round(height / step), round(width / step)
    if h * w != count:
        raise ValueError(f"{count} tokens fill no grid with the proportions of an image of {(height, width)}")
    return tokens.transpose(1, 2).unflatten(2, (h, w))


@BACKBONE_REGISTRY.register(node="MODEL.BACKBONE")
def build_timm_backbone(
    last_stride: int = 1,
    norm: str = "BN",
    pretrain: bool = False,
    pretrain_path: str = "",
    stages: Sequence[int] = (),
    *,
    depth: str,
    in_channels: int = 3,
    img_size: Sequence[int] = (256, 128),
) -> AnyTimmBackbone:
    """Build the network that timm calls ``depth``, e.g. "convnext_tiny" or "swin_tiny_patch4_window7_224.ms_in1k".

    Args:
        depth: name in timm; a tag after the dot says which weights ``pretrain`` loads.
        last_stride: 1 keeps the size in the last stage where this is a matter of strided convolutions with odd
            kernels; elsewhere the network stays as it is, with a warning. 2: it stays as it is.
        norm: "BN" leaves the norms of the network; another takes the place of its batch norms.
        stages: whose maps stand side by side as the feature map; see ``AnyTimmBackbone``.
        img_size: (height, width) of training images, for networks that are built for one size.

    Raises:
        ValueError: timm does not know ``depth``, has no weights for it, or the network gives no feature map, does not
            take images of this size, or has no norm to replace.
        ConnectionError: the pretrained weights cannot be downloaded.
    """
    from_timm = pretrain and not pretrain_path
    net = _create(depth, tuple(img_size), pretrained=from_timm, num_classes=0, in_chans=in_channels, global_pool="")
    if norm != "BN" and not any(isinstance(module, nn.BatchNorm2d) for module in net.modules()):
        raise ValueError(f"MODEL.BACKBONE.NORM is {norm!r}, but {depth} of timm has no batch norm; leave it at 'BN'")
    backbone = AnyTimmBackbone(net, None if norm == "BN" else norm, stages)
    try:
        if stages:
            backbone.feature_dim = _map_of_zeros(backbone, in_channels, img_size).shape[1]
        size = _size_of_map(backbone, in_channels, img_size)
    except (AssertionError, AttributeError, IndexError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"MODEL.BACKBONE.DEPTH {depth!r} of timm does not work with images of INPUT.SIZE_TRAIN {tuple(img_size)}: "
            f"{error}"
        ) from error
    if last_stride == 1 and not _keep_last_size(backbone, size, in_channels, img_size):
        logger.warning("MODEL.BACKBONE.LAST_STRIDE 1 cannot be had with %s of timm: its own strides are kept", depth)
    _freeze_unused(backbone, in_channels, img_size)
    if pretrain and pretrain_path:
        load_pretrained(backbone, pretrain_path)
    return backbone


def _create(name: str, img_size: tuple[int, int], **options) -> nn.Module:
    """Create a network; one for a fixed size gets ``img_size`` and, where it can, leave for others in the test."""
    settings = timm.get_pretrained_cfg(name) if timm.is_model(name.partition(".")[0]) else None
    if settings is not None and settings.fixed_input_size:
        for leave in ({"dynamic_img_size": True}, {"strict_img_size": False}, {}):
            try:
                return create_timm(name, **options, img_size=img_size, **leave)
            except TypeError:  # an argument that the class does not have; nothing was loaded yet
                continue
    return create_timm(name, **options)


def _map_of_zeros(backbone: AnyTimmBackbone, in_channels: int, img_size: Sequence[int]) -> torch.Tensor:
    weight = next(backbone.parameters())
    out = backbone.eval()(torch.zeros(1, in_channels, *img_size, device=weight.device, dtype=weight.dtype))
    backbone.train()
    return out


@torch.no_grad()
def _size_of_map(backbone: AnyTimmBackbone, in_channels: int, img_size: Sequence[int]) -> tuple[int, ...]:
    """Try the network on one image; return (h, w) of its map."""
    out = _map_of_zeros(backbone, in_channels, img_size)
    if out.shape[1] != backbone.feature_dim:
        raise ValueError(f"its map has {out.shape[1]} channels instead of the {backbone.feature_dim} that it states")
    return tuple(out.shape[2:])


def _keep_last_size(
    backbone: AnyTimmBackbone, size: tuple[int, int], in_channels: int, img_size: Sequence[int]
) -> bool:
    """Let the last stage that halves the size keep it; ``False`` where that is not possible."""
    strided = _strided_last(backbone.net)
    if not strided or not all(map(_keeps_size_without_stride, strided)):
        return False
    set_stride(1, *strided)
    try:
        if _size_of_map(backbone, in_channels, img_size) == (2 * size[0], 2 * size[1]):
            return True
    except RuntimeError as error:  # branches of several sizes meet
        logger.info("Without the strides of its last stage the network does not run: %s", error)
    set_stride(2, *strided)
    return False


@torch.enable_grad()
def _freeze_unused(backbone: AnyTimmBackbone, in_channels: int, img_size: Sequence[int]) -> None:
    """Exclude parameters behind the map from training: training in several processes waits for all gradients."""
    parameters = {name: value for name, value in backbone.named_parameters() if value.requires_grad}
    out = _map_of_zeros(backbone, in_channels, img_size)
    gradients = torch.autograd.grad(out.sum(), list(parameters.values()), allow_unused=True)
    unused = [name for name, gradient in zip(parameters, gradients, strict=True) if gradient is None]
    for name in unused:
        parameters[name].requires_grad_(False)
    if unused:
        logger.info("Not part of the feature map, hence not trained: %s", ", ".join(unused))


def _strided_last(net: nn.Module) -> list[nn.Module]:
    """Layers with stride 2 behind the last stage but one, as timm's ``feature_info`` tells the stages."""
    stages = [entry for entry in getattr(net, "feature_info", ()) if isinstance(entry, dict)]
    if len(stages) < 2 or stages[-1]["reduction"] != 2 * stages[-2]["reduction"]:
        return []
    names, modules = zip(*net.named_modules(), strict=True)
    before = stages[-2]["module"]
    inside = [i for i, name in enumerate(names) if name == before or name.startswith(f"{before}.")]
    behind = modules[max(inside, default=len(modules)) + 1 :]
    return [m for m in behind if getattr(m, "stride", 1) in (2, (2, 2)) and not any(m.children())]


def _keeps_size_without_stride(module: nn.Module) -> bool:
    if type(module) is not nn.Conv2d or isinstance(module.padding, str):
        return False
    return all(2 * pad == size - 1 for pad, size in zip(module.padding, module.kernel_size, strict=True))
