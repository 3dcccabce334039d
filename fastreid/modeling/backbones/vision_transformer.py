"""Vision transformer (Dosovitskiy et al., ICLR 2021) for re-identification: timm's network with overlapping patches and
the side information embedding of TransReID (He et al., ICCV 2021), under fast-reid's names, which are timm's."""

import math
from collections.abc import Mapping, Sequence
from functools import partial

import torch
from timm.layers import resample_abs_pos_embed
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from fastreid.modeling.backbones.build import BACKBONE_REGISTRY
from fastreid.modeling.backbones.pretrained import load_pretrained
from fastreid.modeling.backbones.pretrained_urls import pretrained_url
from fastreid.utils.errors import require_choice, require_whole

# depth: (blocks, heads, width of the MLP, bias of query, key and value, scale of the attention if not the usual one)
DEPTHS = {"small": (8, 8, 3.0, False, 768**-0.5), "base": (12, 12, 4.0, True, None)}
WIDTH, PATCH = 768, 16


class OverlappingPatches(nn.Module):
    """(B, C, H, W) -> (B, h, w, ``embed_dim``): one convolution, whose stride may be less than the patch size.

    ``grid_size`` is (h, w) for images of ``img_size``. (Patches of timm cannot overlap.)
    """

    def __init__(
        self, img_size: Sequence[int], patch_size: int, in_chans: int, embed_dim: int, *,
        stride: Sequence[int], **_of_timm,
    ):
        super().__init__()
        self.grid_size = tuple((size - patch_size) // step + 1 for size, step in zip(img_size, stride, strict=True))
        if min(self.grid_size) < 1:
            raise ValueError(f"INPUT.SIZE_TRAIN {tuple(img_size)} is smaller than a patch of {patch_size} pixels")
        self.num_patches = math.prod(self.grid_size)
        self.proj = nn.Conv2d(in_chans, embed_dim, patch_size, stride)
        nn.init.normal_(self.proj.weight, std=math.sqrt(2.0 / (patch_size**2 * embed_dim)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.proj(x).permute(0, 2, 3, 1)


class ReidTransformer(VisionTransformer):
    """(B, C, H, W)[, camera of each image] -> class token (B, ``feature_dim``, 1, 1).

    Images may have any size from one patch on; the position embedding is interpolated from that of ``img_size``.

    Args:
        num_cameras: rows of the side information embedding; 0: none, and no camera is needed.
        sie_coe: its weight (lambda of equation 3 of TransReID).
        scale: of the attention logits; ``None``: 1 / sqrt(width of a head).
        options: of timm's ``VisionTransformer``.
    """

    def __init__(
        self, img_size: Sequence[int], stride: Sequence[int] = (PATCH, PATCH), num_cameras: int = 0,
        sie_coe: float = 3.0, scale: float | None = None, **options,
    ):
        super().__init__(
            img_size, PATCH, num_classes=0, embed_dim=WIDTH, dynamic_img_size=True,
            embed_layer=partial(OverlappingPatches, stride=tuple(stride)),
            norm_layer=partial(nn.LayerNorm, eps=1e-6), **options,
        )
        self.feature_dim, self.num_cameras, self.sie_coe = WIDTH, num_cameras, sie_coe
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        if num_cameras:
            self.sie_embed = nn.Parameter(nn.init.trunc_normal_(torch.empty(num_cameras, 1, WIDTH), std=0.02))
        if scale is not None:
            for block in self.blocks:
                # the fused kernel of timm knows the usual scale only
                block.attn.scale, block.attn.fused_attn = scale, False

    @property
    def takes_camids(self) -> bool:
        """Whether ``forward`` needs the cameras of the batch."""
        return self.num_cameras > 0

    def forward(self, x: torch.Tensor, camids: torch.Tensor | None = None) -> torch.Tensor:
        """Args: camids: (B,) int64 in 0..``num_cameras`` - 1, on any device; needed with cameras, else not used.

        Raises:
            ValueError: ``camids`` are missing, of another length, or out of range.
        """
        patches = self.patch_embed(x)
        tokens = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), patches.flatten(1, 2)), dim=1)
        tokens = tokens + self._positions(self.pos_embed, patches.shape[1:3], self.patch_embed.grid_size)
        if self.takes_camids:
            tokens = tokens + self.sie_coe * self.sie_embed[self._checked(camids, len(x))]
        tokens = self.norm(self.blocks(self.pos_drop(tokens)))
        return tokens[:, 0, :, None, None]

    def adapt_weights(self, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Interpolate a position embedding for a square image, without or with a distillation token, to this grid."""
        weights = dict(weights)
        given = weights.get("pos_embed")
        if given is not None and given.shape != self.pos_embed.shape:
            if math.isqrt(given.shape[1] - 1) ** 2 != given.shape[1] - 1:
                given = torch.cat((given[:, :1], given[:, 2:]), dim=1)
            side = math.isqrt(given.shape[1] - 1)
            weights["pos_embed"] = self._positions(given, self.patch_embed.grid_size, (side, side))
        return weights

    @staticmethod
    def _positions(embedding: torch.Tensor, size: Sequence[int], old_size: Sequence[int]) -> torch.Tensor:
        return resample_abs_pos_embed(embedding, list(size), list(old_size), interpolation="bilinear", antialias=False)

    def _checked(self, camids: torch.Tensor | None, batch: int) -> torch.Tensor:
        if camids is None:
            raise ValueError("MODEL.BACKBONE.NUM_CAMERAS is set: the model needs the 'camids' of the batch")
        camids = torch.as_tensor(camids)
        if camids.is_floating_point() or camids.shape != (batch,):
            raise ValueError(f"camids must be {batch} whole numbers; got {camids.dtype} {tuple(camids.shape)}")
        if batch and not (0 <= camids.min() and camids.max() < self.num_cameras):
            raise ValueError(
                f"camids must lie in 0..{self.num_cameras - 1} (MODEL.BACKBONE.NUM_CAMERAS {self.num_cameras}); "
                f"got {camids.min().item()}..{camids.max().item()}"
            )
        return camids.to(self.sie_embed.device)


@BACKBONE_REGISTRY.register(node="MODEL.BACKBONE")
def build_vit_backbone(
    stride_size: Sequence[int] | int = (16, 16), sie_coe: float = 3.0, num_cameras: int = 0,
    drop_path_ratio: float = 0.1, drop_ratio: float = 0.0, att_drop_rate: float = 0.0,
    pretrain: bool = False, pretrain_path: str = "", *,
    depth: str, in_channels: int = 3, img_size: Sequence[int] = (256, 128),
) -> ReidTransformer:
    """Build a vision transformer with patches of 16 x 16 pixels and 768 output channels.

    Args:
        depth: "base" (ViT-B/16) or "small" (8 blocks; not what others call ViT-S).
        stride_size: (vertical, horizontal) stride of the patches, pixels, or one number for both.
        num_cameras: see ``ReidTransformer``.
        img_size: (height, width) of training images.

    Raises:
        ValueError: a value that is not allowed, or no pretrained weights are known for ``depth``.
        ConnectionError: the pretrained weights cannot be downloaded.
    """
    require_choice("MODEL.BACKBONE.DEPTH of build_vit_backbone", depth, DEPTHS)
    require_whole("MODEL.BACKBONE.NUM_CAMERAS", num_cameras, 0)
    shares = {"DROP_PATH_RATIO": drop_path_ratio, "DROP_RATIO": drop_ratio, "ATT_DROP_RATE": att_drop_rate}
    for key, share in shares.items():
        if not 0 <= share < 1:
            raise ValueError(f"MODEL.BACKBONE.{key} must lie in 0..1, without 1; got {share!r}")
    stride = (stride_size,) if isinstance(stride_size, int) else tuple(stride_size)
    stride = stride * 2 if len(stride) == 1 else stride
    if len(stride) != 2 or any(not 1 <= step <= PATCH for step in stride):
        raise ValueError(f"MODEL.BACKBONE.STRIDE_SIZE must be two numbers in 1..{PATCH}; got {stride_size!r}")
    blocks, heads, mlp_ratio, qkv_bias, scale = DEPTHS[depth]
    backbone = ReidTransformer(
        img_size, stride, num_cameras, sie_coe, scale, in_chans=in_channels, depth=blocks, num_heads=heads,
        mlp_ratio=mlp_ratio, qkv_bias=qkv_bias, drop_path_rate=drop_path_ratio, attn_drop_rate=att_drop_rate,
        pos_drop_rate=drop_ratio, proj_drop_rate=drop_ratio,
    )
    if pretrain:
        load_pretrained(backbone, pretrain_path or pretrained_url("build_vit_backbone", depth))
    return backbone
