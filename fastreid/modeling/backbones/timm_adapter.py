"""Networks of timm as backbones: feature map, norm layers, stride of the last stage, fast-reid's parameter names."""

from collections.abc import Callable, Iterator, Mapping

import torch
from timm.models import EfficientNet
from torch import nn

from fastreid.layers import get_norm
from fastreid.modeling.backbones.naming import Names


class TimmBackbone(nn.Module):
    """(B, C, H, W) -> the last feature map (B, ``feature_dim``, h, w) of a network of timm.

    Args:
        net: with timm's ``forward_features`` and ``num_features``; it should have no classifier.
        norm: for ``get_norm``; takes the place of every batch norm, with its defaults (eps 1e-5, momentum 0.1).
            ``None`` leaves the layers of timm.
        paths: {module path in timm: module path in fast-reid}; what is not in it keeps timm's name.
    """

    def __init__(self, net: nn.Module, norm: str | Callable | None = "BN", paths: Mapping[str, str] | None = None):
        super().__init__()
        self.net = net if norm is None else replace_norms(net, norm)
        self.feature_dim = net.num_features
        timm_paths = {path: _path_in_timm(path) for path, _ in self.named_modules() if path.startswith("net")}
        public = {own: (paths or {}).get(path, path) for own, path in timm_paths.items()}
        foreign = efficientnet_pytorch_paths(net)
        self.names = Names(public, timm_paths, {own: foreign.get(path, path) for own, path in timm_paths.items()})
        self.names.attach(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net.forward_features(x)

    def adapt_weights(self, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Give pretrained weights under any known name the names of ``state_dict``."""
        return self.names.to_public(self, weights)


class NormAct(nn.Module):
    """A norm layer and the activation that timm's fused layer applied after it."""

    def __init__(self, norm: nn.Module, act: nn.Module):
        super().__init__()
        self.inner, self.act = norm, act

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.inner(x))


def _path_in_timm(path: str) -> str:
    """Take off what wrapping added: ``net.blocks.0.0.bn1.inner`` -> ``blocks.0.0.bn1``."""
    return path.removeprefix("net").removeprefix(".").removesuffix(".inner")


def replace_norms(net: nn.Module, norm: str | Callable, keep_eps: bool = False) -> nn.Module:
    """Put ``get_norm(norm)`` in the place of every batch norm inside ``net``, keeping the activation fused to it.

    ``keep_eps``: with the eps of the batch norm, which belongs to its pretrained statistics.

    Raises:
        ValueError: unknown norm, or one that does not fit the channels of a layer.
    """
    for path, parent in list(net.named_modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                act = getattr(child, "act", nn.Identity())
                layer = _norm_for(norm, child.num_features, f"{path}.{name}".removeprefix("."))
                if keep_eps and hasattr(layer, "eps"):
                    layer.eps = child.eps
                setattr(parent, name, layer if isinstance(act, nn.Identity) else NormAct(layer, act))
    return net


def _norm_for(norm: str | Callable, channels: int, path: str) -> nn.Module:
    try:
        return get_norm(norm, channels) or nn.Identity()
    except ValueError as error:
        raise ValueError(f"MODEL.BACKBONE.NORM {norm!r} for the {channels} channels of {path}: {error}") from error


def set_stride(stride: int, *convolutions: nn.Conv2d) -> None:
    for convolution in convolutions:
        convolution.stride = (stride, stride)


def numbered_blocks(net: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield path and block of a network of timm's EfficientNet family, in order."""
    for s, stage in enumerate(net.blocks):
        for b, block in enumerate(stage):
            yield f"blocks.{s}.{b}", block


def residual_parts(block: nn.Module) -> list[tuple[str, str]]:
    """Return (convolution, norm) of a block in order: [expansion,] depth-wise, projection."""
    if hasattr(block, "conv_pwl"):
        return [("conv_pw", "bn1"), ("conv_dw", "bn2"), ("conv_pwl", "bn3")]
    return [("conv_dw", "bn1"), ("conv_pw", "bn2")]


def efficientnet_pytorch_paths(net: nn.Module) -> dict[str, str]:
    """Return {module path in timm: path in EfficientNet-PyTorch (lukemelas)}, empty for other networks.

    Weights are widely spread in that naming, which counts blocks through all stages.
    """
    if not isinstance(net, EfficientNet):
        return {}
    paths = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1", "classifier": "_fc"}
    for number, (path, block) in enumerate(numbered_blocks(net)):
        parts = residual_parts(block)
        foreign = (("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2"))[-len(parts) :]
        for own, other in zip(parts, foreign, strict=True):
            paths |= {f"{path}.{a}": f"_blocks.{number}.{b}" for a, b in zip(own, other, strict=True)}
        paths[f"{path}.se.conv_reduce"] = f"_blocks.{number}._se_reduce"
        paths[f"{path}.se.conv_expand"] = f"_blocks.{number}._se_expand"
    return paths
