"""Models: backbones, heads, losses, and the meta-architectures that join them."""

from fastreid.modeling import losses
from fastreid.modeling.backbones import BACKBONE_REGISTRY, build_backbone, build_resnet_backbone
from fastreid.modeling.heads import REID_HEADS_REGISTRY, ClasHead, EmbeddingHead, ProjectionHead, build_heads
from fastreid.modeling.losses import LOSS_REGISTRY
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY, Baseline, build_model

__all__ = [name for name in dir() if not name.startswith("_")]
