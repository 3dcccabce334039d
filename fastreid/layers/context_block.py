"""Global context block of GCNet (Cao et al., ICCV Workshops 2019)."""

from collections.abc import Sequence

import torch
from torch import nn

from fastreid.utils.errors import require_choice


class ContextBlock(nn.Module):
    """Fuse one context vector of the whole map into every position; the identity (times a gate of 1/2) at first.

    (B, inplanes, H, W) -> the same shape.

    Args:
        ratio: the transform of the context has ``int(inplanes * ratio)`` hidden channels.
        pooling_type: "att" (mean weighted by a learnt softmax over the positions) or "avg".
        fusion_types: "channel_add" (add the transformed context), "channel_mul" (multiply by its sigmoid), or both,
            multiplication first.

    Raises:
        ValueError: another pooling or fusion type, or no fusion at all.
    """

    def __init__(
        self, inplanes: int, ratio: float, pooling_type: str = "att", fusion_types: Sequence[str] = ("channel_add",)
    ):
        super().__init__()
        require_choice("pooling_type of ContextBlock", pooling_type, ("att", "avg"))
        if not fusion_types or isinstance(fusion_types, str):
            raise ValueError(f"fusion_types of ContextBlock must be a list of at least one type; got {fusion_types!r}")
        for fusion in fusion_types:
            require_choice("fusion_types of ContextBlock", fusion, ("channel_add", "channel_mul"))
        hidden = int(inplanes * ratio)
        self.conv_mask = nn.Conv2d(inplanes, 1, 1) if pooling_type == "att" else None
        self.channel_add_conv = _transform(inplanes, hidden) if "channel_add" in fusion_types else None
        self.channel_mul_conv = _transform(inplanes, hidden) if "channel_mul" in fusion_types else None
        if self.conv_mask is not None:
            nn.init.kaiming_normal_(self.conv_mask.weight, mode="fan_in", nonlinearity="relu")
            nn.init.zeros_(self.conv_mask.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        context = self.spatial_pool(x)
        out = x
        if self.channel_mul_conv is not None:
            out = out * self.channel_mul_conv(context).sigmoid()
        if self.channel_add_conv is not None:
            out = out + self.channel_add_conv(context)
        return out

    def spatial_pool(self, x: torch.Tensor) -> torch.Tensor:
        """Return the context (B, inplanes, 1, 1)."""
        if self.conv_mask is None:
            return x.mean(dim=(2, 3), keepdim=True)
        weights = self.conv_mask(x).flatten(2).softmax(2)  # (B, 1, HW)
        return (x.flatten(2) @ weights.transpose(1, 2))[..., None]


def _transform(channels: int, hidden: int) -> nn.Sequential:
    """Bottleneck whose last convolution starts at zero."""
    last = nn.Conv2d(hidden, channels, 1)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Conv2d(channels, hidden, 1), nn.LayerNorm([hidden, 1, 1]), nn.ReLU(inplace=True), last)
